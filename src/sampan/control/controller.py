"""Controller: what a controller is. A rule over one key, and what makes that key due.

`reconcile(view, key, now) -> Plan` is pure; now is unix seconds. The key is the parent's (namespace, name);
the parent may be gone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sampan.control.plan import Key, Plan
from sampan.control.steps import Steps
from sampan.control.view import View
from sampan.kinds.kind import Kind, Object

Reconcile = Callable[[View, Key, float], Plan]
Look = Callable[[View, Key, float], Steps[Plan]]
Keys = Callable[[View, Object], Iterable[Key]]
Postpone = Callable[[Object, Object, float], float | None]
Matters = Callable[[Object | None, Object | None], bool]


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind whose changes make parents due; `keys` names them, for the object before and after a change.

    `matters(old, new)`: whether a change makes anything due, where not all do. One of the two may be None.
    `strays`: only objects without a controller make anything due.
    """

    kind: Kind
    keys: Keys
    matters: Matters | None = None
    strays: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """A lookup that the controller needs, by the text at a dotted path: Index(POD, "spec.nodeName")."""

    kind: Kind
    path: str


@dataclass(frozen=True, slots=True)
class Controller:
    """A declaration. `name` is also the component of its events, such as deployment-controller.

    `owns`: children whose controller reference names the parent make it due. `reads`: kinds that the
    rule looks at but that make nothing due. `component`: that of its events, where it is not the name.
    `postpone(old, new, now)`: in how many seconds a changed parent is due; None means at once, as without it.
    `steps`: the same as `reconcile`, bit by bit, where a look may take long.
    `batch_seconds`: how long after a change of anything else the parent is due, so that one look does for several.
    `matters(old, new)`: whether a change of a parent makes it due at all, as for a Watch.
    """

    name: str
    parent: Kind
    reconcile: Reconcile
    owns: tuple[Kind, ...] = ()
    watches: tuple[Watch, ...] = ()
    reads: tuple[Kind, ...] = ()
    indexes: tuple[Index, ...] = ()
    workers: int = 5
    component: str = ""
    postpone: Postpone | None = None
    batch_seconds: float = 0.0
    matters: Matters | None = None
    steps: Look | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every kind whose cache the rule needs, the parent's first."""
        named = (self.parent, *self.owns, *(w.kind for w in self.watches), *self.reads)
        return tuple({kind.resource: kind for kind in named}.values())


def owner_keys(parent: Kind) -> Keys:
    """Child -> the parent that its controller reference names."""

    def keys(view: View, child: Object) -> Iterable[Key]:
        metadata = child["metadata"]
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("kind") != parent.name or not owner.get("controller"):
                continue
            if owner.get("apiVersion", "").rpartition("/")[0] == parent.group:
                yield (metadata.get("namespace", "") if parent.namespaced else "", owner["name"])

    return keys
