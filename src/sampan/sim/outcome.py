"""Outcome: what came of one play of a scenario: it held, or which rule was broken, when, and by what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sampan.cluster.history import Change

WAIT = "wait"
EXPECT = "expect"
STEP = "step"
PROGRAM = "program"
CRASH = "the cluster itself"
"""Rules that every scenario has; the others are invariants and bear their names."""

_NUMBERS = re.compile(r"[0-9]+[a-z]*")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was done to the cluster, or that befell it; `position` is how many changes came before it."""

    time: float
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """`rule` says what was broken, `text` how, `story` what had happened to the object concerned."""

    rule: str
    text: str
    story: str = ""

    @property
    def sort(self) -> tuple[str, str]:
        """Equal for failures of the same sort: of the scenario's own rules there are many under one name."""
        own = self.rule in (WAIT, EXPECT, STEP, PROGRAM)
        return self.rule, _NUMBERS.sub("#", self.text) if own else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`seconds` is the virtual time that it took, `digest` that of its whole history.

    `changes` are all since the cluster was made; it began with every node Ready at `began`, after `first` changes.
    """

    seed: int
    failure: Failure | None
    began: float
    seconds: float
    digest: str
    first: int
    changes: Sequence[Change]
    notes: Sequence[Note]
