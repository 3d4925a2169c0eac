"""World: what the changes so far add up to: every object as it is, and as it was a moment ago.

It is told by the changes alone, so that what the server says can be compared with it.
"""

from collections.abc import Iterable
from typing import Any

from sampan.cluster.history import Change
from sampan.meta import objects

Object = dict[str, Any]
Place = tuple[str, str]  # resource, key

LAG_SECONDS = 1.0
SWEEP_CHANGES = 1000  # after so many, what nobody can have in mind any more is forgotten


class World:
    """`lag_seconds`: whoever acts may have seen any state of so long ago, and may not be blamed for it.

    `time` is that of the change that is judged, in virtual seconds; `now` what the clocks show (unix seconds).
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.now = 0.0
        self.revision = 0
        self.began = 0
        """The revision from which on all changes are known."""
        self.deleted: dict[str, None] = {}
        """The uids of what is gone."""
        self.lag_seconds = LAG_SECONDS
        self._objects: dict[str, dict[str, Object]] = {}
        self._before: dict[Place, list[tuple[float, Object]]] = {}  # until when it was so
        self._owned: dict[str, dict[Place, None]] = {}
        self._on_node: dict[str, dict[str, None]] = {}
        self._revisions: dict[str, list[int]] = {}
        self._count = 0

    def get(self, resource: str, key: str) -> Object | None:
        """The object as it is now."""
        return self._objects.get(resource, {}).get(key)

    def all(self, resource: str, namespace: str = "") -> list[Object]:
        """The objects of a resource, of one namespace or all, in the order in which they were made."""
        found = self._objects.get(resource, {})
        return [obj for obj in found.values() if not namespace or objects.namespace(obj) == namespace]

    def keys(self, resource: str) -> Iterable[str]:
        """The keys of the objects of a resource."""
        return self._objects.get(resource, {})

    def resources(self) -> list[str]:
        """Those of which there was an object."""
        return list(self._objects)

    def owned(self, uid: str, resource: str) -> list[Object]:
        """The objects of a resource whose controller has this uid."""
        return [self._objects[resource][key] for found, key in self._owned.get(uid, {}) if found == resource]

    def on_node(self, node: str) -> list[Object]:
        """The pods that are bound to a node."""
        pods = self._objects.get("pods", {})
        return [pods[key] for key in self._on_node.get(node, {})]

    def versions(self, resource: str, key: str) -> list[Object]:
        """The object as it is now, and as it was at any time that others may still have in mind."""
        now = self.get(resource, key)
        since = self.time - self.lag_seconds
        before = [obj for until, obj in self._before.get((resource, key), ()) if until >= since]
        return before if now is None else [*before, now]

    def lately(self, resource: str, namespace: str = "") -> Iterable[list[Object]]:
        """The versions of each object that others may still have in mind, also of those that are gone."""
        gone = [key for found, key in self._before if found == resource and key not in self._objects.get(resource, {})]
        for key in (*self.keys(resource), *gone):
            known = self.versions(resource, key)
            if known and (not namespace or objects.namespace(known[0]) == namespace):
                yield known

    def revisions(self, resource: str) -> list[int]:
        """Of all its changes, in order; several objects may have been written in one. It grows as they happen."""
        return self._revisions.setdefault(resource, [])

    def last_revision(self, resource: str) -> int:
        """That of the last change of a resource; 0 when there was none."""
        found = self._revisions.get(resource)
        return found[-1] if found else 0

    def take(self, change: Change) -> None:
        """The change has happened."""
        place = (change.resource, change.key)
        self.time = change.time
        self.revision = int(objects.resource_version(change.tree))
        self._revisions.setdefault(change.resource, []).append(self.revision)
        kept = self._objects.setdefault(change.resource, {})
        old = kept.pop(change.key, None) if change.type == "DELETED" else kept.get(change.key)
        if old is not None:
            self._remember(place, old)
            self._index(place, old, is_there=False)
        if change.type == "DELETED":
            self.deleted[objects.uid(change.tree)] = None
        else:
            kept[change.key] = change.tree
            self._index(place, change.tree, is_there=True)

    def _remember(self, place: Place, old: Object) -> None:
        since = self.time - self.lag_seconds
        kept = [entry for entry in self._before.get(place, ()) if entry[0] >= since]
        self._before[place] = [*kept, (self.time, old)]
        self._count += 1
        if self._count % SWEEP_CHANGES == 0:
            self._before = {place: known for place, known in self._before.items() if known[-1][0] >= since}

    def _index(self, place: Place, obj: Object, *, is_there: bool) -> None:
        owner = objects.controller_of(obj)
        if owner is not None:
            _mark(self._owned, str(owner.get("uid")), place, is_there=is_there)
        if place[0] == "pods" and (node := obj["spec"].get("nodeName")):
            _mark(self._on_node, node, place[1], is_there=is_there)


def _mark(index: dict[str, dict[Any, None]], term: str, entry: Any, *, is_there: bool) -> None:
    if is_there:
        index.setdefault(term, {})[entry] = None
        return
    found = index.get(term, {})
    found.pop(entry, None)
    if not found:
        index.pop(term, None)
