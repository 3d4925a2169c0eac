"""Admission: what may still change or refuse a write, after authorization and before it is stored.

Each plugin is one file that offers at least one of three functions, as a module or an object:

`async admit(attributes, lookup)`     changes `attributes.obj` in place (the server's own copy), or refuses
`async validate(attributes, lookup)`  refuses the object as it will be stored, after the kind's own validation
`async release(attributes, lookup)`   the object goes for good with this transaction: what else goes with it

A refusal is an ApiError. All may add compares and writes to the transaction, and run again when it is
tried again; where what is judged stays the same, only those that say `JOINS`, and so no webhook is called twice. Most have
to do with few sorts of request: their `CONCERNS` says with which, once for each sort.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.kinds.kind import Kind
from sampan.meta import names
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.identity import User
from sampan.server.metrics import Series
from sampan.store.protocol import Compare, Write

Tree = dict[str, Any]
Plugin = Any  # a module or an object, see above

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
MAX_SORTS = 4096


@dataclass(frozen=True, slots=True)
class Concern:
    """Which requests a plugin is asked about: those of one of the operations, on one of the kinds or groups.

    Empty means any. Kinds are the same in every version; `custom` means only those of CustomResourceDefinitions.
    With `needs` it is asked only while there is an object of one of those kinds: its rules.
    """

    operations: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    groups: tuple[str, ...] = ()
    needs: tuple[Kind, ...] = ()
    custom: bool = False

    def covers(self, kind: Kind, operation: str) -> bool:
        """Whether requests of this sort are among them."""
        if (self.operations and operation not in self.operations) or (self.custom and not kind.custom):
            return False
        return not (self.kinds or self.groups) or kind in self.kinds or kind.group in self.groups


ANY = Concern()


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
    name. Until then nobody outside is told of it; for our own plugins that come last there is `born()`. `grown` is
    how large plugins have made a small object, in bytes.
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
    grown: int = 0

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

    def note(self, key: str, value: str) -> None:
        """An annotation for the audit log, of a hook's choice: the first under a key stays, and one without form goes."""
        if key.count("/") == 1 and not names.qualified_name(key):
            self.call.audit.setdefault(key, value)


class Lookup(Protocol):
    """What admission may read: the live objects."""

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None: ...

    async def wait_for(self, kind: Kind, namespace: str, name: str, seconds: float) -> Item | None:
        """The object, as soon as it is there; None when it does not come within the time."""
        ...

    def all(self, kind: Kind, namespace: str = "") -> Sequence[Item]: ...

    def live(self, kind: Kind) -> Sized:
        """Grows and shrinks with what there is of the kind."""
        ...


_Step = Callable[[Attributes, Lookup], Awaitable[None]]


_Needs = tuple[Sized, ...]  # what must not all be empty; () needs nothing
_Sort = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Phase:
    """Who is asked about a sort of request, with the times of those that let it pass, and of the phase as a whole."""

    steps: tuple[tuple[_Needs, _Step, Series], ...]
    whole: Series


class Meters(Protocol):
    """Where chains leave the seconds that plugins take."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock."""
        ...

    def of(self, plugin: Plugin, phase: str, operation: str) -> Series:
        """The times of a plugin in a phase of an operation, when it lets requests pass."""
        ...

    def whole(self, phase: str, operation: str) -> Series:
        """The same for all plugins together."""
        ...

    def refused(self, of: Series, whole: Series, seconds: tuple[float, float]) -> None:
        """The plugin with these times refused, after so many seconds of its own, and of the phase."""
        ...


class Unmetered:
    """Meters that nobody reads."""

    @staticmethod
    def monotonic() -> float:
        return 0.0

    def of(self, plugin: Plugin, phase: str, operation: str) -> Series:
        return Series((0.0,))

    def whole(self, phase: str, operation: str) -> Series:
        return Series((0.0,))

    def refused(self, of: Series, whole: Series, seconds: tuple[float, float]) -> None: ...


