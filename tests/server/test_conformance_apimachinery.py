"""The conformance tests of API machinery that need no webhook and no definition: fields, namespaces, chunks, writes.

A number is the test's position in upstream's list of conformance tests.
"""

import asyncio
from typing import Any

import orjson
import pytest

from tests.server.conftest import Api, config_map, deployment, pod
from tests.server.lifecycle import contains
from tests.server.test_reads import watched

BASE = "/api/v1/namespaces/default"
MAPS = f"{BASE}/configmaps"
PODS = f"{BASE}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SPACES = "/api/v1/namespaces"

Tree = dict[str, Any]


@pytest.mark.parametrize(
    ("find", "put", "text"),
    [
        (
            '"replicas":1',
            '"unknownField":"foo","replicas":2,"replicas":3',
            'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"',
        ),
        ('"name":"d"', '"name":"d","unknownMeta":"foo"', 'strict decoding error: unknown field "metadata.unknownMeta"'),
    ],
)
async def test_unknown_and_duplicate_fields_of_a_typed_object(api: Api, find: str, put: str, text: str) -> None:
    """53, 55: Strict refuses with upstream's words; Warn says the same in headers; Ignore says nothing."""
    body = orjson.dumps(deployment("d")).decode().replace(find, put, 1).encode()
    refused = await api.send("POST", f"{DEPLOYMENTS}?fieldManager=m&fieldValidation=Strict", body)
    assert refused.status == 400
    assert text in refused.tree["message"]
    warned = await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=Warn&dryRun=All", body)
    assert warned.status == 201
    for part in text.removeprefix("strict decoding error: ").split(", "):
        assert part.replace('"', '\\"') in warned.headers["warning"]
    ignored = await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=Ignore", body)
    assert ignored.status == 201
    assert "warning" not in ignored.headers


async def space(api: Api, name: str) -> Tree:
    return await api.create(SPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})


async def test_a_namespace_is_finalized(api: Api) -> None:
    """67: /finalize adds a finalizer to spec and takes it away again; the main door does neither."""
    made = await space(api, "n")
    assert made["spec"]["finalizers"] == ["kubernetes"]
    made["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    assert (await api.put(f"{SPACES}/n", made))["spec"]["finalizers"] == ["kubernetes"]
    made["metadata"].pop("resourceVersion")
    finalized = await api.put(f"{SPACES}/n/finalize", made)
    assert finalized["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
    finalized["spec"]["finalizers"] = ["kubernetes"]
    assert (await api.put(f"{SPACES}/n/finalize", finalized))["spec"]["finalizers"] == ["kubernetes"]


async def test_a_namespace_is_updated_and_patched(api: Api) -> None:
    """68, 72: labels by update and by strategic merge patch; its name stays its label."""
    made = await space(api, "n")
    made["metadata"]["labels"]["n"] = "updated"
    assert (await api.put(f"{SPACES}/n", made))["metadata"]["labels"]["n"] == "updated"
    patch = {"metadata": {"labels": {"testLabel": "testValue"}}}
    assert (await api.patch(f"{SPACES}/n", patch, "strategic")).status == 200
    labels = {"kubernetes.io/metadata.name": "n", "n": "updated", "testLabel": "testValue"}
    assert (await api.get(f"{SPACES}/n"))["metadata"]["labels"] == labels


async def test_a_namespace_has_a_status(api: Api) -> None:
    """69: /status is read, patched with an annotation, updated, and patched away again; the phase stays."""
    await space(api, "n")
    path = f"{SPACES}/n/status"
    assert (await api.get(path))["status"] == {"phase": "Active"}
    said = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    body = {"metadata": {"annotations": {"e2e-patched-ns-status": "n"}}, "status": {"conditions": [said]}}
    patched = (await api.patch(path, body)).tree
    assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == "n"
    assert contains(patched["status"]["conditions"], [said])
    patched["status"]["conditions"].append({**said, "type": "StatusUpdate"})
    updated = await api.put(path, patched)
    assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]
    cleared = await api.patch(path, {"status": {"conditions": None}})
    assert cleared.tree["status"] == {"phase": "Active"}


async def test_a_generated_namespace_is_labelled(api: Api) -> None:
    """Every test's first step: a namespace by generateName carries the name that it got as its label."""
    body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"generateName": "e2e-"}}
    made = await api.create(SPACES, body)
    assert made["metadata"]["name"].startswith("e2e-")
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": made["metadata"]["name"]}


