"""Long lists in a strategic merge patch: items are found by their key, not by search."""

from typing import Any

from sampan.meta import schema
from sampan.meta.patch import strategic

POD = schema.definition("io.k8s.api.core.v1.Pod")
COUNT = 400


class Counted(str):
    """A text that counts how often it was compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def containers(numbers: range) -> list[dict[str, Any]]:
    return [{"name": Counted(f"c{number}")} for number in numbers]


def test_items_with_a_key_are_not_searched_for() -> None:
    old = {"spec": {"containers": containers(range(COUNT))}}
    order = containers(range(2 * COUNT - 1, -1, -1))
    items = containers(range(2 * COUNT - 1, -1, -1))
    patch = {"spec": {"containers": items, "$setElementOrder/containers": order}}
    Counted.compared = 0
    new = strategic.apply(old, patch, POD)
    assert [item["name"] for item in new["spec"]["containers"]] == [item["name"] for item in order]
    assert Counted.compared < 50 * COUNT


def test_primitives_are_not_searched_for() -> None:
    old = {"metadata": {"finalizers": [Counted(f"f{number}") for number in range(COUNT)]}}
    doomed = [Counted(f"f{number}") for number in range(0, COUNT, 2)]
    added = [Counted(f"f{number}") for number in range(2 * COUNT)]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": doomed, "finalizers": added}}
    Counted.compared = 0
    new = strategic.apply(old, patch, POD)
    assert len(new["metadata"]["finalizers"]) == 2 * COUNT
    assert Counted.compared < 50 * COUNT


def test_deleted_items_may_come_again() -> None:
    old = {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}}
    patch = {"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "a", "image": "y"}]}}
    new = strategic.apply(old, patch, POD)
    assert new["spec"]["containers"] == [{"name": "a", "image": "y"}, {"name": "b"}]
