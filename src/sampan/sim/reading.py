"""Reading: values of a scenario's document, each of which knows where it stands, for errors that say so."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
import yaml

Path = tuple[str | int, ...]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_CHANCE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Wrong(Exception):
    """The document says something that no scenario can: FILE:LINE: FIELD: what is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path

    def told(self, name: str, source: str) -> str:
        """With the file's name, the line and the field."""
        field = shown(self.path)
        line = line_of(source, self.path)
        return name + (f":{line}: " if line else ": ") + (f"{field}: " if field else "") + str(self)


@dataclass(frozen=True, slots=True)
class Span:
    """A time, or any time between two: seconds."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the document and the path to it."""

    tree: Any
    path: Path = ()

    def wrong(self, text: str) -> NoReturn:
        """Raises Wrong."""
        raise Wrong(self.path, text)

    def has(self, name: str) -> bool:
        """Whether it is a mapping with this field."""
        return isinstance(self.tree, dict) and name in self.tree

    def field(self, name: str) -> "Value":
        """A field of a mapping, None where it is missing."""
        return Value(self.mapping().get(name), (*self.path, name))

    def needed(self, name: str) -> "Value":
        """A field that must be there."""
        if self.mapping().get(name) is None:
            self.wrong(f"{name} is missing")
        return self.field(name)

    def content(self) -> str:
        """What stands there, as one text."""
        return orjson.dumps(self.tree, option=orjson.OPT_SORT_KEYS).decode()

    def only(self, names: Sequence[str]) -> None:
        """Refuses fields that are not among the names."""
        for name in self.mapping():
            if name not in names:
                Value(None, (*self.path, name)).wrong(f"no such field; there are {', '.join(names)}")

    def mapping(self) -> dict[str, Any]:
        """As a mapping; an empty one where there is nothing."""
        if self.tree is not None and not isinstance(self.tree, dict):
            self.wrong(f"must be a mapping, not {_sort(self.tree)}")
        return self.tree or {}

    def items(self) -> Iterator["Value"]:
        """The items of a list; none where there is nothing."""
        if self.tree is not None and not isinstance(self.tree, list):
            self.wrong(f"must be a list, not {_sort(self.tree)}")
        for index, tree in enumerate(self.tree or ()):
            yield Value(tree, (*self.path, index))

    def text(self, default: str = "") -> str:
        """As text."""
        if self.tree is None:
            return default
        if not isinstance(self.tree, str):
            self.wrong(f"must be text, not {_sort(self.tree)}")
        return str(self.tree)

    def number(self, default: int = 0, least: int = 0) -> int:
        """As a whole number."""
        if self.tree is None:
            return default
        if not isinstance(self.tree, int) or isinstance(self.tree, bool) or self.tree < least:
            self.wrong(f"must be a whole number from {least} on, not {self.tree!r}")
        return int(self.tree)

    def seconds(self, default: float = 0.0) -> float:
        """A duration: 90, 250ms, 1h30m, 2d."""
        return default if self.tree is None else self._seconds(self.tree)

    def span(self) -> Span | None:
        """A duration or two: 30s, 10s..1m."""
        if self.tree is None:
            return None
        if isinstance(self.tree, str) and ".." in self.tree:
            least, _, most = self.tree.partition("..")
            found = Span(self._seconds(least.strip()), self._seconds(most.strip()))
        else:
            found = Span(self._seconds(self.tree), self._seconds(self.tree))
        if found.most < found.least:
            self.wrong(f"{self.tree} ends before it begins")
        return found

    def chance(self) -> float:
        """A chance, from 0 to 1: 5%, 0.05."""
        found = self.tree
        if isinstance(found, str) and (percent := _CHANCE.fullmatch(found)):
            found = float(percent[1]) / 100
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
            self.wrong(f"must be a chance such as 5%, not {self.tree!r}")
        return float(found)

    def _seconds(self, tree: Any) -> float:
        if isinstance(tree, int | float) and not isinstance(tree, bool) and tree >= 0:
            return float(tree)
        matched = _DURATION.fullmatch(tree) if isinstance(tree, str) and tree else None
        if matched is None:
            self.wrong(f"must be a duration such as 30s, 1h30m or 250ms, not {tree!r}")
        return sum(float(part or 0) * unit for part, unit in zip(matched.groups(), _UNITS, strict=True))


def duration(seconds: float) -> str:
    """As it is written: 1h30m, 2.5s, 250ms."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    parts, rest = [], seconds
    for unit, name in zip(_UNITS[:3], "dhm", strict=False):
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count:.0f}{name}")
    if rest or not parts:
        parts.append(f"{rest:.3f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def shown(path: Path) -> str:
    """The path as people write it: steps[2].wait.within."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def line_of(source: str, path: Path) -> int:
    """The line of what the path leads to, or of the last thing on the way that is there; 0 where it can't be told."""
    try:
        node = yaml.compose(source, yaml.SafeLoader)
    except yaml.YAMLError:
        return 0
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _sort(tree: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(tree), "nothing")