@pytest.mark.parametrize("api", ["in-process-memory", "https-sqlite"], indirect=True)
async def test_chunks_of_four_hundred(api: Api) -> None:
    """86: 400 pod templates by 17, three times over, and whole: order, counts, one revision, nothing left behind."""
    body = {"kind": "PodTemplate", "apiVersion": "v1", "template": {"spec": pod("p")["spec"]}}
    path = f"{BASE}/podtemplates"
    names = [f"template-{i:04}" for i in range(400)]
    for start in range(0, 400, 50):
        some = names[start : start + 50]
        await asyncio.gather(*(api.create(path, {**body, "metadata": {"name": name}}) for name in some))
    for _ in range(3):
        found, token, revisions = [], "", set()
        while True:
            page = await api.get(f"{path}?limit=17&continue={token}")
            found += [item["metadata"]["name"] for item in page["items"]]
            revisions.add(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue", "")
            assert page["metadata"].get("remainingItemCount", 0) == 400 - len(found)
            if not token:
                break
        assert (found, len(revisions)) == (names, 1)
        assert "remainingItemCount" not in page["metadata"]
    for query in ("", "?resourceVersion=0", "?limit=500"):
        whole = await api.get(f"{path}{query}")
        assert [item["metadata"]["name"] for item in whole["items"]] == names
        assert "continue" not in whole["metadata"]


FIELDS = {
    "/api/v1/nodes": {"metadata.name=n", "spec.unschedulable=true"},
    "/api/v1/pods": {"metadata.name=p", "spec.nodeName=n", "status.phase=Pending", "spec.restartPolicy=Never",
                     "spec.schedulerName=mine", "spec.serviceAccountName=default", "metadata.namespace=default"},
    "/api/v1/events": {"involvedObject.kind=Pod", "involvedObject.name=p", "reason=r", "source=kubelet", "type=Normal",
                       "involvedObject.namespace=default", "involvedObject.uid=u", "reportingComponent=c"},
    "/api/v1/secrets": {"type=example.com/t", "metadata.name=s"},
    "/api/v1/namespaces": {"status.phase=Active,metadata.name=default"},
    "/apis/batch/v1/jobs": {"status.successful=0"},
    "/api/v1/replicationcontrollers": {"status.replicas=0"},
    "/apis/apps/v1/replicasets": {"status.replicas=0"},
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": {"spec.signerName=example.com/e2e"},
}  # fmt: skip


async def test_fields_select(api: Api) -> None:
    """The field selectors of 48 tests: each finds its object, and its opposite does not."""
    from tests.server.test_conformance_lifecycles import SIGNED, TEMPLATE

    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    work = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}
    about = {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"}
    told = {"reason": "r", "source": {"component": "kubelet"}, "type": "Normal", "reportingComponent": "c"}
    made: list[tuple[str, Tree]] = [
        ("/api/v1/nodes", {"kind": "Node", "metadata": {"name": "n"}, "spec": {"unschedulable": True}}),
        (PODS, pod("p", nodeName="n", restartPolicy="Never", schedulerName="mine")),
        (f"{BASE}/events", {"kind": "Event", "metadata": {"name": "e"}, "involvedObject": about, **told}),
        (f"{BASE}/secrets", {"kind": "Secret", "metadata": {"name": "s"}, "type": "example.com/t"}),
        ("/apis/batch/v1/namespaces/default/jobs", {"kind": "Job", "metadata": {"name": "j"},
            "spec": {"template": template}}),
        (f"{BASE}/replicationcontrollers", {"kind": "ReplicationController", "metadata": {"name": "r"},
            "spec": {"template": TEMPLATE}}),
        ("/apis/apps/v1/namespaces/default/replicasets", {"kind": "ReplicaSet", "metadata": {"name": "r"},
            "spec": work}),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", {"kind": "CertificateSigningRequest",
            "metadata": {"name": "c"}, "spec": SIGNED}),
    ]  # fmt: skip
    for path, body in made:
        await api.create(path, body)
    await api.create("/api/v1/nodes", {"kind": "Node", "metadata": {"name": "open"}})
    for path, selector, name in (
        ("/api/v1/nodes", "spec.unschedulable=false", "open"),
        (PODS, "spec.hostNetwork=false", "p"),
    ):
        found = (await api.get(f"{path}?fieldSelector={selector}"))["items"]
        assert [item["metadata"]["name"] for item in found] == [name]
    for path, selectors in FIELDS.items():
        for selector in selectors:
            assert len((await api.get(f"{path}?fieldSelector={selector}"))["items"]) == 1, (path, selector)
            first = selector.partition(",")[0]
            names = [i["metadata"]["name"] for i in (await api.get(f"{path}?fieldSelector={first}x"))["items"]]
            assert names == [], (path, first)
        assert (await api.send("GET", f"{path}?fieldSelector=spec.nothing=1")).status == 400


