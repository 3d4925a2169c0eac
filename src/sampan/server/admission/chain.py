"""Admission: what may still change or refuse a write, after authorization and before it is stored.

Each plugin is one file that offers at least one of three functions, as a module or an object:

`async admit(attributes, lookup)`     changes `attributes.obj` in place (the server's own copy), or refuses
`async validate(attributes, lookup)`  refuses the object as it will be stored, after the kind's own validation
`async release(attributes, lookup)`   the object goes for good with this transaction: what else goes with it

A refusal is an ApiError. All may add compares and writes to the transaction, and run again when it is
tried again.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.kinds.kind import Kind
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.identity import User
from sampan.store.protocol import Compare, Write

Tree = dict[str, Any]
Plugin = Any  # a module or an object, see above

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True)
class Attributes:
    """One write: `old` is None on create, `obj` is None on delete. Compares and writes join the transaction.

    `options` is the tree of CreateOptions, UpdateOptions, PatchOptions or DeleteOptions. `body_kind` is
    (group, version, kind) of a body that is not the resource's own, such as a Binding. `audit` holds
    annotations for the audit log. On CONNECT `obj` is the options of the connection (PodExecOptions).

    A mutating plugin that sets `again` has the mutating phase run once more, as `round` 1: others may have to
    follow up. `memory` is what plugins keep from one round to the next. What they hold until the write is done
    or refused, they put into `held`, as functions that give it back.

    `birth` is what the metadata of a new object gets after the mutating phase: uid, creationTimestamp, a generated
    name. Until then nobody outside is told of it; for our own plugins that come last there is `born()`.
    """

    call: Call
    operation: str
    obj: Tree | None
    old: Tree | None = None
    compares: list[Compare] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    options: Tree = field(default_factory=dict)
    body_kind: tuple[str, str, str] | None = None
    round: int = 0
    again: bool = False
    memory: dict[str, Any] = field(default_factory=dict)
    held: list[Callable[[], None]] = field(default_factory=list)
    birth: Tree = field(default_factory=dict)

    def let_go(self) -> None:
        """Gives back what plugins hold for this write, such as a place in a line."""
        while self.held:
            self.held.pop()()

    @property
    def kind(self) -> Kind:
        return self.call.kind

    @property
    def subresource(self) -> str:
        return self.call.sub

    @property
    def user(self) -> User:
        return self.call.user

    @property
    def namespace(self) -> str:
        return self.call.namespace

    @property
    def name(self) -> str:
        """The object's name; "" for one whose name is not known yet."""
        obj = self.obj or self.old or {}
        return str((obj.get("metadata") or {}).get("name") or self.call.name)

    @property
    def called(self) -> str:
        """What a refusal calls the object: its name, or what its name will begin with."""
        metadata = (self.obj or self.old or {}).get("metadata") or {}
        return self.name or str(metadata.get("generateName") or "")

    def born(self) -> Tree:
        """The new object with the identity that it will have; everything but metadata is shared with `obj`."""
        obj = self.obj or {}
        metadata = obj["metadata"]
        named = {"name": metadata["name"]} if metadata.get("name") else {}  # also one that a plugin has given it
        return {**obj, "metadata": {**metadata, **self.birth, **named}}

    @property
    def dry_run(self) -> bool:
        return self.call.dry_run

    @property
    def audit(self) -> dict[str, str]:
        return self.call.audit


class Lookup(Protocol):
    """What admission may read: the live objects."""

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None: ...

    async def wait_for(self, kind: Kind, namespace: str, name: str, seconds: float) -> Item | None:
        """The object, as soon as it is there; None when it does not come within the time."""
        ...

    def all(self, kind: Kind, namespace: str = "") -> Sequence[Item]: ...


_Step = Callable[[Attributes, Lookup], Awaitable[None]]


class Chain:
    """The plugins in their order."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._admit = _steps(plugins, "admit")
        self._validate = _steps(plugins, "validate")
        self._release = _steps(plugins, "release")

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """The mutating phase, in one round or two."""
        for step in self._admit:
            await step(attributes, lookup)
        if attributes.again:
            attributes.round = 1
            attributes.compares.clear()
            attributes.writes.clear()
            for step in self._admit:
                await step(attributes, lookup)

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """The validating phase."""
        for step in self._validate:
            await step(attributes, lookup)

    async def release(self, attributes: Attributes, lookup: Lookup) -> None:
        """When an object goes for good."""
        for step in self._release:
            await step(attributes, lookup)


def _steps(plugins: Sequence[Plugin], name: str) -> tuple[_Step, ...]:
    return tuple(getattr(plugin, name) for plugin in plugins if hasattr(plugin, name))
