"""Writes to /status: each kind says what of its metadata they leave alone; none lets them change its spec.

Most kinds let labels, annotations, finalizers and owners change with the status; newer ones keep them all.
"""

from typing import Any

import pytest

from sampan.kinds.builtin import KINDS
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from sampan.server.cache import encode
from sampan.store.protocol import Put
from tests.server import custom
from tests.server.conftest import Api, pod
from tests.server.lifecycle import Subject, contains
from tests.server.test_conformance_lifecycles import SUBJECTS, condition, core, grouped

ALL = ("labels", "annotations", "finalizers", "ownerReferences")
CHANGES: dict[str, tuple[str, ...]] = {  # what a write to /status changes where that is not all of it
    "deployments": ("annotations", "finalizers", "ownerReferences"),
    "pods": ("labels", "annotations", "finalizers"),
    "apiservices": (),
    "flowschemas": (),
    "prioritylevelconfigurations": (),
    "resourceclaims": (),
    "servicecidrs": (),
    "validatingadmissionpolicies": (),
    "volumeattachments": (),
    "widgets": (),
}
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"}
GIVEN = {
    "labels": {"said": "x"},
    "annotations": {"said": "x"},
    "finalizers": ["e.com/said"],
    "ownerReferences": [OWNER],
}
BEFORE = {"labels": {"kept": "x"}, "annotations": {"kept": "x"}, "finalizers": ["e.com/kept"]}
STATUS = {"conditions": [condition()]}
LOCAL_STATUS = {  # with what the server says of it itself, so that it has nothing to add meanwhile
    "conditions": [
        {**condition("Available"), "reason": "Local", "message": "Local APIServices are always available"},
        condition(),
    ]
}
BALANCED = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1", "ipMode": "VIP"}]}}
LOCAL = {"group": "e.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"

Tree = dict[str, Any]


def _subjects() -> dict[str, Subject]:
    found = {subject.path: subject for subject in SUBJECTS.values() if subject.status is not None}
    more = (
        core("namespaces", "Namespace", scope="", status=STATUS, spec={}),
        core("nodes", "Node", scope="", status=STATUS, spec={"unschedulable": True}),
        core("pods", "Pod", status=STATUS, spec=pod("p", terminationGracePeriodSeconds=0)["spec"]),
        core("services", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80}]}, status=BALANCED),
        grouped("apiregistration.k8s.io/v1", "apiservices", "APIService", status=LOCAL_STATUS, spec=LOCAL),
    )
    admission = SUBJECTS["90"]
    found[admission.path] = Subject(admission.path, admission.obj, STATUS)
    return found | {subject.path: subject for subject in more}


TABLE = _subjects()


def named(subject: Subject, **metadata: Any) -> Tree:
    """The object under its one name, which is a version's and group's for an APIService."""
    name = "v1.e.com" if subject.plural == "apiservices" else "one"
    return {**subject.obj, "metadata": {"name": name, **metadata}}


def has(metadata: Tree, field: str, word: str) -> bool:
    """Whether this part of metadata holds what a test gave it."""
    found = metadata.get(field) or ()
    return (f"e.com/{word}" if field == "finalizers" else word) in found or (field == "ownerReferences" and bool(found))


def changes(subject: Subject) -> set[str]:
    return set(CHANGES.get(subject.plural, ALL))


async def check_patch(api: Api, subject: Subject, path: str) -> Tree:
    """A patch that says everything changes status, of metadata what the kind lets it, and nothing else."""
    before = await api.get(path)
    patched = await api.patch(f"{path}/status", {"metadata": GIVEN, "spec": None, "status": subject.status})
    assert patched.status == 200, patched.body
    after = patched.tree
    assert {field for field in ALL if has(after["metadata"], field, "said")} == changes(subject)
    assert after["spec"] == before["spec"]
    assert contains(after["status"], subject.status)
    assert after["metadata"].get("generation") == before["metadata"].get("generation")
    return after


async def check_put(api: Api, subject: Subject, path: str) -> None:
    """A replacement that leaves everything out takes away the same."""
    before = await api.get(path)
    metadata = {key: value for key, value in before["metadata"].items() if key not in ALL}
    bare = {key: value for key, value in before.items() if key not in ("spec", "metadata")}
    after = await api.put(f"{path}/status", {**bare, "metadata": metadata})
    held = {field for field in BEFORE if has(after["metadata"], field, "kept")}
    assert held == set(BEFORE) - changes(subject)
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])


