"""A resize of a bound pod has to fit its node, and to be something that the node says it can follow."""

from typing import Any

import pytest

from tests.server.conftest import Api, pod

PODS = "/api/v1/namespaces/default/pods"
POD_LEVEL = "InPlacePodLevelResourcesVerticalScaling"
Tree = dict[str, Any]


async def add_node(api: Api, system: str = "linux", **status: Any) -> None:
    """n1, with 4 cpus and 8Gi for pods."""
    labels = {"kubernetes.io/os": system} if system else {}
    await api.create(
        "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1", "labels": labels}}
    )
    given = {"status": {"allocatable": {"cpu": "4", "memory": "8Gi"}, **status}}
    assert (await api.patch("/api/v1/nodes/n1/status", given)).status == 200


def asking(cpu: str, memory: str) -> Tree:
    return {"requests": {"cpu": cpu, "memory": memory}}


async def resized(api: Api, name: str, resources: Tree) -> Any:
    wish = {"spec": {"containers": [{"name": "c", "resources": resources}]}}
    return await api.patch(f"{PODS}/{name}/resize", wish, kind="strategic")


async def add_pod(api: Api, name: str, **spec: Any) -> None:
    container = {"name": "c", "image": "busybox:1.36", "resources": asking("1", "1Gi")}
    await api.create(PODS, pod(name, containers=[container], **spec))


@pytest.mark.parametrize(
    ("cpu", "memory", "lacks"),
    [
        (
            "10",
            "10Gi",
            "cpu, requested: 10000, allocatable: 4000; memory, requested: 10737418240, allocatable: 8589934592",
        ),
        ("4001m", "8Gi", "cpu, requested: 4001, allocatable: 4000"),
        ("4", "8193Mi", "memory, requested: 8590983168, allocatable: 8589934592"),
    ],
)
async def test_a_resize_beyond_the_node_is_refused(api: Api, cpu: str, memory: str, lacks: str) -> None:
    """As a whole, with a cause that tells why; all that the node has may be asked for."""
    await add_node(api)
    await add_pod(api, "p", nodeName="n1")
    answer = await resized(api, "p", asking(cpu, memory))
    assert answer.status == 403
    assert answer.tree["message"] == (f'pods "p" is forbidden: node didn\'t have enough allocatable resources: {lacks}')
    assert answer.tree["details"] == {"name": "p", "kind": "pods", "causes": [{"reason": "NodeCapacity"}]}
    assert (await api.get(f"{PODS}/p"))["spec"]["containers"][0]["resources"] == asking("1", "1Gi")
    assert (await resized(api, "p", asking("4", "8Gi"))).status == 200


async def test_a_resize_needs_a_linux_node(api: Api) -> None:
    """Of another system it is refused; a node that says nothing is taken for one of Linux."""
    await add_node(api, "windows")
    await add_pod(api, "p", nodeName="n1")
    answer = await resized(api, "p", asking("2", "1Gi"))
    assert answer.status == 403
    assert answer.tree["message"].endswith('pod resize is only supported on linux nodes, node "n1" is "windows"')
    assert answer.tree["details"]["causes"] == [{"reason": "UnsupportedPlatform"}]
    assert (await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": None}})).status == 200
    assert (await resized(api, "p", asking("2", "1Gi"))).status == 200


async def test_a_resize_needs_the_node(api: Api) -> None:
    """Once a pod has one; what changes nothing is no resize, and a pod without a node may ask for anything."""
    await add_pod(api, "lost", nodeName="gone")
    assert (await resized(api, "lost", asking("1", "1Gi"))).status == 200
    answer = await resized(api, "lost", asking("2", "1Gi"))
    assert (answer.status, answer.tree["message"]) == (403, 'pods "lost" is forbidden: node "gone" not found')
    assert "causes" not in answer.tree["details"]
    await add_pod(api, "free")
    assert (await resized(api, "free", asking("1000", "1Ti"))).status == 200


async def test_the_resources_of_a_whole_pod_change_where_the_node_declares_it(api: Api) -> None:
    """Other changes need nothing of the node, and the same amounts in other words are no change."""
    await add_node(api)
    await add_pod(api, "p", nodeName="n1", resources=asking("1", "2Gi"))

    async def whole(cpu: str) -> Any:
        return await api.patch(f"{PODS}/p/resize", {"spec": {"resources": asking(cpu, "2Gi")}}, kind="strategic")

    answer = await whole("2")
    assert answer.status == 403
    assert answer.tree["message"] == (
        f'pods "p" is forbidden: pod update requires features {POD_LEVEL} which are not available on node "n1"'
    )
    assert (await whole("1000m")).status == 200
    assert (await resized(api, "p", asking("500m", "1Gi"))).status == 200
    assert (await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})).status == 200
    await api.patch("/api/v1/nodes/n1/status", {"status": {"declaredFeatures": [POD_LEVEL]}})
    answer = await whole("2")
    assert answer.status == 200, answer.body
    assert answer.tree["spec"]["resources"]["requests"]["cpu"] == "2"
