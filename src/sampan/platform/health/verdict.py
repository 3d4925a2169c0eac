"""Verdict: how an object is, why, what shows it, and what to do about it.

Healthy: as it is wanted. Progressing: on the way, and nothing speaks against it. Stuck: it waits for something that
does not come by itself. Failed: it was tried and ended badly. A verdict's causes lead down to where something can be
done: from a deployment to its pod, from there to a container.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects

HEALTHY, PROGRESSING, STUCK, FAILED = STATES = ("Healthy", "Progressing", "Stuck", "Failed")
"""From the best to the worst."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that anybody can look up: `source` is event, log, probe, condition, status or spec."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`subject` is what kubectl takes (pod/web-0), or a part of one (container web).

    `reason` is one word for programs, `message` a sentence about the subject for people. `next` are steps: sentences,
    or commands that begin with kubectl or sampan. `alike` counts others that have the same verdict for the same reason.
    """

    subject: str
    state: str = HEALTHY
    reason: str = ""
    message: str = ""
    namespace: str = ""
    evidence: tuple[Evidence, ...] = ()
    next: tuple[str, ...] = ()
    causes: tuple["Verdict", ...] = ()
    alike: int = 0

    @property
    def is_healthy(self) -> bool:
        """Whether it is as it is wanted."""
        return self.state == HEALTHY

    @property
    def chain(self) -> tuple["Verdict", ...]:
        """From this one down to its root: at each step the worst cause, the first of equals."""
        bad = [cause for cause in self.causes if not cause.is_healthy]
        return (self, *worst(bad).chain) if bad else (self,)

    @property
    def steps(self) -> tuple[str, ...]:
        """What to do: about the root first, then further up."""
        return tuple(dict.fromkeys(step for each in reversed(self.chain) for step in each.next))

    @property
    def root(self) -> "Verdict":
        """Where something can be done about it."""
        return self.chain[-1]


def rank(verdict: Verdict) -> int:
    """The greater, the worse."""
    return STATES.index(verdict.state)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first of the worst ones."""
    return max(verdicts, key=rank)


def grouped(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that are not healthy, the worst first; of those that are alike the first, which counts the others."""
    found: dict[tuple[str, ...], Verdict] = {}
    for each in verdicts:
        if each.is_healthy:
            continue
        root = each.root
        part = root.subject if root is not each else ""
        key = (each.subject.partition("/")[0], each.state, root.reason, part)
        first = found.get(key)
        found[key] = each if first is None else dataclasses.replace(first, alike=first.alike + 1)
    return tuple(sorted(found.values(), key=rank, reverse=True))


def because(verdict: Verdict, causes: Iterable[Verdict]) -> Verdict:
    """The verdict with these causes, as bad as the worst of them if it isn't worse itself; it keeps its own words."""
    found = grouped(causes)
    if not found:
        return verdict
    state = max(verdict.state, worst(found).state, key=STATES.index)
    return dataclasses.replace(verdict, state=state, causes=found)


def subject(obj: Object) -> str:
    """What kubectl takes: pod/web-0."""
    return f"{str(obj.get('kind', '')).lower()}/{objects.name(obj)}"


def about(obj: Object, state: str = HEALTHY, reason: str = "", message: str = "", **more: Any) -> Verdict:
    """A verdict on an object."""
    return Verdict(subject(obj), state, reason, message, objects.namespace(obj), **more)
