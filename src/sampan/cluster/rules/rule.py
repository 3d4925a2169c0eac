"""Rule: something that must hold in a cluster, whatever goes wrong in it.

A rule is a small class: its docstring is what it demands. It says what is wrong in a sentence, "" for nothing.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from sampan.cluster.history import Change
from sampan.cluster.rules.world import World

Object = dict[str, Any]


class Rule:
    """Judges changes. It sees `world` as it was just before the change."""

    resources: ClassVar[tuple[str, ...]] = ()
    """Whose changes it judges; () for all."""
    is_of_one: ClassVar[bool] = False
    """Whether it only holds where no second set of controllers works beside the first: none of them elects a leader."""

    def __init__(self, world: World) -> None:
        self.world = world

    def judge(self, change: Change, old: Object | None) -> str:
        """What is wrong with this change. `old` is the object before, None for a new one."""
        raise NotImplementedError


class SettledRule:
    """Judges the state in which a cluster has come to rest: no fault lasts, and nothing more is to be done."""

    def __init__(self, world: World) -> None:
        self.world = world

    def judge(self) -> Iterable[str]:
        """Everything that is wrong."""
        raise NotImplementedError


def text(cls: type[Rule | SettledRule]) -> str:
    """What it demands, in one line."""
    return " ".join((cls.__doc__ or cls.__name__).split())
