"""Everywhere: a controller about all kinds at once, metadata only, such as the garbage collector.

Keys are `Ref`s. Which kinds there are comes from discovery, again and again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sampan.control.plan import Plan
from sampan.control.view import View
from sampan.kinds.kind import Kind, Object


@dataclass(frozen=True, slots=True)
class Ref:
    """One object of any kind: `resource` is `kind.resource`."""

    resource: str
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Everywhere:
    """`due(view, resource, old, new)` names the objects to look at after a change.

    Kinds that it `reads` are followed in full, all others by their metadata.
    """

    name: str
    reconcile: Callable[[View, Ref, float], Plan]
    due: Callable[[View, str, Object | None, Object | None], Iterable[Ref]]
    without: tuple[str, ...] = ()
    reads: tuple[Kind, ...] = ()
    workers: int = 10
