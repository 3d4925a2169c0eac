"""Create, read, update, patch and delete, as any client sees them."""

import asyncio

import orjson
import pytest

from tests.server.conftest import Api, config_map, deployment, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def test_a_created_object_is_complete(api: Api) -> None:
    """Defaults, uid, creation time, generation, managed fields and status are there at once."""
    made = await api.create(PODS, pod("a"))
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert made["metadata"]["managedFields"][0]["manager"] == "pytest"
    assert made["spec"]["dnsPolicy"] == "ClusterFirst"
    assert made["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert made["spec"]["tolerations"][0]["tolerationSeconds"] == 300
    assert made["status"]["qosClass"] == "BestEffort"
    assert await api.get(f"{PODS}/a") == made


async def test_a_name_is_taken_once(api: Api) -> None:
    """A second create is refused as AlreadyExists; generateName finds another name."""
    await api.create(MAPS, config_map("a"))
    answer = await api.send("POST", MAPS, config_map("a"))
    assert (answer.status, answer.tree["reason"]) == (409, "AlreadyExists")
    assert answer.tree["message"] == 'configmaps "a" already exists'
    generated = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "x-"}}
    names = {(await api.create(MAPS, generated))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_a_stale_update_is_a_conflict(api: Api) -> None:
    """Of two updates from one resourceVersion, one wins."""
    made = await api.create(MAPS, config_map("a", k="0"))
    first = await api.put(f"{MAPS}/a", {**made, "data": {"k": "1"}})
    assert int(first["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    answer = await api.send("PUT", f"{MAPS}/a", {**made, "data": {"k": "2"}})
    assert (answer.status, answer.tree["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.tree["message"]


async def test_of_many_concurrent_updates_one_wins(api: Api) -> None:
    """I7: exactly one of N updates with one resourceVersion is accepted."""
    made = await api.create(MAPS, config_map("a"))
    answers = await asyncio.gather(*(api.send("PUT", f"{MAPS}/a", {**made, "data": {"k": str(i)}}) for i in range(8)))
    assert sorted(a.status for a in answers) == [200] + [409] * 7


async def test_concurrent_patches_all_happen(api: Api) -> None:
    """Patches without a resourceVersion are tried again until each is in."""
    await api.create(MAPS, config_map("a"))
    answers = await asyncio.gather(*(api.patch(f"{MAPS}/a", {"data": {f"k{i}": "v"}}) for i in range(8)))
    assert {a.status for a in answers} == {200}
    assert len((await api.get(f"{MAPS}/a"))["data"]) == 8


async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    """The resourceVersion stays."""
    made = await api.create(MAPS, config_map("a", k="v"))
    assert await api.put(f"{MAPS}/a", made) == made


async def test_generation_counts_spec_changes(api: Api) -> None:
    """Labels and status leave it alone."""
    await api.create(DEPLOYMENTS, deployment("web"))
    labelled = (await api.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}})).tree
    assert labelled["metadata"]["generation"] == 1
    scaled = (await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 3}})).tree
    assert scaled["metadata"]["generation"] == 2
    status = (await api.patch(f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 3}, "spec": {"replicas": 9}})).tree
    assert (status["metadata"]["generation"], status["spec"]["replicas"], status["status"]["replicas"]) == (2, 3, 3)
    main = (await api.patch(f"{DEPLOYMENTS}/web", {"status": {"replicas": 7}})).tree
    assert main["status"]["replicas"] == 3


async def test_scale_is_a_door_to_replicas(api: Api) -> None:
    """GET and PATCH of /scale read and write spec.replicas."""
    await api.create(DEPLOYMENTS, deployment("web", 2))
    scale = await api.get(f"{DEPLOYMENTS}/web/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=web")
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 5}})).tree["spec"]["replicas"] == 5
    assert (await api.get(f"{DEPLOYMENTS}/web"))["spec"]["replicas"] == 5
    assert (await api.put(f"{DEPLOYMENTS}/web/scale", {**scale, "metadata": {"name": "web"}, "spec": {}}))["spec"] == {
        "replicas": 0
    }


async def test_every_patch_type(api: Api) -> None:
    """JSON patch, merge, strategic and apply change what they say."""
    await api.create(DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web"
    json_patch = [{"op": "replace", "path": "/spec/replicas", "value": 4}]
    assert (await api.patch(path, json_patch, "json")).tree["spec"]["replicas"] == 4
    strategic = {
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "new"}, {"name": "d", "image": "d"}]}}}
    }
    containers = (await api.patch(path, strategic, "strategic")).tree["spec"]["template"]["spec"]["containers"]
    assert [c["image"] for c in sorted(containers, key=lambda c: c["name"])] == ["new", "d"]
    apply = b"kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\nspec: {paused: true}\n"
    applied = await api.patch(f"{path}?fieldManager=me", apply, "apply")
    assert applied.status == 200 and applied.tree["spec"]["paused"] is True
    removed = b"kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n"
    assert "paused" not in (await api.patch(f"{path}?fieldManager=me", removed, "apply")).tree["spec"]


