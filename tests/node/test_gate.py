"""The gate of one node: whose room counts, and who gets it first when some becomes free."""

from typing import Any

from sampan.kinds.core.pod import POD
from sampan.meta import objects

Tree = dict[str, Any]


def same(cpu: int, memory: str = "") -> Tree:
    """So many thousandths of a cpu, as a request and as a limit."""
    amounts = {"cpu": f"{cpu}m"} | ({"memory": memory} if memory else {})
    return {"requests": amounts, "limits": amounts}


def make(node: Any, name: str, resources: Tree, **spec: Any) -> None:
    container = {"name": "app", "image": "app:1", "resources": resources}
    quality = "Guaranteed" if "memory" in resources["limits"] else "Burstable"
    node.client.put(
        POD,
        {
            "metadata": {"name": name, "namespace": "default", "generation": 1},
            "spec": {"nodeName": "node-1", "containers": [container], "restartPolicy": "Always", **spec},
            "status": {"phase": "Pending", "qosClass": quality},
        },
    )


def resize(node: Any, name: str, resources: Tree) -> None:
    pod = objects.copy(node.client.find("pods", name))
    pod["spec"]["containers"][0]["resources"] = resources
    pod["metadata"]["generation"] += 1
    node.client.put(POD, pod)


def status(node: Any, name: str) -> Tree:
    return dict(node.client.find("pods", name)["status"])


def waiting(node: Any, *names: str) -> list[str]:
    """Those whose resize waits for room."""
    pending = ("PodResizePending", "Deferred")
    return [
        name for name in names if any((c["type"], c.get("reason")) == pending for c in status(node, name)["conditions"])
    ]


def cpus(node: Any) -> int:
    return int(node.client.find("nodes", "node-1", "")["status"]["allocatable"]["cpu"]) * 1000


def test_a_pod_deleted_by_force_takes_no_room(node: Any) -> None:
    """The scheduler gives it away at once, so the node does not turn away who comes, though the end takes a moment."""
    make(node, "former", same(cpus(node)))
    node.loop.advance(0.1)
    node.runtime.stop_seconds = 2
    node.client.drop(POD, ("default", "former"))
    node.loop.advance(0.1)
    make(node, "next", same(cpus(node)))
    node.loop.advance(0.3)
    assert [state.name for state in node.runtime.states.values()] == ["app", "app"]
    assert status(node, "next")["phase"] == "Running"


def test_room_goes_to_the_most_important_resize_first(node: Any) -> None:
    """By priority, then to what is guaranteed, then to who has waited longest; the others go on waiting."""
    much, little = cpus(node) * 2 // 3, cpus(node) // 16
    make(node, "filler", same(much))
    make(node, "first", same(little))
    make(node, "guaranteed", same(little, "100Mi"))
    make(node, "urgent", same(little), priority=1000)
    make(node, "last", same(little))
    node.loop.advance(0.5)
    for name in ("first", "guaranteed", "urgent", "last"):
        resize(node, name, same(much, "100Mi" if name == "guaranteed" else ""))
        node.loop.advance(1.5)
    order = ["urgent", "guaranteed", "first", "last"]
    assert waiting(node, *order) == order
    before = "filler"
    for number, name in enumerate(order):
        node.client.drop(POD, ("default", before))
        node.loop.advance(25)
        assert status(node, name)["containerStatuses"][0]["resources"]["requests"]["cpu"] == f"{much}m"
        assert waiting(node, *order[number:]) == order[number + 1 :]
        before = name