async def check_apply(api: Api, subject: Subject, path: str) -> None:
    """An applier comes to own through /status what can be changed there, and all but status through the other door."""
    config = named(subject, **GIVEN) | {"status": subject.status}
    applied = await api.patch(f"{path}/status?fieldManager=status&force=true", config, "apply")
    assert applied.status == 200, applied.body
    after = applied.tree
    assert {field for field in ALL if has(after["metadata"], field, "said")} == changes(subject)
    assert owned(after, "status", "status") == {f"f:{field}" for field in changes(subject)}
    assert "f:spec" not in fields(after, "status", "status")
    assert (await api.patch(f"{path}/status?fieldManager=status&force=true", config, "apply")).tree == after
    applied = await api.patch(f"{path}?fieldManager=main&force=true", config, "apply")
    assert applied.status == 200, applied.body
    assert owned(applied.tree, "main", "") == {f"f:{field}" for field in ALL}
    assert "f:status" not in fields(applied.tree, "main", "")
    assert applied.tree["status"] == after["status"]


def fields(obj: Tree, manager: str, subresource: str) -> Tree:
    """What a manager owns through a door."""
    entries = obj["metadata"]["managedFields"]
    found = [e for e in entries if (e["manager"], e.get("subresource", "")) == (manager, subresource)]
    return found[0]["fieldsV1"] if found else {}


def owned(obj: Tree, manager: str, subresource: str) -> set[str]:
    """The parts of metadata of which a manager owns something."""
    return set(fields(obj, manager, subresource).get("f:metadata", ()))


async def test_every_kind_with_a_status_is_here() -> None:
    """The table misses none."""
    wanted = {f"{kind.api_version}/{kind.plural}" for kind in KINDS if kind.has_status}
    paths = {subject.everywhere.removeprefix("/apis/").removeprefix("/api/") for subject in TABLE.values()}
    assert wanted - paths == {"apiextensions.k8s.io/v1/customresourcedefinitions"}  # which has a test of its own


@pytest.mark.parametrize("path", TABLE)
async def test_what_a_write_to_status_changes(api: Api, path: str) -> None:
    """Patched and replaced through /status, an object takes what its kind lets it take."""
    subject = TABLE[path]
    made = await api.create(path, named(subject, **BEFORE))
    path = f"{path}/{made['metadata']['name']}"
    await check_patch(api, subject, path)
    await check_put(api, subject, path)


@pytest.mark.parametrize("path", TABLE)
async def test_who_owns_what_through_status(api: Api, path: str) -> None:
    """Nobody owns what the door he came through cannot change."""
    subject = TABLE[path]
    made = await api.create(path, named(subject))
    await check_apply(api, subject, f"{path}/{made['metadata']['name']}")


async def test_a_definition_changes_with_its_status(api: Api) -> None:
    """Labels and all; its objects keep theirs."""
    await custom.establish(api, custom.crd(version={"subresources": {"status": {}}}))
    path = f"{custom.CRDS}/widgets.example.com"
    patched = await api.patch(f"{path}/status", {"metadata": GIVEN, "spec": None})
    assert {field for field in ALL if has(patched.tree["metadata"], field, "said")} == set(ALL)
    assert patched.tree["spec"] == (await api.get(path))["spec"]
    widget = Subject(WIDGETS, custom.widget("one", {"a": 1}), {"ready": True})
    await api.create(WIDGETS, custom.widget("one", {"a": 1}) | {"metadata": {"name": "one", **BEFORE}})
    await check_patch(api, widget, f"{WIDGETS}/one")
    await check_put(api, widget, f"{WIDGETS}/one")
    await check_apply(api, widget, f"{WIDGETS}/one")


async def test_the_last_finalizer_may_go_through_status(api: Api) -> None:
    """An object that waits for it goes then, as through its own door."""
    path = "/api/v1/namespaces/default/resourcequotas"
    quota = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q", "finalizers": ["e.com/kept"]}}
    await api.create(path, quota | {"spec": {"hard": {"pods": "1"}}})
    assert (await api.delete(f"{path}/q")).tree["metadata"]["deletionTimestamp"]
    refused = await api.patch(f"{path}/q/status", {"metadata": {"finalizers": ["e.com/kept", "e.com/new"]}})
    assert refused.status == 422
    assert (await api.patch(f"{path}/q/status", {"metadata": {"finalizers": None}})).status == 200
    assert (await api.send("GET", f"{path}/q")).status == 404


