"""Admission: what may still change or refuse a write, after authorization and before it is stored.

Each plugin is one file with `async admit(attributes, lookup)`: it changes `attributes.obj` in place
(the server's own copy), raises ApiError, or adds writes to the same transaction. It runs again when
the transaction is tried again.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.kinds.kind import Kind
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.store.protocol import Compare, Write

Tree = dict[str, Any]

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"


@dataclass(slots=True)
class Attributes:
    """One write: `old` is None on create, `obj` is None on delete. Compares and writes join the transaction."""

    call: Call
    operation: str
    obj: Tree | None
    old: Tree | None = None
    compares: list[Compare] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        return self.call.kind

    @property
    def subresource(self) -> str:
        return self.call.sub


class Lookup(Protocol):
    """What admission may read: the live objects."""

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None: ...

    async def wait_for(self, kind: Kind, namespace: str, name: str, seconds: float) -> Item | None:
        """The object, as soon as it is there; None when it does not come within the time."""
        ...

    def all(self, kind: Kind, namespace: str = "") -> Sequence[Item]: ...


Plugin = Callable[[Attributes, Lookup], Awaitable[None]]


class Chain:
    """The plugins in their order."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        for plugin in self._plugins:
            await plugin(attributes, lookup)
