"""Frozen trees: dicts and lists that refuse to change, to prove that nobody mutates what he was handed.

They stay dicts and lists, so that isinstance, equality and JSON encoders take them as they are. What
is copied or computed from them (`dict(x)`, `x | y`, `x.copy()`, deepcopy) is plain and changeable.
"""

from typing import Any, NoReturn


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Every mutating method."""
    raise TypeError("this tree is frozen: copy it before changing it")


class FrozenDict(dict[str, Any]):
    """A dict that can only be read."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: thaw(value) for key, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, (dict(self),))


class FrozenList(list[Any]):
    """A list that can only be read."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [thaw(value) for value in self]

    def __reduce__(self) -> tuple[Any, ...]:
        return (list, (list(self),))


def freeze(tree: Any) -> Any:
    """The same tree, frozen at every level. A tree that is already frozen is returned as it is."""
    if isinstance(tree, FrozenDict | FrozenList):
        return tree
    if isinstance(tree, dict):
        return FrozenDict({key: freeze(value) for key, value in tree.items()})
    if isinstance(tree, list | tuple):
        return FrozenList([freeze(value) for value in tree])
    return tree


def thaw(tree: Any) -> Any:
    """A plain deep copy, frozen or not."""
    if isinstance(tree, dict):
        return {key: thaw(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [thaw(value) for value in tree]
    return tree