async def test_apply_creates_and_conflicts(api: Api) -> None:
    """201 for a new object; 409 that names the other manager; force takes over."""
    config = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "1"}}
    assert (await api.patch(f"{MAPS}/a?fieldManager=one", config, "apply")).status == 201
    config["data"] = {"k": "2"}
    refused = await api.patch(f"{MAPS}/a?fieldManager=two", config, "apply")
    assert refused.status == 409
    assert refused.tree["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    assert refused.tree["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}
    ]
    assert (await api.patch(f"{MAPS}/a?fieldManager=two&force=true", config, "apply")).tree["data"] == {"k": "2"}
    assert (await api.patch(f"{MAPS}/a", config, "apply")).status == 422


async def test_strict_validation_names_every_field(api: Api) -> None:
    """Unknown and duplicate fields are refused, warned about, or ignored, as asked."""
    body = orjson.dumps(deployment("web")).replace(b'"replicas":1', b'"replicas":1,"replicas":2,"unknownField":1')
    strict = await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=Strict", body)
    assert strict.status == 400
    expected = 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"'
    assert strict.tree["message"].endswith(expected) or 'duplicate field "spec.replicas"' in strict.tree["message"]
    warned = await api.send("POST", DEPLOYMENTS, body)
    assert warned.status == 201 and 'unknown field \\"spec.unknownField\\"' in warned.headers["warning"]
    assert "unknownField" not in warned.tree["spec"]


async def test_dry_run_stores_nothing(api: Api) -> None:
    """The answer is as if; the object is not there."""
    answer = await api.send("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert answer.status == 201 and answer.tree["metadata"]["uid"]
    assert (await api.send("GET", f"{MAPS}/a")).status == 404


async def test_finalizers_hold_a_deleted_object(api: Api) -> None:
    """It says that it is being deleted, and goes with the last finalizer."""
    held = config_map("a")
    held["metadata"]["finalizers"] = ["example.com/x"]
    await api.create(MAPS, held)
    deleted = await api.delete(f"{MAPS}/a")
    assert deleted.status == 200 and deleted.tree["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": None}})
    assert (await api.send("GET", f"{MAPS}/a")).status == 404


async def test_pods_go_gracefully(api: Api) -> None:
    """A bound pod stays for its grace; a shorter grace and zero cut it; an unbound one goes at once."""
    await api.create(PODS, pod("unbound"))
    assert (await api.delete(f"{PODS}/unbound")).tree["kind"] == "Pod"
    assert (await api.send("GET", f"{PODS}/unbound")).status == 404
    await api.create(PODS, pod("bound", nodeName="n1"))
    first = (await api.delete(f"{PODS}/bound")).tree["metadata"]
    assert (first["deletionGracePeriodSeconds"], first["deletionTimestamp"]) == (30, "2026-01-01T00:00:30Z")
    shorter = (await api.delete(f"{PODS}/bound", {"gracePeriodSeconds": 5})).tree["metadata"]
    assert shorter["deletionTimestamp"] == "2026-01-01T00:00:05Z"
    await api.delete(f"{PODS}/bound", {"gracePeriodSeconds": 0})
    assert (await api.send("GET", f"{PODS}/bound")).status == 404


