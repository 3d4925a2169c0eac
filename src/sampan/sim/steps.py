"""Steps: what somebody does in a scenario, one after the other or at a time of their own.

    - apply: web.yaml                                    a file, a folder, an object, YAML text, or a list of them
    - patch: {object: deployment/web, merge: {...}}      or strategic, json; subresource
    - scale: {object: deployment/web, replicas: 3}
    - delete: {object: pod/web-1}                        or objects and labels; graceSeconds, propagation
    - wait: {object: deployment/web, is: Available, within: 2m}
    - expect: {objects: pods, labels: app=web, count: 3, for: 30s}
    - advance: 1h
    - together: [...]                                    at once, in an order that the seed decides

Each may have `at` (30s, or 10s..1m, when the seed decides): it then happens at that time, whatever the others do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sampan.cluster import manifests
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.sim import conditions, reading
from sampan.sim.conditions import Condition
from sampan.sim.reading import Span, Value

Object = dict[str, Any]

WITHIN_SECONDS = 60.0
PATCHES = ("merge", "strategic", "json")
_COMMON = ("at", "within")


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply, in this order."""

    objects: tuple[Object, ...]
    namespace: str

    def __str__(self) -> str:
        names = [f"{obj['kind'].lower()}/{objects.name(obj)}" for obj in self.objects]
        return "apply " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True, slots=True)
class Patch:
    """`object` is KIND/NAME. A scale is one of its subresource."""

    object: str
    namespace: str
    type: str
    patch: Any
    subresource: str = ""

    def __str__(self) -> str:
        if self.subresource == "scale":
            return f"scale {self.object} to {self.patch['spec']['replicas']}"
        text = orjson.dumps(self.patch).decode()
        return f"patch {self.object} {text if len(text) <= 80 else text[:77] + '...'}"


@dataclass(frozen=True, slots=True)
class Delete:
    """One object, or all that the condition chooses."""

    what: Condition
    grace_seconds: int | None
    propagation: str

    def __str__(self) -> str:
        chosen = f" ({self.what.labels})" if self.what.labels is not None else ""
        return f"delete {self.what.object or self.what.objects}{chosen}"


@dataclass(frozen=True, slots=True)
class Wait:
    """Until the condition holds."""

    condition: Condition

    def __str__(self) -> str:
        return f"wait for {self.condition}"


@dataclass(frozen=True, slots=True)
class Expect:
    """That the condition holds now, and all the time for so many seconds."""

    condition: Condition
    seconds: float

    def __str__(self) -> str:
        lasting = f" for {reading.duration(self.seconds)}" if self.seconds else ""
        return f"expect {self.condition}{lasting}"


@dataclass(frozen=True, slots=True)
class Advance:
    """Lets time pass."""

    span: Span

    def __str__(self) -> str:
        most = f"..{reading.duration(self.span.most)}" if self.span.most > self.span.least else ""
        return f"advance {reading.duration(self.span.least)}{most}"


@dataclass(frozen=True, slots=True)
class Together:
    """All at once."""

    steps: "tuple[Step, ...]"

    def __str__(self) -> str:
        return "together: " + "; ".join(str(step.action) for step in self.steps)


Action = Apply | Patch | Delete | Wait | Expect | Advance | Together


@dataclass(frozen=True, slots=True)
class Step:
    """An action; `at` None means after the step before. `text` is what the document says, as a name for dice."""

    action: Action
    at: Span | None
    within: float
    text: str


def read(value: Value, directory: Path) -> Step:
    """One item of the list of steps. Raises Wrong."""
    names = [name for name in value.mapping() if name not in _COMMON]
    if len(names) != 1 or names[0] not in _READERS:
        value.wrong(f"must be one of {', '.join(_READERS)}" + (f", not {', '.join(names)}" if names else ""))
    given = value.field(names[0])
    action = _READERS[names[0]](given, directory)
    at = value.field("at").span()
    if at is not None and (isinstance(action, Wait | Advance) or (isinstance(action, Expect) and action.seconds)):
        value.field("at").wrong(f"{names[0]} goes in order with the other steps, not at a time of its own")
    source = given if given.has("within") else value
    within = source.field("within").seconds(WITHIN_SECONDS)
    return Step(action, at, within, value.content())


def _apply(value: Value, directory: Path) -> Apply:
    many = isinstance(value.tree, list)
    found = [obj for item in (value.items() if many else (value,)) for obj in _objects(item, directory)]
    if not found:
        value.wrong("there is no object in it")
    return Apply(tuple(found), "default")


def _objects(value: Value, directory: Path) -> list[Object]:
    tree = value.tree
    if isinstance(tree, str) and "\n" not in tree:
        if not (directory / tree).exists():
            value.wrong(f"there is no file {directory / tree}")
        tree = directory / tree
    elif not isinstance(tree, str | dict):
        value.wrong("must be a file, an object or YAML text")
    try:
        found = list(manifests.objects_of(tree))
    except (ApiError, OSError, UnicodeDecodeError) as error:
        value.wrong(str(error))
    for obj in found:
        is_one = isinstance(obj, dict) and obj.get("apiVersion") and obj.get("kind")
        if not is_one or not (obj.get("metadata") or {}).get("name"):
            value.wrong("an object must have apiVersion, kind and metadata.name")
    return found


def _patch(value: Value, directory: Path) -> Patch:
    value.only(("object", "namespace", "subresource", *PATCHES, "within"))
    types = [type for type in PATCHES if value.has(type)]
    if len(types) != 1:
        value.wrong(f"say one of {', '.join(PATCHES)}")
    place = _reference(value), value.field("namespace").text("default")
    return Patch(*place, types[0], value.tree[types[0]], value.field("subresource").text())


def _scale(value: Value, directory: Path) -> Patch:
    value.only(("object", "namespace", "replicas", "within"))
    replicas = value.needed("replicas").number()
    place = _reference(value), value.field("namespace").text("default")
    return Patch(*place, "merge", {"spec": {"replicas": replicas}}, "scale")


def _delete(value: Value, directory: Path) -> Delete:
    value.only(("object", "objects", "namespace", "labels", "graceSeconds", "propagation", "within"))
    grace = value.field("graceSeconds").number() if value.has("graceSeconds") else None
    return Delete(conditions.choice(value), grace, value.field("propagation").text())


def _wait(value: Value, directory: Path) -> Wait:
    return Wait(conditions.read(value, ("within",)))


def _expect(value: Value, directory: Path) -> Expect:
    return Expect(conditions.read(value, ("for",)), value.field("for").seconds())


def _advance(value: Value, directory: Path) -> Advance:
    span = value.span()
    if span is None:
        value.wrong("must be a duration")
    return Advance(span)


def _together(value: Value, directory: Path) -> Together:
    inner = tuple(read(item, directory) for item in value.items())
    for step, item in zip(inner, value.items(), strict=True):
        if step.at is not None or not isinstance(step.action, Apply | Patch | Delete):
            item.wrong("only apply, patch, scale and delete, without at, go together")
    return Together(inner)


def _reference(value: Value) -> str:
    text = value.needed("object").text()
    if "/" not in text:
        value.field("object").wrong(f"{text!r} is not KIND/NAME")
    return text


_READERS: dict[str, Callable[[Value, Path], Action]] = {
    "apply": _apply,
    "patch": _patch,
    "scale": _scale,
    "delete": _delete,
    "wait": _wait,
    "expect": _expect,
    "advance": _advance,
    "together": _together,
}
WORDS = tuple(_READERS)
