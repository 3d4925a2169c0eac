"""Served: which kinds the API serves at this moment: the built-in ones, and those of CustomResourceDefinitions.

Everything that answers by kind asks here, so that a new definition is served by the next request.
"""

from collections.abc import Callable, Sequence

from sampan.kinds.kind import Kind

BUILT_IN = "built-in"

Listener = Callable[[], None]


class Served:
    """Kinds by their source: "built-in", or the name of a definition. Earlier sources win."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._sources: dict[str, tuple[Kind, ...]] = {}
        self._listeners: list[Listener] = []
        self.replace(BUILT_IN, kinds)

    def replace(self, source: str, kinds: Sequence[Kind]) -> None:
        """What a source serves from now on; nothing at all when there are no kinds."""
        if kinds:
            self._sources[source] = tuple(kinds)
        elif self._sources.pop(source, None) is None:
            return
        self._all = tuple(kind for kinds in self._sources.values() for kind in kinds)
        self._found: dict[tuple[str, str, str], Kind] = {}
        for kind in reversed(self._all):
            self._found.update(((kind.group, version, kind.plural), kind) for version in kind.versions)
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Listener) -> None:
        """Calls it after each change."""
        self._listeners.append(listener)

    def all(self) -> tuple[Kind, ...]:
        """Every kind, the built-in ones first; one value for each version."""
        return self._all

    def of(self, source: str) -> tuple[Kind, ...]:
        """The kinds of one source."""
        return self._sources.get(source, ())

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at /apis/GROUP/VERSION/PLURAL."""
        return self._found.get((group, version, plural))

    def by_kind(self, group: str, version: str, name: str) -> Kind | None:
        """The kind of an object by its apiVersion and kind."""
        return next((k for k in self._all if (k.group, k.name) == (group, name) and version in k.versions), None)
