"""What a pod that is placed costs: nothing is decoded, copied or worked out again that is at hand."""

from typing import Any

from sampan.kinds.core.pod import POD
from sampan.meta import conditions
from tests.server.conftest import Api, pod

PODS = "/api/v1/namespaces/default/pods"


def binding(name: str) -> dict[str, Any]:
    target = {"kind": "Node", "name": "n1"}
    return {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": name}, "target": target}


async def test_a_binding_shares_what_it_does_not_change(api: Api) -> None:
    """The bound pod has the stored one's containers, and the stored one is left as it was."""
    await api.create(PODS, pod("a"))
    before = api.app.cache.of(POD).get("default/a")
    assert before is not None
    containers, shown = before.tree["spec"]["containers"], dict(before.tree["spec"])
    api.app.cache.of(POD).is_held = True
    assert (await api.send("POST", f"{PODS}/a/binding", binding("a"))).status == 201
    after = api.app.cache.of(POD).get("default/a")
    assert after is not None and after.tree["spec"] == {**shown, "nodeName": "n1"}
    assert after.tree["spec"]["containers"] is containers
    assert conditions.is_true(after.tree, "PodScheduled")
    assert before.tree["spec"] == shown and not conditions.get(before.tree, "PodScheduled")
    assert after.tree == after.copy()


async def test_what_somebody_here_follows_is_not_decoded(api: Api) -> None:
    """A pod that came as bytes is at hand as a tree for followers in the process, and says what is stored."""
    cache = api.app.cache.of(POD)
    seen: list[Any] = []
    cache.listen(lambda change: seen.append(change.item and change.item._tree))
    for name, is_held in (("a", False), ("b", True)):
        cache.is_held = is_held
        await api.create(PODS, pod(name))
    assert seen[0] is None and seen[1]["metadata"]["name"] == "b"
    item = cache.get("default/b")
    assert item is not None and seen[1] == item.copy()
