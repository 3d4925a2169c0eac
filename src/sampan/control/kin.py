"""Kin: one listener of a kind's cache for all controllers that own objects of the kind, or adopt them.

Whose an object is, is read off once for each change, however many controllers have children of that kind.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sampan.control.plan import Key
from sampan.kinds.kind import Kind, Object
from sampan.kit.workqueue import WorkQueue

Seen = Object | None
Changed = Callable[[str, Seen, Seen], None]
References = Iterable[dict[str, Any]]


class Kin:
    """`changed` is what the cache calls."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], list[tuple[Kind, WorkQueue[Key], float]]] = {}
        self._adopters: list[Changed] = []

    def own(self, parent: Kind, queue: WorkQueue[Key], seconds: float) -> None:
        """A change of a child makes the parent due, so much later."""
        self._owners.setdefault((parent.group, parent.name), []).append((parent, queue, seconds))

    def adopt(self, changed: Changed) -> None:
        """Is told of changes of objects that have no controller, before or after."""
        self._adopters.append(changed)

    def changed(self, change: str, old: Seen, new: Seen) -> None:
        """The owners that it names are due, as the object was and as it is now."""
        before = _references(old) if old is not None else None
        after = _references(new) if new is not None else None
        is_stray = False
        for obj, references in ((old, before), (new, after if after != before else None)):
            if obj is not None and references is not None:
                is_stray = not self._tell(obj, references) or is_stray
        for tell in self._adopters if is_stray else ():
            tell(change, old, new)

    def _tell(self, child: Object, references: References) -> bool:
        """Whether anybody controls it."""
        is_controlled = False
        for reference in references:
            if reference.get("controller"):
                is_controlled = True
                owner = reference.get("apiVersion", "").rpartition("/")[0], reference.get("kind", "")
                for parent, queue, seconds in self._owners.get(owner, ()):
                    namespace = child["metadata"].get("namespace", "") if parent.namespaced else ""
                    queue.add_after((namespace, reference["name"]), seconds)
        return is_controlled


def _references(obj: Object) -> References:
    found: References = obj["metadata"].get("ownerReferences") or ()
    return found
