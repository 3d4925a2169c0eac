"""Reader: one configuration document, read strictly; what is wrong is said with its place and its mend.

A name that nobody reads is a mistake of the writer's and is refused, so that a misspelt field is never
silently without effect.
"""

from collections.abc import Iterable, Iterator
from typing import Any

Tree = dict[str, Any]


class ConfigError(Exception):
    """A configuration that cannot be used: where, why, and what to write instead."""


class Reader:
    """One mapping of a document. `path` is its place, such as jwt[0].issuer."""

    def __init__(self, tree: Any, path: str) -> None:
        if not isinstance(tree, dict):
            raise ConfigError(f"{path or 'the document'} has to be a mapping, not {_shown(tree)}")
        self.path = path
        self._tree: Tree = tree
        self._left = dict.fromkeys(tree)

    def at(self, name: str) -> str:
        """The place of a field."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._tree.get(name) is not None

    def skip(self, *names: str) -> None:
        """Fields that are read elsewhere."""
        for name in names:
            self._left.pop(name, None)

    def text(self, name: str, default: str | None = None) -> str:
        """A string. Without a default it has to be there, and not empty."""
        value = self._take(name)
        if value is None or (value == "" and default is None):
            if default is None:
                raise ConfigError(f"{self.at(name)} is missing: give it a text")
            return default
        if not isinstance(value, str):
            raise ConfigError(f"{self.at(name)} has to be a text, not {_shown(value)}: put it in quotes")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """true or false."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.at(name)} has to be true or false, not {_shown(value)}")
        return value

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{self.at(name)} has to be a whole number, not {_shown(value)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when absent."""
        values = self._list(name)
        if any(not isinstance(value, str) for value in values):
            raise ConfigError(f"{self.at(name)} has to be a list of texts")
        return tuple(values)

    def choice(self, name: str, choices: Iterable[str], default: str | None = None) -> str:
        """One of some texts."""
        value, known = self.text(name, default), tuple(choices)
        if value not in known:
            raise ConfigError(f"{self.at(name)} is {_shown(value)}: use one of {', '.join(known)}")
        return value

    def tree(self, name: str) -> Any:
        """Whatever is there, for somebody else to read."""
        return self._take(name)

    def inner(self, name: str) -> "Reader | None":
        """A mapping inside, None when absent."""
        value = self._take(name)
        return None if value is None else Reader(value, self.at(name))

    def each(self, name: str) -> Iterator["Reader"]:
        """The mappings of a list inside."""
        for index, value in enumerate(self._list(name)):
            yield Reader(value, f"{self.at(name)}[{index}]")

    def done(self) -> None:
        """Raises ConfigError for a field that nobody has read."""
        if self._left:
            first = next(iter(self._left))
            raise ConfigError(f"{self.at(first)} is not known here: mend its spelling or remove it")

    def _list(self, name: str) -> list[Any]:
        value = self._take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(f"{self.at(name)} has to be a list, not {_shown(value)}")
        return value

    def _take(self, name: str) -> Any:
        self._left.pop(name, None)
        return self._tree.get(name)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