async def test_a_collection_goes_by_fields_and_labels(api: Api) -> None:
    """deletecollection with a field selector and with labels takes those alone, and a dry run takes none."""
    for name, value in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.create(MAPS, {**config_map(name), "metadata": {"name": name, "labels": {"l": value}}})

    async def left() -> list[str]:
        return [item["metadata"]["name"] for item in (await api.get(MAPS))["items"]]

    assert (await api.delete(f"{MAPS}?dryRun=All")).status == 200
    assert await left() == ["a", "b", "c"]
    assert (await api.delete(f"{MAPS}?fieldSelector=metadata.name=b")).status == 200
    assert await left() == ["a", "c"]
    assert (await api.delete(f"{MAPS}?labelSelector=l notin (y)")).status == 200
    assert await left() == ["c"]


async def test_patches_of_every_kind(api: Api) -> None:
    """JSON patch, merge, strategic merge and apply, each by its own rules of lists."""
    await api.create(DEPLOYMENTS, deployment("d"))
    containers = {"spec": {"template": {"spec": {"containers": [{"name": "e", "image": "y:1"}]}}}}
    strategic = (await api.patch(f"{DEPLOYMENTS}/d", containers, "strategic")).tree
    assert [c["name"] for c in strategic["spec"]["template"]["spec"]["containers"]] == ["e", "c"]
    merged = (await api.patch(f"{DEPLOYMENTS}/d", containers)).tree
    assert [c["name"] for c in merged["spec"]["template"]["spec"]["containers"]] == ["e"]
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
    ]
    assert (await api.patch(f"{DEPLOYMENTS}/d", operations, "json")).tree["spec"]["replicas"] == 2
    assert (await api.patch(f"{DEPLOYMENTS}/d", operations, "json")).status == 422
    applied = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"labels": {"by": "apply"}}}
    assert (await api.patch(f"{DEPLOYMENTS}/d", applied, "apply")).status == 422  # no fieldManager
    tree = (await api.patch(f"{DEPLOYMENTS}/d?fieldManager=me", applied, "apply")).tree
    assert tree["metadata"]["labels"] == {"by": "apply"}
    assert ("me", "Apply") in [(m["manager"], m["operation"]) for m in tree["metadata"]["managedFields"]]


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Orphan", ["orphan"]), ("Foreground", ["foregroundDeletion"]), ("Background", None)]
)
async def test_a_propagation_policy_is_written_down(api: Api, policy: str, finalizers: list[str] | None) -> None:
    """56-62, the server's part: what the garbage collector has to know stands in the object that is deleted."""
    await api.create(DEPLOYMENTS, deployment("d"))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
    assert (await api.delete(f"{DEPLOYMENTS}/d", options)).status == 200
    answer = await api.send("GET", f"{DEPLOYMENTS}/d")
    if finalizers is None:
        assert answer.status == 404
    else:
        assert answer.tree["metadata"]["finalizers"] == finalizers
        assert answer.tree["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("plural", ["jobs", "replicationcontrollers"])
async def test_the_oldest_kinds_leave_their_dependents_unless_told(api: Api, plural: str) -> None:
    """Who deletes a Job or a ReplicationController and says nothing of its pods leaves them; of a Job it is warned."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    template["spec"]["restartPolicy"] = "Never" if plural == "jobs" else "Always"
    where = {"jobs": "/apis/batch/v1", "replicationcontrollers": "/api/v1"}[plural] + f"/namespaces/default/{plural}"
    made = {"metadata": {"name": "x"}, "spec": {"template": template}}
    kind = {"jobs": ("batch/v1", "Job"), "replicationcontrollers": ("v1", "ReplicationController")}[plural]
    await api.create(where, {"apiVersion": kind[0], "kind": kind[1], **made})
    answer = await api.send("DELETE", f"{where}/x")
    assert answer.tree["metadata"]["finalizers"] == ["orphan"]
    warned = "child pods are preserved by default when jobs are deleted" in str(answer.headers)
    assert warned == (plural == "jobs")
    told = await api.delete(f"{where}/x", {"propagationPolicy": "Background"})
    assert "child pods" not in str(told.headers)
    assert (await api.send("GET", f"{where}/x")).status == 404


async def test_preconditions(api: Api) -> None:
    """58: another uid or revision than that of the object is a conflict that names both."""
    made = await api.create(MAPS, config_map("a"))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        refused = await api.delete(f"{MAPS}/a", {"preconditions": wrong})
        assert (refused.status, refused.tree["reason"]) == (409, "Conflict")
        assert " in the precondition (" in refused.tree["message"]
    assert (await api.delete(f"{MAPS}/a", {"preconditions": {"uid": uid, "resourceVersion": version}})).status == 200


async def test_owners_in_a_circle(api: Api) -> None:
    """61, the server's part: objects may own each other, block their owner, and be deleted one by one."""
    made = [await api.create(MAPS, config_map(name)) for name in ("a", "b", "c")]
    for obj, owner in zip(made, [*made[1:], made[0]], strict=True):
        reference = {
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        answer = await api.patch(f"{MAPS}/{obj['metadata']['name']}", {"metadata": {"ownerReferences": [reference]}})
        assert answer.tree["metadata"]["ownerReferences"] == [reference]
    for obj in made:
        assert (await api.delete(f"{MAPS}/{obj['metadata']['name']}")).status == 200


async def test_a_dry_run_goes_the_whole_way(api: Api) -> None:
    """180, 314, 315: admission and validation answer as ever, and nothing is kept: no object, event or revision."""
    start = (await api.get(PODS))["metadata"]["resourceVersion"]
    assert (await api.send("POST", f"{PODS}?dryRun=All", pod("p", runtimeClassName="none"))).status == 403
    assert (await api.send("POST", f"{PODS}?dryRun=All", pod("p", priorityClassName="none"))).status == 403
    assert (await api.send("POST", f"{PODS}?dryRun=Some", pod("p"))).status == 422
    assert (await api.send("POST", f"{PODS}?dryRun=All", pod("p"))).tree["spec"]["serviceAccountName"] == "default"
    await api.create(PODS, pod("p"))
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "other:1"}]
    patched = await api.patch(f"{PODS}/p?dryRun=All", image, "json")
    assert patched.tree["spec"]["containers"][0]["image"] == "other:1"
    assert (await api.send("DELETE", f"{PODS}/p?dryRun=All")).status == 200
    assert (await api.get(f"{PODS}/p"))["spec"]["containers"][0]["image"] == "busybox:1.36"
    events = await watched(api, f"{PODS}?resourceVersion={start}&timeoutSeconds=1", 2)
    assert [event["type"] for event in events] == ["ADDED"]


