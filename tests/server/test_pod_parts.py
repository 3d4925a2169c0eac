"""Pods: what may be written apart from the rest, what counts as a new generation, and the class of service."""

from typing import Any

import pytest

from tests.server.conftest import Api, pod

PODS = "/api/v1/namespaces/default/pods"

Tree = dict[str, Any]


def guest(name: str, **fields: Any) -> Tree:
    return {"name": name, "image": "busybox:1.36", **fields}


def sized(cpu: str, memory: str, **fields: Any) -> Tree:
    resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}
    return {"containers": [{"name": "c", "image": "busybox:1.36", "resources": resources, **fields}]}


async def test_an_ephemeral_container_comes_by_its_own_door(api: Api) -> None:
    """Conformance 263, 264, the API's part: patch, update and read of pods/ephemeralcontainers; they stay."""
    made = await api.create(PODS, pod("a"))
    path = f"{PODS}/a/ephemeralcontainers"
    patch = {
        "spec": {"ephemeralContainers": [guest("debug", targetContainerName="c")]},
        "metadata": {"labels": {"a": "b"}},
    }
    patched = await api.patch(path, patch, kind="strategic")
    assert patched.status == 200, patched.body
    (found,) = patched.tree["spec"]["ephemeralContainers"]
    assert found["terminationMessagePolicy"] == "File" and found["imagePullPolicy"] == "IfNotPresent"
    assert patched.tree["metadata"].get("labels") is None
    assert patched.tree["metadata"]["generation"] == made["metadata"]["generation"] + 1
    read = await api.get(path)
    read["spec"]["ephemeralContainers"].append(guest("debug2"))
    read["spec"]["containers"][0]["image"] = "other"
    updated = await api.put(path, read)
    assert [c["name"] for c in updated["spec"]["ephemeralContainers"]] == ["debug", "debug2"]
    assert updated["spec"]["containers"][0]["image"] == "busybox:1.36"
    for guests, text in (
        ([], 'existing ephemeral containers "debug" may not be removed'),
        ([guest("debug", image="x"), guest("debug2")], 'existing ephemeral containers "debug" may not be changed'),
        ([*read["spec"]["ephemeralContainers"], guest("c")], 'spec.ephemeralContainers[2].name: Duplicate value: "c"'),
        (
            [*read["spec"]["ephemeralContainers"], guest("d", ports=[{"containerPort": 1}])],
            "spec.ephemeralContainers[2].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
    ):
        answer = await api.send("PUT", path, {**updated, "spec": {**updated["spec"], "ephemeralContainers": guests}})
        assert answer.status == 422 and text in answer.tree["message"], answer.tree["message"]
    answer = await api.patch(f"{PODS}/a", {"spec": {"ephemeralContainers": None}})
    assert answer.status == 422 and "spec: Forbidden: pod updates may not change fields" in answer.tree["message"]


async def test_a_pod_is_resized_by_its_own_door(api: Api) -> None:
    """Conformance 285, the API's part: patch and update of pods/resize change cpu and memory, and only there."""
    await api.create(PODS, pod("a", **sized("100m", "100Mi")))
    wish = {"spec": {"containers": [{"name": "c", "resources": sized("200m", "200Mi")["containers"][0]["resources"]}]}}
    answer = await api.patch(f"{PODS}/a", wish, kind="strategic")
    assert answer.status == 422
    patched = await api.patch(f"{PODS}/a/resize", wish, kind="strategic")
    assert patched.status == 200, patched.body
    assert patched.tree["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "200m", "memory": "200Mi"}
    assert patched.tree["metadata"]["generation"] == 2
    assert "conditions" not in patched.tree["status"] and patched.tree["status"]["qosClass"] == "Guaranteed"
    read = await api.get(f"{PODS}/a/resize")
    read["spec"]["containers"][0]["resources"] = sized("50m", "200Mi")["containers"][0]["resources"]
    assert (await api.put(f"{PODS}/a/resize", read))["metadata"]["generation"] == 3


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"requests": {"cpu": "50m"}}, "spec: Invalid value: "),
        ({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}, "resource requests cannot be removed"),
        (
            {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "2"}},
            "must be less than or equal to cpu limit of 1",
        ),
    ],
)
async def test_a_bad_resize_is_refused(api: Api, resources: Tree, text: str) -> None:
    """In the reference server's words: the class of service stays, nothing is taken away, nothing else changes."""
    made = await api.create(PODS, pod("a", **sized("100m", "100Mi")))
    made["spec"]["containers"][0]["resources"] = resources
    answer = await api.send("PUT", f"{PODS}/a/resize", made)
    assert answer.status == 422 and text in answer.tree["message"], answer.tree["message"]


@pytest.mark.parametrize(
    ("group", "names", "text"),
    [
        (
            "containers",
            ["d", "c"],
            "[spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize, "
            "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize]",
        ),
        (
            "containers",
            ["c", "e"],
            "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
        ),
        ("containers", ["c"], "spec.containers: Forbidden: containers may not be added or removed on resize"),
        (
            "initContainers",
            ["f"],
            "spec.initContainers[0].name: Forbidden: initContainers may not be renamed or reordered on resize",
        ),
    ],
)
async def test_a_resize_leaves_the_containers_in_their_places(
    api: Api, group: str, names: list[str], text: str
) -> None:
    """None is renamed, reordered, added or removed by it; a write that tries is refused as a whole."""
    image = {"image": "busybox:1.36", "resources": {"requests": {"cpu": "1"}}}
    given = pod(
        "a", containers=[{"name": "c", **image}, {"name": "d", **image}], initContainers=[{"name": "i", **image}]
    )
    made = await api.create(PODS, given)
    by_place = made["spec"][group]
    changed = [{**each, "name": name} for name, each in zip(names, by_place, strict=False)]
    answer = await api.send("PUT", f"{PODS}/a/resize", {**made, "spec": {**made["spec"], group: changed}})
    assert answer.status == 422 and answer.tree["message"] == f'Pod "a" is invalid: {text}'
    assert (await api.get(f"{PODS}/a"))["spec"] == made["spec"]


