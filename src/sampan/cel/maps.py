"""Maps that expressions make: keys of different types are different keys, though to Python 1, 1.0 and true are one.

A map of texts only stays a dict. A number finds what is under the equal number of another type, as in the reference
implementation.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#numbers
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.cel.values import UInt

_NUMBERS = frozenset({int, UInt, float})


class Keyed(Mapping[Any, Any]):
    """A map some of whose keys are no texts. Its slots are texts, and for other keys their type and value."""

    __slots__ = ("_slots",)

    def __init__(self, slots: dict[Any, Any]) -> None:
        self._slots = slots

    def __getitem__(self, key: Any) -> Any:
        return self._slots[_found(key, self._slots)]

    def __contains__(self, key: object) -> bool:
        return _found(key, self._slots) in self._slots

    def __iter__(self) -> Iterator[Any]:
        return (slot if type(slot) is str else slot[1] for slot in self._slots)

    def __len__(self) -> int:
        return len(self._slots)


class Maker:
    """A map in the making."""

    __slots__ = ("_is_plain", "_slots")

    def __init__(self) -> None:
        self._slots: dict[Any, Any] = {}
        self._is_plain = True

    def __contains__(self, key: object) -> bool:
        return _found(key, self._slots) in self._slots

    def put(self, key: Any, value: Any) -> None:
        """Instead of what there was under the very same key."""
        slot = _slot(key)
        self._is_plain = self._is_plain and slot is key
        self._slots[slot] = value

    def drop(self, key: Any) -> None:
        """Forget what there was under the very same key."""
        self._slots.pop(_slot(key), None)

    def made(self) -> Mapping[Any, Any]:
        """The map, when it is whole."""
        return self._slots if self._is_plain else Keyed(self._slots)


def _slot(key: Any) -> Any:
    return key if type(key) is str else (type(key), key)


def _found(key: Any, slots: Mapping[Any, Any]) -> Any:
    """The slot of a key or of its equal; one that is not there when there is neither."""
    slot = _slot(key)
    if type(key) not in _NUMBERS:
        return slot
    return next((other for other in (slot, (int, key), (UInt, key)) if other in slots), slot)