class Chain:
    """The plugins in their order."""

    def __init__(self, plugins: Sequence[Plugin], meters: Meters = Unmetered()) -> None:  # noqa: B008 (has no state)
        self._plugins = tuple(plugins)
        self._meters = meters
        self._now = meters.monotonic
        self._release = tuple(plugin.release for plugin in plugins if hasattr(plugin, "release"))
        self._by_sort: dict[_Sort, tuple[_Phase, _Phase]] = {}

    def insert(self, plugins: Sequence[Plugin], before: Plugin) -> None:
        """More judges, who are asked before that one; until they are removed."""
        place = self._plugins.index(before)
        self._plugins = (*self._plugins[:place], *plugins, *self._plugins[place:])
        self._by_sort.clear()

    def remove(self, plugins: Sequence[Plugin]) -> None:
        """They are asked no longer."""
        self._plugins = tuple(plugin for plugin in self._plugins if plugin not in plugins)
        self._by_sort.clear()

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """The mutating phase, in one round or two."""
        phase = self._phases(attributes, lookup)[0]
        seconds = await self._go(phase, attributes, lookup)
        if attributes.again:
            attributes.round = 1
            attributes.compares.clear()
            attributes.writes.clear()
            seconds += await self._go(phase, attributes, lookup)
        _count(phase.whole, seconds)

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """The validating phase."""
        phase = self._phases(attributes, lookup)[1]
        _count(phase.whole, await self._go(phase, attributes, lookup))

    async def rejoin(self, attributes: Attributes, lookup: Lookup) -> None:
        """The transaction of what was admitted is tried again: who joins it is asked anew."""
        attributes.compares.clear()
        attributes.writes.clear()
        for plugin in self._plugins:
            if getattr(plugin, "JOINS", False) and _concern(plugin).covers(attributes.kind, attributes.operation):
                await plugin.validate(attributes, lookup)

    async def release(self, attributes: Attributes, lookup: Lookup) -> None:
        """When an object goes for good."""
        for step in self._release:
            await step(attributes, lookup)

    def _phases(self, attributes: Attributes, lookup: Lookup) -> tuple[_Phase, _Phase]:
        """Who is asked about a request of this sort, mutating and validating."""
        kind, operation = attributes.call.kind, attributes.operation
        sort = kind.group, kind.name, operation
        phases = self._by_sort.get(sort)
        if phases is None:
            if len(self._by_sort) >= MAX_SORTS:  # of kinds that came and went
                self._by_sort.clear()
            asked = [plugin for plugin in self._plugins if _concern(plugin).covers(kind, operation)]
            made = tuple(self._phase(asked, name, operation, lookup) for name in ("admit", "validate"))
            phases = self._by_sort[sort] = (made[0], made[1])
        return phases

    def _phase(self, plugins: Sequence[Plugin], name: str, operation: str, lookup: Lookup) -> _Phase:
        steps = tuple(
            (
                tuple(lookup.live(kind) for kind in _concern(plugin).needs),
                getattr(plugin, name),
                self._meters.of(plugin, name, operation),
            )
            for plugin in plugins
            if hasattr(plugin, name)
        )
        return _Phase(steps, self._meters.whole(name, operation))

    async def _go(self, phase: _Phase, attributes: Attributes, lookup: Lookup) -> float:
        """Asks them all; returns how many seconds it took."""
        if not phase.steps:
            return 0.0
        now = self._now
        began = started = now()
        series = phase.whole
        try:
            for needs, step, series in phase.steps:
                for live in needs:
                    if live:
                        break
                else:  # no call for what nearly all requests ask in vain
                    if needs:
                        continue
                await step(attributes, lookup)
                ended = now()
                seconds = ended - started
                series.sum += seconds
                series.counts[0 if seconds <= series.bounds[0] else bisect_left(series.bounds, seconds)] += 1
                started = ended
        except BaseException:
            ended = now()
            self._meters.refused(series, phase.whole, (ended - started, ended - began))
            raise
        return started - began


def _count(series: Series, seconds: float) -> None:
    series.sum += seconds
    series.counts[0 if seconds <= series.bounds[0] else bisect_left(series.bounds, seconds)] += 1


def _concern(plugin: Plugin) -> Concern:
    concern: Concern = getattr(plugin, "CONCERNS", ANY)
    return concern
