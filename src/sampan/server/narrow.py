"""Few of many: which objects of a kind, and which of its watchers, have to do with one name or one node.

Without it each change of a pod would be looked at by the watches of all nodes, and a node's list would look at all pods.
Upstream's watch cache has an index and triggers for the same two.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

FEW = 1024
"""Changes that are noted without another look."""


class Narrow(NamedTuple):
    """What a list or watch is about, if not about everything: the object with this key, or the pods of this node."""

    key: str = ""
    node: str = ""


class Bound(Protocol):
    """A pod."""

    @property
    def tree(self) -> dict[str, Any]: ...


class ByNode:
    """The keys of pods by spec.nodeName. A change costs next to nothing until somebody asks."""

    def __init__(self, get: Callable[[str], Bound | None], keys: Iterable[str]) -> None:
        self._get = get
        self._changed = dict.fromkeys(keys)
        self._keys: dict[str, dict[str, None]] = {}
        self._nodes: dict[str, str] = {}
        self._many = FEW

    def note(self, key: str) -> None:
        """It has changed, has come or is gone."""
        self._changed[key] = None
        if len(self._changed) > self._many:
            self._leave_out_gone()

    def note_all(self, keys: Iterable[str]) -> None:
        """The same of many."""
        self._changed.update(dict.fromkeys(keys))

    def keys(self, node: str) -> list[str]:
        """The keys of a node's pods, in order."""
        self.catch_up()
        return sorted(self._keys.get(node, ()))

    def change(self, key: str) -> set[str]:
        """What `note` says, and at once: the node that it was on, and the one that it is on now."""
        self.catch_up()
        before = self._nodes.get(key, "")
        self._take(key)
        return {before, self._nodes.get(key, "")} - {""}

    def catch_up(self) -> None:
        """With everything that was noted."""
        for key in self._changed:
            self._take(key)
        self._changed.clear()

    def _leave_out_gone(self) -> None:
        """So that pods that came and went do not add up where nobody asks."""
        self._changed = {key: None for key in self._changed if key in self._nodes or self._get(key) is not None}
        self._many = 2 * len(self._changed) + FEW

    def _take(self, key: str) -> None:
        pod = self._get(key)
        node = str((pod.tree.get("spec") or {}).get("nodeName") or "") if pod is not None else ""
        before = self._nodes.pop(key, "")
        if before and before != node:
            of_node = self._keys[before]
            del of_node[key]
            if not of_node:
                del self._keys[before]
        if node:
            self._nodes[key] = node
            self._keys.setdefault(node, {})[key] = None


class Told(Protocol):
    """Who hears of changes."""

    def __call__(self, change: Any, /) -> None: ...


class Listeners:
    """Who hears of a kind's changes: all of them, or those that one Narrow is about."""

    def __init__(self) -> None:
        self._all: dict[Told, None] = {}
        self._narrow: dict[Narrow, dict[Told, None]] = {}
        self._with_node = 0

    def add(self, told: Told, about: Narrow | None) -> None:
        """In the order in which they come; those who hear of everything first."""
        if about is None:
            self._all[told] = None
        else:
            self._narrow.setdefault(about, {})[told] = None
            self._with_node += bool(about.node)

    def remove(self, told: Told, about: Narrow | None) -> None:
        """It hears no more; repeating is harmless."""
        if about is None:
            self._all.pop(told, None)
        elif (some := self._narrow.get(about)) is not None and told in some:
            del some[told]
            self._with_node -= bool(about.node)
            if not some:
                del self._narrow[about]

    @property
    def ask_for_nodes(self) -> bool:
        """Whether anybody wants to hear of one node's pods only."""
        return self._with_node > 0

    def of(self, key: str, nodes: Iterable[str]) -> Iterator[Told]:
        """Those who are to hear of a change of this key, of a pod of these nodes (before and after)."""
        yield from tuple(self._all)
        if self._narrow:
            found = [*self._narrow.get(Narrow(key=key), ())]
            for node in sorted(nodes):
                found += self._narrow.get(Narrow(node=node), ())
            yield from dict.fromkeys(found)
