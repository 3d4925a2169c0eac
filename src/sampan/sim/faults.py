"""Faults of a scenario: what goes wrong, and when.

    - crashNode: {node: node-2}          at: 30s      for: 2m
    - errors: {code: 503}                at: 10s..1m  for: 30s     sometimes: 20%
    - crashControlPlane: {}              every: 1m..5m             for: 5s

`at` (0s if not given) is when it begins, `for` how long it lasts (to the end of the steps if not given), `every`
after what time it comes again. `sometimes` is the chance that a request or a write is struck, for those that
strike such; for the others, that it comes at all. What the seed decides it decides for each fault apart.

Faults of requests and watches take an aim: users (patterns; by default the cluster's own parts), verbs, resources,
times.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sampan.cluster.aim import COMPONENTS, WRITES, Aim
from sampan.cluster.faults import Fault, Faults
from sampan.kit.dice import Dice
from sampan.node.runtime import behaviour
from sampan.node.runtime.behaviour import BehaviourError
from sampan.sim.programs import Life
from sampan.sim.reading import Span, Value

COMMON = ("at", "for", "every", "sometimes")
AIM = ("users", "verbs", "resources", "times")
ANY_NODE = "any"
DOWN_SECONDS = 1.0


class Stage(Protocol):
    """Where faults happen: the cluster's faults and what belongs to the play itself."""

    faults: Faults

    def programs_named(self, name: str) -> Iterable[Life]:
        """The program under test of this name, or all of its file's."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What a fault is given when it begins: how long it lasts (None: to the end), chance, and dice of its own."""

    seconds: float | None
    chance: float
    dice: Dice


Begin = Callable[[Stage, Terms], "Fault | int | None"]
"""Begins it; returns what has an end of its own."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A fault and when it comes. `text` is what the document says, `what` that without the times: names for dice."""

    name: str
    begin: Begin
    at: Span
    every: Span | None
    lasting: Span | None
    sometimes: float | None
    strikes: bool
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Containers:
    """What simulated containers do: see docs/guide/simulated-pods.md."""

    of: str
    do: Any
    where: dict[str, str]


def read(value: Value, names: tuple[str, ...]) -> Happening:
    """One item of the list of faults; `names` are the nodes'. Raises Wrong."""
    kinds = [name for name in value.mapping() if name not in COMMON]
    if len(kinds) != 1 or kinds[0] not in _READERS:
        value.wrong(f"must be one of {', '.join(_READERS)}" + (f", not {', '.join(kinds)}" if kinds else ""))
    given = value.field(kinds[0])
    reader = _READERS[kinds[0]]
    given.only((*reader.fields, *(AIM if reader.strikes and kinds[0] != "crashAtWrites" else ())))
    for name in reader.needs:
        given.needed(name)
    every = value.field("every").span()
    if every is not None and every.least <= 0:
        value.field("every").wrong("must be longer than nothing")
    return Happening(
        name=kinds[0],
        begin=reader.read(given, names),
        at=value.field("at").span() or every or Span(0.0, 0.0),
        every=every,
        lasting=value.field("for").span(),
        sometimes=value.field("sometimes").chance() if value.has("sometimes") else None,
        strikes=reader.strikes,
        what=Value({kinds[0]: given.tree, "sometimes": value.tree.get("sometimes")}).content(),
        text=value.content(),
    )


def _aim(value: Value, **defaults: tuple[str, ...]) -> Callable[[float], Aim]:
    """The aim, but for its chance."""
    lists: dict[str, tuple[str, ...]] = {"users": COMPONENTS, "verbs": (), "resources": (), **defaults}
    found = {name: _texts(value.field(name), default) for name, default in lists.items()}
    times = value.field("times").number(least=1) if value.has("times") else None
    return lambda chance: Aim(**found, chance=chance, times=times)


def _texts(value: Value, default: tuple[str, ...]) -> tuple[str, ...]:
    if value.tree is None:
        return default
    if isinstance(value.tree, str):
        return (value.tree,)
    return tuple(item.text() for item in value.items())


