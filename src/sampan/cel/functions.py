"""The functions that expressions may call: overloads by name, gathered from the libraries.

https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cel import types
from sampan.cel.types import Type

CallCost = Callable[[Sequence[Any]], int]


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One signature of a function. A member's first parameter is its receiver.

    `cost` tells what a call costs at run time, from its arguments and before it is made; None when that is 1.
    """

    id: str
    params: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    member: bool = False
    cost: CallCost | None = None


Functions = Mapping[str, tuple[Overload, ...]]

A, B = Type("param", "A"), Type("param", "B")
LIST_A = types.list_of(A)
MAP_AB = types.map_of(A, B)
OPTIONAL_A = types.optional_of(A)


def size_of(value: Any) -> int:
    """What size() says of a value; 1 for one that has no size."""
    return len(value) if hasattr(value, "__len__") else 1


def tenth(size: float) -> int:
    """A tenth of a size, rounded up: what going through a string costs."""
    return -int(-size // 10)


def traverse(times: int = 1) -> CallCost:
    """The cost of going through the first argument that many times."""
    return lambda args: tenth(size_of(args[0]) * times)


@functools.cache
def all_functions() -> Functions:
    """Every function, by name."""
    from sampan.cel.library import (
        authorizer,
        conversions,
        formats,
        lists,
        network,
        optionals,
        patches,
        quantities,
        regexes,
        sets,
        standard,
        strings,
        urls,
        versions,
    )

    found: dict[str, tuple[Overload, ...]] = {}
    for library in (
        standard, conversions, optionals, strings, lists, sets, regexes, urls, network, quantities, versions, formats,
        authorizer, patches,
    ):  # fmt: skip
        for name, overloads in library.FUNCTIONS.items():
            found[name] = found.get(name, ()) + tuple(overloads)
    return found
