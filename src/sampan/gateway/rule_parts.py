"""Rule parts: what the rules of HTTPRoutes and GRPCRoutes have in common: backends, header changes, mirrors, values.

What is not supported is refused by name, never left out.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sampan.cel import regex
from sampan.control.view import View
from sampan.gateway import backends
from sampan.gateway.backends import Problem
from sampan.gateway.grants import Origin
from sampan.gateway.traffic import REGEX, Backend, HeaderEdits, Mirror, Route, Rule, Value
from sampan.kinds.kind import Object
from sampan.meta import objects

_DURATION = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST_REGEX = 4096
_HOP_BY_HOP = ("connection", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer", "upgrade")
_FIXED = ("host", "content-length", "transfer-encoding", *_HOP_BY_HOP)
"""Headers that say whom a request is for, where it ends, or what is agreed on with the next hop only."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


class Unsupported(Exception):
    """A rule says something that we don't do."""


@dataclass(slots=True)
class Translated:
    """A route's rules. `dropped` are messages of rules left out, `unresolved` are references that lead nowhere."""

    route: Route
    dropped: list[str] = field(default_factory=list)
    unresolved: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """While a route is read: where references are looked up, and what did not resolve."""

    view: View
    origin: Origin
    unresolved: list[Problem] = field(default_factory=list)

    def backend(self, reference: Object, edits: tuple[HeaderEdits, HeaderEdits]) -> Backend:
        """A share of the requests; those of a backend that is not there are answered 500."""
        found = backends.resolve(self.view, self.origin, reference)
        weight = int(reference["weight"]) if reference.get("weight") is not None else 1
        if isinstance(found, Problem):
            self.unresolved.append(found)
            return Backend(None, weight)
        return Backend(found, weight, *edits)

    def mirror(self, spec: Object) -> Mirror | None:
        """Where a copy goes; None where that is not there."""
        only(spec, "a mirror", "backendRef", "percent", "fraction")
        found = backends.resolve(self.view, self.origin, spec["backendRef"])
        if isinstance(found, Problem):
            self.unresolved.append(found)
            return None
        if spec.get("fraction"):
            return Mirror(found, int(spec["fraction"]["numerator"]), int(spec["fraction"].get("denominator", 100)))
        return Mirror(found, int(spec["percent"]) if spec.get("percent") is not None else 100)


def translate(
    reading: Reading, route: Object, rule: Callable[[Reading, Object], Rule], usual: Sequence[Object] = ()
) -> Translated:
    """The route's rules, or else the `usual` ones, each read by `rule`; one that can't be carried out is dropped, and said."""
    rules, dropped = [], []
    for number, spec in enumerate(route["spec"].get("rules") or usual):
        try:
            rules.append(rule(reading, spec))
        except Unsupported as refusal:
            dropped.append(f"rule {number}: {refusal}")
    created = str(route["metadata"].get("creationTimestamp", ""))
    made = Route(reading.origin.kind, *objects.key(route), created, tuple(rules))
    return Translated(made, dropped, reading.unresolved)


def only(tree: Object, what: str, *known: str) -> None:
    """Refuses fields that are not known. Raises Unsupported."""
    unknown = sorted(name for name, value in tree.items() if name not in known and value is not None)
    if unknown:
        raise Unsupported(f"field {unknown[0]} of {what} is not supported")


def header_edits(spec: Object) -> HeaderEdits:
    """Raises Unsupported for what would change whom the request is for, or where it ends."""
    only(spec, "a header filter", "set", "add", "remove")
    pairs = {way: tuple((h["name"], h["value"]) for h in spec.get(way) or ()) for way in ("set", "add")}
    removed = tuple(spec.get("remove") or ())
    for _, value in (pair for way in pairs.values() for pair in way):
        printable(value, "a header's value")
    for name in (*(name for way in pairs.values() for name, _ in way), *removed):
        if name.lower() in _FIXED or not _HEADER.fullmatch(name):
            raise Unsupported(f"header {name} can't be changed")
    return HeaderEdits(pairs["set"], pairs["add"], removed)


def combined(edits: Iterable[HeaderEdits]) -> HeaderEdits:
    """All of them as one."""
    listed = list(edits)
    return HeaderEdits(*(tuple(v for e in listed for v in getattr(e, way)) for way in ("set", "add", "remove")))


def modifiers(filters: Iterable[Object]) -> tuple[HeaderEdits, HeaderEdits]:
    """Changes of (request, response) headers that the filters ask for."""
    listed = list(filters)
    found = []
    for type_, name in (
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
    ):
        found.append(combined(header_edits(f.get(name) or {}) for f in listed if f["type"] == type_))
    return found[0], found[1]


def backend_list(reading: Reading, spec: Object) -> tuple[Backend, ...]:
    """The backends of a rule. Raises Unsupported for filters that only whole rules may have."""
    made = []
    for reference in spec.get("backendRefs") or ():
        only(reference, "a backendRef", "group", "kind", "name", "namespace", "port", "weight", "filters")
        filters = reference.get("filters") or ()
        for each in filters:
            if each["type"] not in ("RequestHeaderModifier", "ResponseHeaderModifier"):
                raise Unsupported(f"filter {each['type']} of a backendRef is not supported")
        made.append(reading.backend(reference, modifiers(filters)))
    return tuple(made)


def values(listed: Iterable[Object] | None, *, is_header: bool) -> tuple[Value, ...]:
    """Header or query matches; of those with the same name the first counts. Raises Unsupported."""
    found: dict[str, Value] = {}
    for each in listed or ():
        only(each, "a match", "type", "name", "value")
        name = each["name"].lower() if is_header else each["name"]
        is_regex = each.get("type") == REGEX
        if is_regex:
            expression(each["value"])
        found.setdefault(name, Value(name, each["value"], is_regex))
    return tuple(found.values())


def expression(text: str) -> str:
    """A regular expression that Envoy takes. Raises Unsupported."""
    if len(text) > _LONGEST_REGEX:
        raise Unsupported("a regular expression is too long")
    try:
        regex.compiled_or_error(text)
    except ValueError as error:
        raise Unsupported(f"a regular expression can't be used: {error}") from error
    return text


def printable(text: str, what: str) -> str:
    """Text without control characters, of which Envoy takes none. Raises Unsupported."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Unsupported(f"{what} has control characters")
    return text


def literal_path(path: str) -> str:
    """A path as it is asked for. Raises Unsupported for what is none."""
    if not path.startswith("/") or "?" in path or "#" in path:
        raise Unsupported(f"path {path} can't be matched")
    return printable(path, "a path")


def seconds(text: str | None) -> float:
    """A duration such as 1h30m or 500ms; 0 for none. Raises Unsupported."""
    if not text:
        return 0.0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise Unsupported(f"duration {text} can't be read")
    return float(sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts))
