"""Versions: an object as it is stored, and as each served version shows it.

Most kinds have one version and are shown byte for byte as they are stored. The others are converted at
the edge: built-in ones by their `convert` hook, custom resources by their definition's webhook, and each
result is kept with the stored item, so that a list is converted once.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.server import aside
from sampan.server.cache import Item, encode

Tree = dict[str, Any]
Converter = Callable[[Sequence[Tree], str], Awaitable[Sequence[Tree]]]


class Versions:
    """Converters of resources by (group, plural), for those whose conversion is not a hook."""

    def __init__(self) -> None:
        self._converters: dict[tuple[str, str], Converter] = {}

    def set_converter(self, resource: tuple[str, str], converter: Converter | None) -> None:
        """`converter` takes objects and an apiVersion, and returns them in that version, in order; None removes it."""
        if converter is None:
            self._converters.pop(resource, None)
        else:
            self._converters[resource] = converter

    async def view(self, kind: Kind, item: Item) -> Item:
        """One item as the kind shows it. Raises ApiError when it cannot be converted."""
        if not kind.is_satellite:
            return item
        return item.view(kind) or (await self.views(kind, [item]))[0]

    async def views(self, kind: Kind, items: Sequence[Item]) -> Sequence[Item]:
        """Items as the kind shows them, in their order. Raises ApiError when one cannot be converted."""
        if not kind.is_satellite:
            return items
        strange = [item for item in items if item.view(kind) is None]
        if strange:
            made: list[tuple[Item, Tree | None]] = [(item, None) for item in strange]
            if kind.place in self._converters:
                stored = await aside.by_turns(lambda item: orjson.loads(item.stored), strange, _size)
                trees = await self._converted(kind, stored, kind.api_version)
                made = [
                    (item, None if tree is before else tree)
                    for item, before, tree in zip(strange, stored, trees, strict=True)
                ]
            await aside.by_turns(partial(_show, kind), made, lambda pair: len(pair[0].stored))
        return [item.view(kind) or item for item in items]

    async def stored(self, kind: Kind, obj: Tree) -> Tree:
        """The object in the version in which it is stored."""
        if obj["apiVersion"] == kind.storage_api_version:
            return obj
        return (await self._converted(kind, [obj], kind.storage_api_version))[0]

    async def written(self, kind: Kind, obj: Tree) -> tuple[bytes, bytes]:
        """The object as it is stored, and as the kind shows it from then on: what its conversion drops is gone."""
        shown = encode(obj)
        if obj["apiVersion"] == kind.storage_api_version:
            return shown, shown
        stored = await self.stored(kind, obj)
        if kind.custom:
            shown = encode(await self.to_version(kind, stored, kind.api_version))
        return encode(stored), shown

    async def to_version(self, kind: Kind, obj: Tree, api_version: str) -> Tree:
        """The object in another version, such as a webhook wants it."""
        return (await self._converted(kind, [obj], api_version))[0]

    async def _converted(self, kind: Kind, objs: Sequence[Tree], api_version: str) -> Sequence[Tree]:
        others = [obj for obj in objs if obj["apiVersion"] != api_version]
        if not others:
            return objs
        converter = self._converters.get(kind.place)
        if converter is None:
            done: Sequence[Tree] = [kind.hooks.convert(obj, api_version) for obj in others]
        else:
            done = await converter(others, api_version)
        results = iter(done)
        return [obj if obj["apiVersion"] == api_version else next(results) for obj in objs]


def _show(kind: Kind, made: tuple[Item, Tree | None]) -> None:
    """Keeps an item as its kind shows it, which may have been converted by somebody else."""
    item, tree = made
    if tree is None:
        tree = orjson.loads(item.stored)
        if tree["apiVersion"] == kind.api_version:
            kind.hooks.read(tree)
        else:
            tree = kind.hooks.convert(tree, kind.api_version)  # which reads it, with its own version's defaults
    shown = encode(tree)
    same = shown == item.stored  # then the bytes are shared
    item.keep_view(kind, Item(item.key, item.revision, item.stored if same else shown))


def _size(item: Item) -> int:
    return len(item.stored)