SHORT_NAMES = {
    "componentstatuses": "cs", "configmaps": "cm", "endpoints": "ep", "events": "ev", "limitranges": "limits",
    "namespaces": "ns", "nodes": "no", "persistentvolumeclaims": "pvc", "persistentvolumes": "pv", "pods": "po",
    "replicationcontrollers": "rc", "resourcequotas": "quota", "serviceaccounts": "sa", "services": "svc",
    "customresourcedefinitions": "crd,crds", "daemonsets": "ds", "deployments": "deploy", "replicasets": "rs",
    "statefulsets": "sts", "horizontalpodautoscalers": "hpa", "cronjobs": "cj", "certificatesigningrequests": "csr",
    "ingresses": "ing", "ipaddresses": "ip", "networkpolicies": "netpol", "poddisruptionbudgets": "pdb",
    "priorityclasses": "pc", "storageclasses": "sc", "volumeattributesclasses": "vac",
}  # fmt: skip
CATEGORIES = {
    "all": {
        "pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets", "statefulsets",
        "horizontalpodautoscalers", "cronjobs", "jobs",
    },
    "api-extensions": {
        "customresourcedefinitions", "apiservices", "mutatingwebhookconfigurations", "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings", "validatingwebhookconfigurations", "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    },
}  # fmt: skip


async def test_short_names_and_categories(api: Api) -> None:
    """What `kubectl api-resources` shows: short names and categories as upstream has them, and no others."""
    listed = [(await api.get("/api/v1"))["resources"]]
    for group in (await api.get("/apis"))["groups"]:
        if group["name"] != "metrics.k8s.io":  # whose nodes and pods are others
            listed += [(await api.get(f"/apis/{v['groupVersion']}"))["resources"] for v in group["versions"]]
    found: dict[str, set[str]] = {}
    for entry in (entry for resources in listed for entry in resources if "/" not in entry["name"]):
        assert ",".join(entry.get("shortNames", [])) == SHORT_NAMES.get(entry["name"], ""), entry
        assert entry["singularName"] == entry["kind"].lower()
        for category in entry.get("categories", []):
            found.setdefault(category, set()).add(entry["name"])
    assert found == CATEGORIES


@pytest.mark.parametrize(
    ("group", "plurals"),
    [
        ("apiextensions.k8s.io", {"customresourcedefinitions", "customresourcedefinitions/status"}),
        ("admissionregistration.k8s.io", {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}),
    ],
)
async def test_extension_groups_are_in_the_documents(api: Api, group: str, plurals: set[str]) -> None:
    """13, 36: the group in /apis, its version in /apis/GROUP, its resources in /apis/GROUP/v1."""
    listed = {entry["name"]: entry for entry in (await api.get("/apis"))["groups"]}[group]
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    assert version in listed["versions"]
    assert version in (await api.get(f"/apis/{group}"))["versions"]
    assert plurals <= {entry["name"] for entry in (await api.get(f"/apis/{group}/v1"))["resources"]}
