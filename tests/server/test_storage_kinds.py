"""Storage: volumes, claims, classes and what drivers say, as plain objects of the API."""

from typing import Any

import pytest

from tests.server import crud
from tests.server.conftest import Api, pod

GROUP = "/apis/storage.k8s.io/v1"
VOLUMES = "/api/v1/persistentvolumes"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = f"{GROUP}/storageclasses"
DRIVERS = f"{GROUP}/csidrivers"
ATTACHMENTS = f"{GROUP}/volumeattachments"

Tree = dict[str, Any]


def storage(kind: str, name: str, **fields: Any) -> Tree:
    return {"kind": kind, "apiVersion": "storage.k8s.io/v1", "metadata": {"name": name}, **fields}


def volume(name: str, **spec: Any) -> Tree:
    source = {"csi": {"driver": "e2e-driver-7", "volumeHandle": f"e2e-handle-{name}"}}
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], **source, **spec}
    return {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def claim(name: str, **spec: Any) -> Tree:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def attachment(name: str) -> Tree:
    spec = {"attacher": "e2e-test.storage.k8s.io", "nodeName": "n1", "source": {"persistentVolumeName": "pv-1"}}
    return storage("VolumeAttachment", name, spec=spec)


async def test_a_storage_class_lives(api: Api) -> None:
    """Conformance 437: all verbs, with the reference server's defaults."""
    made = storage("StorageClass", "fast", provisioner="e2e-fake-provisioner", parameters={"a": "b"})
    await crud.walk(api, CLASSES, made, {"allowVolumeExpansion": True})
    kept = await api.create(CLASSES, made)
    assert (kept["reclaimPolicy"], kept["volumeBindingMode"]) == ("Delete", "Immediate")
    answer = await api.patch(
        f"{CLASSES}/fast", {"parameters": {"a": "c"}, "provisioner": "x", "reclaimPolicy": "Retain"}
    )
    assert answer.status == 422
    assert [cause["message"] for cause in answer.tree["details"]["causes"]] == [
        f"Forbidden: updates to {field} are forbidden." for field in ("parameters", "provisioner", "reclaimPolicy")
    ]


async def test_a_driver_lives(api: Api) -> None:
    """Conformance 355: all verbs; what it attaches, and for how long, stays."""
    made = storage("CSIDriver", "inline-driver", spec={"volumeLifecycleModes": ["Ephemeral"]})
    await crud.walk(api, DRIVERS, made, {"spec": {"requiresRepublish": True}})
    kept = await api.create(DRIVERS, made)
    assert kept["spec"] == {
        "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "requiresRepublish": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType", "seLinuxMount": False, "volumeLifecycleModes": ["Ephemeral"],
    }  # fmt: skip
    assert kept["metadata"]["generation"] == 1
    changed = await api.patch(f"{DRIVERS}/inline-driver", {"spec": {"podInfoOnMount": True}})
    assert changed.tree["metadata"]["generation"] == 2
    answer = await api.patch(f"{DRIVERS}/inline-driver", {"spec": {"attachRequired": False}})
    assert (
        answer.status == 422
        and "spec.attachedRequired: Invalid value: false: field is immutable" in answer.tree["message"]
    )


async def test_a_pod_may_have_an_inline_volume(api: Api) -> None:
    """Conformance 356: CSIVolumeSource in the Pod API, through create, read, list, patch and delete."""
    path = "/api/v1/namespaces/default/pods"
    source = {"driver": "e2e.example.com", "readOnly": True, "volumeAttributes": {"foo": "bar"}}
    made = await api.create(path, pod("inline", volumes=[{"name": "v", "csi": source}]))
    assert made["spec"]["volumes"] == [{"name": "v", "csi": source}]
    assert (await api.get(f"{path}/inline"))["spec"]["volumes"] == made["spec"]["volumes"]
    patched = await api.patch(f"{path}/inline", {"metadata": {"labels": {"a": "b"}}}, kind="strategic")
    assert patched.status == 200
    answer = await api.send("POST", path, pod("bad", volumes=[{"name": "v", "csi": {}}]))
    assert answer.status == 422 and "spec.volumes[0].csi.driver: Required value" in answer.tree["message"]


async def test_a_nodes_drivers_live(api: Api) -> None:
    """Conformance 357: a CSINode through all verbs; a driver that is there keeps its node id."""
    driver = {"name": "e2e.example.com", "nodeID": "n1", "topologyKeys": ["a/b"], "allocatable": {"count": 3}}
    made = storage("CSINode", "n1", spec={"drivers": [driver]})
    await crud.walk(api, f"{GROUP}/csinodes", made, {"spec": {"drivers": [{**driver, "allocatable": {"count": 4}}]}})
    await api.create(f"{GROUP}/csinodes", made)
    answer = await api.patch(f"{GROUP}/csinodes/n1", {"spec": {"drivers": [{**driver, "nodeID": "n2"}]}})
    assert answer.status == 422 and "spec.drivers: Invalid value" in answer.tree["message"]


async def test_a_capacity_lives(api: Api) -> None:
    """Conformance 358: a CSIStorageCapacity through all verbs; class and nodes stay."""
    path = f"{GROUP}/namespaces/default/csistoragecapacities"
    made = storage("CSIStorageCapacity", "cap", storageClassName="fast", nodeTopology={"matchLabels": {"a": "b"}})
    await crud.walk(api, path, made, {"capacity": "1Gi"})
    await api.create(path, made)
    answer = await api.patch(f"{path}/cap", {"storageClassName": "slow"})
    assert answer.status == 422
    assert 'storageClassName: Invalid value: "slow": field is immutable' in answer.tree["message"]


async def test_an_attachment_lives(api: Api) -> None:
    """Conformance 444: a VolumeAttachment through all verbs; its spec stays."""
    await crud.walk(api, ATTACHMENTS, attachment("a"), {})
    await api.create(ATTACHMENTS, attachment("a"))
    answer = await api.patch(f"{ATTACHMENTS}/a", {"spec": {"nodeName": "n2"}})
    assert answer.status == 422 and "field is immutable" in answer.tree["message"]


async def test_an_attachments_state_is_written_apart(api: Api) -> None:
    """Conformance 443: patch, update and read of volumeattachments/status; a new one is not attached."""
    made = await api.create(ATTACHMENTS, {**attachment("a"), "status": {"attached": True}})
    assert made["status"] == {"attached": False}
    patched = await api.patch(f"{ATTACHMENTS}/a/status", {"status": {"attached": True}})
    assert patched.tree["status"]["attached"] is True
    read = await api.get(f"{ATTACHMENTS}/a/status")
    read["status"]["attached"] = False
    assert (await api.put(f"{ATTACHMENTS}/a/status", read))["status"]["attached"] is False


async def test_a_class_of_attributes_lives(api: Api) -> None:
    """Conformance 445: a VolumeAttributesClass through all verbs, kept while in use; its settings stay."""
    path = f"{GROUP}/volumeattributesclasses"
    made = storage("VolumeAttributesClass", "gold", driverName="e2e-fake-csi-driver", parameters={"iops": "500"})
    await crud.walk(api, path, made, {})
    kept = await api.create(path, made)
    assert kept["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    answer = await api.patch(f"{path}/gold", {"parameters": {"iops": "1"}})
    assert "parameters: Forbidden: updates to parameters are forbidden." in answer.tree["message"]


async def test_the_state_of_volumes_and_claims_is_written_apart(api: Api) -> None:
    """Conformance 398: patch and update of persistentvolumes/status and persistentvolumeclaims/status."""
    await api.create(VOLUMES, volume("pv-1"))
    made = await api.create(CLAIMS, claim("c"))
    assert made["status"] == {"phase": "Pending"}
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    patched = await api.patch(f"{CLAIMS}/c/status", {"status": {"conditions": [condition]}})
    assert patched.tree["status"]["conditions"] == [condition]
    again = patched.tree | {"status": {"phase": "Bound", "conditions": [condition]}}
    assert (await api.put(f"{CLAIMS}/c/status", again))["status"]["phase"] == "Bound"
    patched = await api.patch(f"{VOLUMES}/pv-1/status", {"status": {"message": "set", "reason": "E2E"}})
    assert patched.tree["status"]["reason"] == "E2E"


async def test_a_volume_lives(api: Api) -> None:
    """Conformance 399, the API's part: a PersistentVolume through all verbs, protected; its source stays."""
    await crud.walk(api, VOLUMES, volume("pv-1"), {})
    made = await api.create(VOLUMES, volume("pv-1"))
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain" and made["spec"]["volumeMode"] == "Filesystem"
    assert made["status"] == {"phase": "Pending", "lastPhaseTransitionTime": made["metadata"]["creationTimestamp"]}
    answer = await api.patch(f"{VOLUMES}/pv-1", {"spec": {"csi": {"volumeHandle": "other"}}})
    assert answer.status == 422
    text = "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    assert text in answer.tree["message"]
    assert (await api.patch(f"{VOLUMES}/pv-1", {"spec": {"claimRef": {"namespace": "a", "name": "b"}}})).status == 200
    api.clock.time += 60
    bound = await api.patch(f"{VOLUMES}/pv-1/status", {"status": {"phase": "Bound"}})
    assert bound.tree["status"]["lastPhaseTransitionTime"] == "2026-01-01T00:01:00Z"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value"),
        ({"accessModes": ["A"]}, 'spec.accessModes: Unsupported value: "A": supported values: "ReadOnlyMany", '),
        ({"capacity": {"storage": "0"}}, 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
        ({"nfs": {"server": "a", "path": "/b"}}, "spec.csi: Forbidden: may not specify more than 1 volume type"),
        ({"csi": None}, "spec: Required value: must specify a volume type"),
        (
            {"csi": None, "local": {"path": "/a"}},
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (
            {"csi": None, "hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
        ({"volumeMode": "Tape"}, 'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'),
    ],
)
async def test_a_bad_volume_is_refused(api: Api, spec: Tree, text: str) -> None:
    """In the reference server's words."""
    answer = await api.send("POST", VOLUMES, volume("pv", **spec))
    assert answer.status == 422 and text in answer.tree["message"], answer.tree["message"]


async def test_a_claim_changes_only_in_size_and_only_when_it_may(api: Api) -> None:
    """The spec is immutable; a bound claim grows when its class allows it, and says why not otherwise."""
    fast = storage("StorageClass", "fast", provisioner="p.example.com", allowVolumeExpansion=True)
    await api.create(CLASSES, fast)
    await api.create(CLASSES, storage("StorageClass", "fixed", provisioner="p.example.com"))
    await api.create(CLAIMS, claim("c", storageClassName="fast"))
    await api.create(CLAIMS, claim("d", storageClassName="fixed"))
    bigger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    answer = await api.patch(f"{CLAIMS}/c", bigger)
    assert answer.status == 422 and "spec: Forbidden: spec is immutable after creation except" in answer.tree["message"]
    for name in ("c", "d"):
        bound = await api.patch(f"{CLAIMS}/{name}", {"spec": {"volumeName": f"pv-{name}"}})
        assert bound.status == 200, bound.body
        state = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
        assert (await api.patch(f"{CLAIMS}/{name}/status", {"status": state})).status == 200
    assert (await api.patch(f"{CLAIMS}/c", bigger)).status == 200
    answer = await api.patch(f"{CLAIMS}/d", bigger)
    assert answer.status == 403
    assert "only dynamically provisioned pvc can be resized and the storageclass" in answer.tree["message"]
    smaller = {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    answer = await api.patch(f"{CLAIMS}/c", smaller)
    assert "field can not be less than status.capacity" in answer.tree["message"]
    for change in ({"accessModes": ["ReadOnlyMany"]}, {"storageClassName": "fixed"}, {"volumeMode": "Block"}):
        assert (await api.patch(f"{CLAIMS}/c", {"spec": change})).status == 422


async def test_a_claim_without_a_class_gets_the_default_one(api: Api) -> None:
    """The newest that is marked; none for a claim that says "" itself."""
    for index, name in enumerate(("old", "new")):
        api.clock.time += 60 * index
        made = storage("StorageClass", name, provisioner="p.example.com")
        made["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        await api.create(CLASSES, made)
    made = await api.create(CLAIMS, claim("c"))
    assert made["spec"]["storageClassName"] == "new"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert (await api.create(CLAIMS, claim("d", storageClassName="")))["spec"]["storageClassName"] == ""
    answer = await api.send("GET", CLASSES, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    names = [column["name"] for column in answer.tree["columnDefinitions"]]
    assert names == ["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"]
    defaults = [row["cells"][0] for row in answer.tree["rows"]]
    assert defaults == ["new (default)", "old (default)", "standard (default)"]


async def test_a_claims_two_data_sources_say_the_same(api: Api) -> None:
    """Each field is filled from the other; what is neither claim nor snapshot stands in dataSourceRef alone."""
    source = {"kind": "PersistentVolumeClaim", "name": "a"}
    made = await api.create(CLAIMS, claim("c", dataSource=source))
    assert made["spec"]["dataSourceRef"] == source
    other = {"apiGroup": "example.com", "kind": "Populator", "name": "a"}
    made = await api.create(CLAIMS, claim("d", dataSourceRef=other))
    assert made["spec"]["dataSourceRef"] == other and "dataSource" not in made["spec"]
    wrong = {"kind": "Pod", "name": "a"}
    answer = await api.send("POST", CLAIMS, claim("e", dataSourceRef=wrong))
    assert "must be 'PersistentVolumeClaim' when referencing the default apiGroup" in answer.tree["message"]


async def test_tables_look_as_the_reference_servers(api: Api) -> None:
    """kubectl get pv, pvc and volumeattachments."""
    table = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    spec = {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "claimRef": {"namespace": "default", "name": "c"}}
    await api.create(VOLUMES, volume("pv-1", storageClassName="fast", **spec))
    answer = await api.send("GET", VOLUMES, **table)
    assert answer.tree["rows"][0]["cells"] == [
        "pv-1", "1Gi", "RWO,ROX", "Retain", "Pending", "default/c", "fast", "<unset>", "", "0s", "Filesystem",
    ]  # fmt: skip
    await api.create(CLAIMS, claim("c"))
    answer = await api.send("GET", CLAIMS, **table)
    assert answer.tree["rows"][0]["cells"] == ["c", "Pending", "", "", "", "standard", "<unset>", "0s", "Filesystem"]
    await api.create(ATTACHMENTS, attachment("a"))
    answer = await api.send("GET", ATTACHMENTS, **table)
    assert answer.tree["rows"][0]["cells"] == ["a", "e2e-test.storage.k8s.io", "pv-1", "n1", False, "0s"]