async def test_what_a_deletion_answers(api: Api) -> None:
    """The object as it was last, of kinds that have it so; of others what was deleted, in a Status."""
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}}
    for path, obj in ((PODS, pod("a")), ("/api/v1/namespaces/default/serviceaccounts", account)):
        made = await api.create(path, obj)
        answer = await api.delete(f"{path}/a")
        assert (answer.status, answer.tree["kind"]) == (200, made["kind"])
        assert answer.tree["metadata"]["uid"] == made["metadata"]["uid"]
        assert int(answer.tree["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
        assert (await api.send("GET", f"{path}/a")).status == 404
    made = await api.create(DEPLOYMENTS, deployment("a"))
    details = {"name": "a", "group": "apps", "kind": "deployments", "uid": made["metadata"]["uid"]}
    answer = await api.delete(f"{DEPLOYMENTS}/a")
    assert (answer.status, answer.tree["kind"], answer.tree["details"]) == (200, "Status", details)


async def test_delete_preconditions(api: Api) -> None:
    """Another uid or resourceVersion than the caller thinks is a conflict."""
    made = await api.create(MAPS, config_map("a"))
    wrong = await api.delete(f"{MAPS}/a", {"preconditions": {"uid": "nope"}})
    assert (wrong.status, wrong.tree["details"]) == (409, {"name": "a", "kind": "ConfigMap"})
    assert wrong.tree["message"] == (
        f'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (nope) does not match the UID in '
        f"record ({made['metadata']['uid']}). The object might have been deleted and then recreated"
    )
    right = await api.delete(f"{MAPS}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert right.tree["status"] == "Success" and right.tree["details"]["name"] == "a"


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    """Only what the selector chooses goes."""
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        labelled = config_map(name)
        labelled["metadata"]["labels"] = {"l": label}
        await api.create(MAPS, labelled)
    assert (await api.delete(f"{MAPS}?labelSelector=l%3Dx".replace("%3D", "="))).status == 200
    assert [m["metadata"]["name"] for m in (await api.get(MAPS))["items"]] == ["c"]


async def test_binding_gives_a_pod_its_node_once(api: Api) -> None:
    """The second binding is a conflict."""
    await api.create(PODS, pod("a"))
    binding = {
        "kind": "Binding",
        "apiVersion": "v1",
        "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n1"},
    }
    assert (await api.send("POST", f"{PODS}/a/binding", binding)).status == 201
    bound = await api.get(f"{PODS}/a")
    assert bound["spec"]["nodeName"] == "n1"
    assert [c["status"] for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"] == ["True"]
    assert (await api.send("POST", f"{PODS}/a/binding", binding)).status == 409


async def test_a_service_gets_an_address_of_its_own(api: Api) -> None:
    """From the range, never twice; a chosen one is honoured once; it is free again after the service."""
    path = "/api/v1/namespaces/default/services"

    def service(name: str, **spec: object) -> dict:
        spec = {"ports": [{"port": 80}], **spec}
        return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}

    made = await asyncio.gather(*(api.create(path, service(f"s{i}")) for i in range(10)))
    addresses = [m["spec"]["clusterIP"] for m in made]
    assert len(set(addresses)) == 10 and all(a.startswith("10.96.") for a in addresses)
    taken = await api.send("POST", path, service("t", clusterIP=addresses[0]))
    assert taken.status == 422 and "provided IP is already allocated" in taken.tree["message"]
    await api.delete(f"{path}/s0")
    assert (await api.create(path, service("t", clusterIP=addresses[0])))["spec"]["clusterIP"] == addresses[0]
    outside = await api.send("POST", path, service("u", clusterIP="192.168.1.1"))
    assert outside.status == 422 and "does not match the current range" in outside.tree["message"]
    headless = await api.create(path, service("h", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]


async def test_a_namespace_empties_before_it_goes(api: Api) -> None:
    """It is Terminating, takes nothing new, and goes by /finalize."""
    namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}}
    await api.create("/api/v1/namespaces", namespace)
    await api.create("/api/v1/namespaces/x/configmaps", config_map("a"))
    deleted = (await api.delete("/api/v1/namespaces/x")).tree
    assert deleted["status"]["phase"] == "Terminating"
    refused = await api.send("POST", "/api/v1/namespaces/x/configmaps", config_map("b"))
    assert refused.status == 403 and "because it is being terminated" in refused.tree["message"]
    live = await api.get("/api/v1/namespaces/x")
    await api.send("PUT", "/api/v1/namespaces/x/finalize", {**live, "spec": {"finalizers": []}})
    assert (await api.send("GET", "/api/v1/namespaces/x")).status == 404
    assert (await api.send("DELETE", "/api/v1/namespaces/default")).status == 403


@pytest.mark.parametrize(
    ("path", "body", "code", "text"),
    [
        (MAPS, b"{", 400, ""),
        (MAPS, b"[]", 400, ""),
        (MAPS, b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}', 400, "Pod"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}', 400, "v2"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"A_b"}}', 422, "RFC 1123"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}', 422, "name or generateName is required"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"other"}}', 400, "namespace"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"}}', 400, "resourceVersion"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":1}}', 400, "cannot unmarshal number"),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":NaN}}', 400, ""),
        (MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"\\ud800"}}', 400, ""),
        (MAPS, b"[" * 20000 + b"]" * 20000, 400, ""),
        (PODS, b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}', 422, "spec.containers: Required value"),
        ("/api/v1/namespaces/nope/configmaps", b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}', 404, "nope"),
        ("/api/v1/namespaces/default/unknowns", b"{}", 404, "could not find the requested resource"),
        ("/apis/apps/v2/namespaces/default/deployments", b"{}", 404, "could not find the requested resource"),
    ],
)  # fmt: skip
async def test_bad_bodies_get_a_status(api: Api, path: str, body: bytes, code: int, text: str) -> None:
    """Every wrong body is answered by a Status that says why."""
    answer = await api.send("POST", path, body)
    assert (answer.status, answer.tree["kind"], answer.tree["status"]) == (code, "Status", "Failure"), answer.body
    assert text in answer.tree["message"]


async def test_unknown_media_types_are_refused(api: Api) -> None:
    """415 for a body, 406 for an answer, 405 for a verb."""
    assert (await api.send("POST", MAPS, b"x", content_type="text/plain")).status == 415
    assert (await api.send("GET", MAPS, accept="text/html")).status == 406
    assert (await api.send("PATCH", f"{MAPS}/a", b"{}", content_type="application/json")).status == 415
    assert (await api.send("DELETE", "/api/v1/namespaces")).status == 405