def _errors(value: Value, names: tuple[str, ...]) -> Begin:
    code, aim = value.field("code").number(503, least=400), _aim(value)
    retry = int(value.field("retryAfter").seconds()) if value.has("retryAfter") else None
    return lambda stage, terms: stage.faults.errors(code, aim(terms.chance), retry)


def _conflicts(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value, verbs=("update", "patch", "delete"))
    return lambda stage, terms: stage.faults.conflicts(aim(terms.chance))


def _latency(value: Value, names: tuple[str, ...]) -> Begin:
    span, aim = value.field("by").span() or Span(0.0, 1.0), _aim(value)
    return lambda stage, terms: stage.faults.latency(span.least, span.most, aim(terms.chance))


def _broken(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.broken_connections(aim(terms.chance))


def _lost(value: Value, names: tuple[str, ...]) -> Begin:
    code, aim = value.field("code").number(), _aim(value, verbs=WRITES)
    return lambda stage, terms: stage.faults.lost_answers(aim(terms.chance), code)


def _drop(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.drop_watches(aim(terms.chance))


def _expire(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.expire_watches(aim(terms.chance))


def _late(value: Value, names: tuple[str, ...]) -> Begin:
    seconds, aim = value.field("by").seconds(), _aim(value)
    return lambda stage, terms: stage.faults.late_watches(seconds, aim(terms.chance))


def _silent(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.silent_watches(aim(terms.chance))


def _missed(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.missed_events(aim(terms.chance))


def _repeated(value: Value, names: tuple[str, ...]) -> Begin:
    aim = _aim(value)
    return lambda stage, terms: stage.faults.repeated_events(aim(terms.chance))


def _travel(value: Value, names: tuple[str, ...]) -> Begin:
    seconds, aim = value.field("by").seconds(), _aim(value)
    return lambda stage, terms: stage.faults.time_travel(seconds, aim(terms.chance))


def _crash(value: Value, names: tuple[str, ...]) -> Begin:
    number = value.field("atWrite").number(least=1) if value.has("atWrite") else None

    def begin(stage: Stage, terms: Terms) -> None:
        if number is not None:
            stage.faults.crash_at_write(number, terms.seconds)
        else:
            stage.faults.crash_control_plane(terms.seconds)

    return begin


def _crash_at_writes(value: Value, names: tuple[str, ...]) -> Begin:
    down = value.field("down").seconds(DOWN_SECONDS)
    times = value.field("times").number(least=1) if value.has("times") else None
    return lambda stage, terms: stage.faults.crash_at_writes(terms.chance, down, times)


def _duplicate(value: Value, names: tuple[str, ...]) -> Begin:
    late = value.field("late").seconds()
    return lambda stage, terms: stage.faults.duplicate_controllers(late) if stage.faults.cluster.is_up else None


def _crash_node(value: Value, names: tuple[str, ...]) -> Begin:
    node = _node(value.field("node"), names)
    return lambda stage, terms: stage.faults.crash_node(node(terms.dice), terms.seconds)


def _crash_agent(value: Value, names: tuple[str, ...]) -> Begin:
    node = _node(value.field("node"), names)
    return lambda stage, terms: stage.faults.crash_agent(node(terms.dice), terms.seconds)


def _partition(value: Value, names: tuple[str, ...]) -> Begin:
    users = _users(value, names)
    return lambda stage, terms: stage.faults.partition(*users(terms.dice))


def _freeze(value: Value, names: tuple[str, ...]) -> Begin:
    users = _users(value, names)
    return lambda stage, terms: stage.faults.freeze(*users(terms.dice))


def _users(value: Value, names: tuple[str, ...]) -> Callable[[Dice], tuple[str, ...]]:
    """The users that are named, or else a node."""
    if value.has("users"):
        if value.has("node"):
            value.wrong("say either node or users")
        users = _texts(value.field("users"), ())
        return lambda dice: users
    node = _node(value.field("node"), names)
    return lambda dice: (node(dice),)


def _containers(value: Value, names: tuple[str, ...]) -> Begin:
    given = read_containers(value)
    return lambda stage, terms: stage.faults.containers(given.of, given.do, **given.where)


def read_containers(value: Value) -> Containers:
    """Which containers do what. Raises Wrong."""
    value.only(("of", "do", *PLACES))
    do = value.needed("do")
    try:
        behaviour.parse(do.tree)
    except BehaviourError as error:
        do.wrong(str(error))
    where = {name: value.field(name).text() for name in PLACES if value.has(name)}
    return Containers(value.needed("of").text(), do.tree, where)


def _webhooks(value: Value, names: tuple[str, ...]) -> Begin:
    url, seconds = value.field("url").text("*"), value.field("delay").seconds()
    error, status = value.field("error").text(), value.field("status").number()
    return lambda stage, terms: stage.faults.webhooks(url, seconds, error, status)


def _jump(value: Value, names: tuple[str, ...]) -> Begin:
    tree = value.field("by").tree
    is_back = isinstance(tree, str) and tree.startswith("-")
    seconds = Value(tree[1:] if is_back else tree, (*value.path, "by")).seconds()
    return lambda stage, terms: stage.faults.jump_clock(-seconds if is_back else seconds)


def _kill(value: Value, names: tuple[str, ...]) -> Begin:
    program = value.field("program").text()

    def begin(stage: Stage, terms: Terms) -> None:
        for life in stage.programs_named(program):
            life.kill()
            stage.faults.after(DOWN_SECONDS if terms.seconds is None else terms.seconds, life.start)

    return begin


def _node(value: Value, names: tuple[str, ...]) -> Callable[[Dice], str]:
    name = value.text(ANY_NODE)
    if name != ANY_NODE and name not in names:
        value.wrong(f"there is no node {name!r}; there are {', '.join(names) or 'none'}")
    if not names:
        value.wrong("there are no nodes")
    return lambda dice: dice.pick(names) if name == ANY_NODE else name


@dataclass(frozen=True, slots=True)
class _Reader:
    read: Callable[[Value, tuple[str, ...]], Begin]
    fields: tuple[str, ...] = ()
    strikes: bool = False
    needs: tuple[str, ...] = ()


PLACES = ("image", "labels", "namespace", "pod", "container")
_READERS: Mapping[str, _Reader] = {
    "crashNode": _Reader(_crash_node, ("node",)),
    "crashAgent": _Reader(_crash_agent, ("node",)),
    "partition": _Reader(_partition, ("node", "users")),
    "freeze": _Reader(_freeze, ("node", "users")),
    "crashControlPlane": _Reader(_crash, ("atWrite",)),
    "crashAtWrites": _Reader(_crash_at_writes, ("down", "times"), strikes=True),
    "duplicateControllers": _Reader(_duplicate, ("late",)),
    "errors": _Reader(_errors, ("code", "retryAfter"), strikes=True),
    "conflicts": _Reader(_conflicts, strikes=True),
    "latency": _Reader(_latency, ("by",), strikes=True),
    "brokenConnections": _Reader(_broken, strikes=True),
    "lostAnswers": _Reader(_lost, ("code",), strikes=True),
    "dropWatches": _Reader(_drop, strikes=True),
    "expireWatches": _Reader(_expire, strikes=True),
    "lateWatches": _Reader(_late, ("by",), strikes=True, needs=("by",)),
    "silentWatches": _Reader(_silent, strikes=True),
    "missedEvents": _Reader(_missed, strikes=True),
    "repeatedEvents": _Reader(_repeated, strikes=True),
    "timeTravel": _Reader(_travel, ("by",), strikes=True, needs=("by",)),
    "containers": _Reader(_containers, ("of", "do", *PLACES)),
    "webhooks": _Reader(_webhooks, ("url", "delay", "error", "status")),
    "jumpClock": _Reader(_jump, ("by",), needs=("by",)),
    "killProgram": _Reader(_kill, ("program",), needs=("program",)),
}
WORDS = tuple(_READERS)