async def test_a_resize_is_not_for_containers_that_only_begin_a_pod(api: Api) -> None:
    """One that goes on beside the others is resized like them."""
    small, large = {"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}
    begins = {"name": "i", "image": "busybox:1.36", "resources": small}
    await api.create(PODS, pod("a", initContainers=[begins, {**begins, "name": "s", "restartPolicy": "Always"}]))

    async def resized(name: str) -> Any:
        wish = {"spec": {"initContainers": [{"name": name, "resources": large}]}}
        return await api.patch(f"{PODS}/a/resize", wish, kind="strategic")

    answer = await resized("i")
    text = "spec.initContainers[0].resources: Forbidden: resources for non-sidecar init containers are immutable"
    assert answer.status == 422 and answer.tree["message"] == f'Pod "a" is invalid: {text}'
    answer = await resized("s")
    assert answer.status == 200 and answer.tree["spec"]["initContainers"][1]["resources"] == large


async def test_a_pods_generation_counts_its_specs(api: Api) -> None:
    """Conformance 289, 291: it starts at 1 whatever was asked, and grows with images, tolerations and deletion only."""
    made = pod("a", nodeName="n1")
    made["metadata"]["generation"] = 100
    assert (await api.create(PODS, made))["metadata"]["generation"] == 1

    async def after(patch: Tree) -> int:
        answer = await api.patch(f"{PODS}/a", patch, kind="strategic")
        assert answer.status == 200, answer.body
        return int(answer.tree["metadata"]["generation"])

    assert await after({"metadata": {"labels": {"a": "b"}}}) == 1
    assert await after({"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}}) == 2
    assert await after({"spec": {"activeDeadlineSeconds": 1000}}) == 3
    tolerations = (await api.get(f"{PODS}/a"))["spec"]["tolerations"]
    assert await after({"spec": {"tolerations": [*tolerations, {"key": "x", "operator": "Exists"}]}}) == 4
    assert (await api.patch(f"{PODS}/a/status", {"status": {"message": "x"}})).tree["metadata"]["generation"] == 4
    deleted = await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 30})
    assert deleted.tree["metadata"]["generation"] == 5


async def test_a_pods_class_of_service_is_set(api: Api) -> None:
    """Conformance 292: equal requests and limits of cpu and memory make a pod Guaranteed."""
    assert (await api.create(PODS, pod("a", **sized("100m", "100Mi"))))["status"]["qosClass"] == "Guaranteed"
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}
    assert (await api.create(PODS, pod("b", containers=[container])))["status"]["qosClass"] == "Burstable"
    assert (await api.create(PODS, pod("c")))["status"]["qosClass"] == "BestEffort"


async def test_malformed_sysctls_are_refused(api: Api) -> None:
    """Conformance 330: each bad name is named, good ones are not."""
    sysctls = [{"name": n, "value": "1"} for n in ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..")]
    answer = await api.send("POST", PODS, pod("a", securityContext={"sysctls": sysctls}))
    assert answer.status == 422
    message = answer.tree["message"]
    assert 'Invalid value: "foo-"' in message and 'Invalid value: "bar.."' in message
    assert "safe-and-unsafe" not in message and "kernel.shmmax" not in message


async def test_volumes_of_every_type_are_kept_as_they_are(api: Api) -> None:
    """What the reference server accepts is accepted, with its defaults, whether or not a node can mount it."""
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    sources: Tree = {
        "awsElasticBlockStore": {"volumeID": "v"},
        "azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/b/c.vhd"},
        "azureFile": {"secretName": "s", "shareName": "t"},
        "cephfs": {"monitors": ["m"]},
        "cinder": {"volumeID": "v"},
        "csi": {"driver": "a.b"},
        "emptyDir": {},
        "ephemeral": {"volumeClaimTemplate": template},
        "fc": {"wwids": ["a"]},
        "flexVolume": {"driver": "a/b"},
        "flocker": {"datasetName": "d"},
        "gcePersistentDisk": {"pdName": "p"},
        "gitRepo": {"repository": "r"},
        "glusterfs": {"endpoints": "e", "path": "p"},
        "hostPath": {"path": "/a"},
        "image": {"reference": "example.com/a:1"},
        "iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:storage", "lun": 0},
        "nfs": {"server": "s", "path": "/p"},
        "persistentVolumeClaim": {"claimName": "c"},
        "photonPersistentDisk": {"pdID": "p"},
        "portworxVolume": {"volumeID": "v"},
        "quobyte": {"registry": "a:1", "volume": "v"},
        "rbd": {"monitors": ["m"], "image": "i"},
        "scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}},
        "storageos": {"volumeName": "v"},
        "vsphereVolume": {"volumePath": "p"},
    }
    volumes = [{"name": name.lower(), name: source} for name, source in sources.items()]
    made = await api.create(PODS, pod("a", volumes=volumes))
    kept = {next(k for k in v if k != "name"): v for v in made["spec"]["volumes"]}
    assert kept.keys() == sources.keys()
    assert kept["rbd"]["rbd"] == {
        "monitors": ["m"], "image": "i", "pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"
    }  # fmt: skip
    assert kept["image"]["image"]["pullPolicy"] == "IfNotPresent"
    assert kept["ephemeral"]["ephemeral"]["volumeClaimTemplate"]["spec"]["volumeMode"] == "Filesystem"
