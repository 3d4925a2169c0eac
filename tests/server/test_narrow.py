"""What is about one name or one node is found, and told of, without looking at everything."""

from typing import Any

import pytest

from sampan.server import narrow
from sampan.server.cache import KindCache
from sampan.server.narrow import Narrow
from sampan.store.protocol import Event

PREFIX = "/registry/core/pods/"


class Pods(KindCache):
    """A cache that is changed by hand; `told` is who heard of what."""

    def __init__(self) -> None:
        super().__init__(PREFIX)
        self.told: list[tuple[str, str]] = []
        self._next = 1

    def put(self, key: str, node: str = "") -> None:
        namespace, _, name = key.partition("/")
        metadata = {"namespace": namespace, "name": name}
        tree: dict[str, Any] = {"metadata": metadata, "spec": {"nodeName": node} if node else {}}
        self._apply(Event(PREFIX + key, self._next, b'{"metadata":{}}', None), tree)

    def drop(self, key: str) -> None:
        self._apply(Event(PREFIX + key, self._next, None, None), None)

    def hear(self, who: str, about: Narrow | None = None) -> Any:
        def listener(change: Any) -> None:
            self.told.append((who, change.last().key))

        self.listen(listener, about)
        return listener

    def _apply(self, event: Event, tree: dict[str, Any] | None) -> None:
        self._next += 1
        self.told.clear()
        self.apply(event, tree)


@pytest.fixture
def pods() -> Pods:
    return Pods()


def keys(pods: Pods, node: str, namespace: str = "") -> list[str]:
    return [item.key for item in pods.range(namespace, Narrow(node=node))]


def test_a_list_of_one_node(pods: Pods) -> None:
    """Also of pods that came, went, were bound or moved since somebody asked; in order."""
    pods.put("b/1", "one")
    pods.put("a/1", "one")
    pods.put("a/2")
    assert (keys(pods, "one"), keys(pods, "two")) == (["a/1", "b/1"], [])
    assert keys(pods, "one", "b") == ["b/1"]
    pods.put("a/2", "one")
    pods.put("b/1", "two")
    pods.drop("a/1")
    assert (keys(pods, "one"), keys(pods, "two")) == (["a/2"], ["b/1"])
    assert [item.key for item in pods.range("", Narrow(key="a/2"))] == ["a/2"]
    assert pods.range("", Narrow(key="a/9")) == pods.range("b", Narrow(key="a/2")) == []


def test_only_those_are_told_whom_it_is_about(pods: Pods) -> None:
    """A pod that leaves a node is told to that node too, and one that is gone to the one where it was."""
    pods.put("a/1", "one")
    pods.hear("all")
    one = pods.hear("one", Narrow(node="one"))
    pods.hear("two", Narrow(node="two"))
    pods.hear("name", Narrow(key="a/2"))
    pods.put("a/2")
    assert pods.told == [("all", "a/2"), ("name", "a/2")]
    pods.put("a/2", "two")
    assert pods.told == [("all", "a/2"), ("name", "a/2"), ("two", "a/2")]
    pods.put("a/1", "two")
    assert pods.told == [("all", "a/1"), ("one", "a/1"), ("two", "a/1")]
    pods.unlisten(one, Narrow(node="one"))
    pods.unlisten(one, Narrow(node="one"))
    pods.put("a/3", "one")
    assert pods.told == [("all", "a/3")]
    pods.drop("a/1")
    assert pods.told == [("all", "a/1"), ("two", "a/1")]


def test_a_watcher_that_comes_later_knows_where_a_pod_was(pods: Pods) -> None:
    """Though the index was not asked since that pod came."""
    assert keys(pods, "one") == []
    pods.put("a/1", "one")
    pods.hear("one", Narrow(node="one"))
    pods.drop("a/1")
    assert pods.told == [("one", "a/1")]


def test_a_cache_that_goes_on_for_another(pods: Pods) -> None:
    """It knows whose the pods are, also when it was asked before."""
    other = Pods()
    other.put("a/1", "one")
    assert keys(pods, "one") == []
    pods.continue_from(other)
    assert keys(pods, "one") == ["a/1"]


def test_pods_that_came_and_went_do_not_add_up(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody asks for a node's; who asks is told the truth."""
    monkeypatch.setattr(narrow, "FEW", 10)  # before anybody asks
    pods.put("a/stays", "one")
    pods.put("a/goes", "one")
    assert keys(pods, "one") == ["a/goes", "a/stays"]
    pods.drop("a/goes")
    pods.put("a/new", "one")
    for number in range(100):
        pods.put(f"a/{number}", "one")
        pods.drop(f"a/{number}")
    assert len(pods.by_node._changed) < 30
    assert keys(pods, "one") == ["a/new", "a/stays"]