async def test_finalize_writes_all_but_status(api: Api) -> None:
    """The third door of a namespace takes spec and metadata."""
    path = "/api/v1/namespaces/n"
    made = await api.create("/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}})
    given = {**made["metadata"], "annotations": {"said": "x"}}
    status = {"phase": "Terminating"}
    spec = {"finalizers": ["kubernetes", "e.com/own"]}
    await api.put(f"{path}/finalize", {**made, "metadata": given, "spec": spec, "status": status})
    found = await api.get(path)
    assert (found["spec"], found["status"]) == (spec, {"phase": "Active"})
    assert found["metadata"]["annotations"] == {"said": "x"}


async def test_a_pods_status_keeps_what_it_was_told_before(api: Api) -> None:
    """Who leaves out the QoS class or the generation that was observed does not take it away."""
    path = "/api/v1/namespaces/default/pods"
    await api.create(path, pod("p"))
    ready = {"type": "Ready", "status": "True", "observedGeneration": 2}
    conditions = [ready, {**ready, "type": "Initialized", "observedGeneration": 1}]
    first = {"status": {"qosClass": "BestEffort", "observedGeneration": 2, "conditions": conditions}}
    assert (await api.patch(f"{path}/p/status", first)).status == 200
    bare = [{"type": "Initialized", "status": "False"}, {"type": "Ready", "status": "False", "observedGeneration": 3}]
    after = await api.put(f"{path}/p/status", pod("p") | {"status": {"phase": "Running", "conditions": bare}})
    told = {"phase": "Running", "qosClass": "BestEffort", "observedGeneration": 2}
    assert {key: after["status"].get(key) for key in told} == told
    assert [c["observedGeneration"] for c in after["status"]["conditions"]] == [1, 3]


async def test_nobody_owns_what_a_certificate_request_says(api: Api) -> None:
    """Its spec never changes, its conditions are of the approval's door, and its certificate of the status'."""
    subject = TABLE["/apis/certificates.k8s.io/v1/certificatesigningrequests"]
    made = await api.create(subject.path, named(subject, **BEFORE))
    assert set(made["metadata"]["managedFields"][0]["fieldsV1"]) == {"f:metadata"}
    config = named(subject) | {"status": subject.status}
    for door, owns in (("approval", {"f:status"}), ("status", set[str]())):
        applied = await api.patch(f"{subject.path}/one/{door}?fieldManager={door}&force=true", config, "apply")
        assert applied.status == 200, applied.body
        assert set(fields(applied.tree, door, door)) == owns
        assert contains(applied.tree["status"], subject.status)


async def test_a_write_to_status_shares_the_rest(api: Api) -> None:
    """The stored spec is taken over as it is, and what was stored before is left alone."""
    await api.create("/api/v1/namespaces/default/pods", pod("shared"))
    path = "/api/v1/namespaces/default/pods/shared/status"
    assert (await api.patch(path, {"status": {"message": "one"}})).status == 200
    before = api.app.registry.get(POD, "default", "shared")
    assert before is not None
    told, spec = objects.copy(before.tree), before.tree["spec"]
    changed = {"status": {"message": "two"}, "spec": {"nodeName": "elsewhere"}, "metadata": {"labels": {"new": "x"}}}
    answer = (await api.patch(path, changed)).tree
    assert (answer["status"]["message"], answer["metadata"]["labels"]["new"]) == ("two", "x")
    assert answer["spec"] == spec == told["spec"]
    assert before.tree == told


async def test_what_the_store_lacks_is_not_put_into_what_others_hold(api: Api) -> None:
    """An object of an older version, stored without a default of today, is copied before it gets one."""
    await api.create("/api/v1/namespaces/default/pods", pod("old"))
    item = api.app.registry.get(POD, "default", "old")
    assert item is not None
    tree = objects.copy(item.tree)
    del tree["spec"]["dnsPolicy"]
    key = api.app.registry.store_key(POD, tree)
    result = await api.app.cache.write([], [Put(key, encode(tree))], None)
    assert result.succeeded
    stored = api.app.registry.get(POD, "default", "old")
    assert stored is not None
    assert (await api.patch("/api/v1/namespaces/default/pods/old/status", {"status": {"message": "x"}})).status == 200
    assert "dnsPolicy" not in stored.tree["spec"]
