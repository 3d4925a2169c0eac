"""A day over an API that fails now and then: it goes on, what went wrong is written down, and scenes are begun again."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.cluster.trading_day import curve, manifests, play, scenes
from sampan.cluster.trading_day.figures import BAD, Record, Taken
from sampan.cluster.trading_day.staging import Stage
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.kind import Kind
from sampan.meta import status
from sampan.platform.rollouts.kinds import ROLLOUT

SECONDS = 120.0
Fault = Exception | None
TROUBLES: list[Fault] = [
    status.too_many_requests("too many"),
    status.internal("odd"),
    status.unavailable("gone for a moment"),
    status.timed_out(),
    status.forbidden("", "rollouts", "market", "who are you"),
    TransportError("the connection broke"),
]


class Time:
    """Goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Market:
    """The API, with a market that takes a release at once, and the faults of calls that read and that write, in turn."""

    def __init__(self, reads: Iterator[Fault], writes: Iterator[Fault], *, is_lost_afterwards: bool = False) -> None:
        self._reads, self._writes, self._is_lost_afterwards = reads, writes, is_lost_afterwards
        self._version, self._hashes = "v1", {"v1": "h1"}

    async def get(self, kind: Kind, name: str, namespace: str) -> dict[str, Any]:
        _raise(next(self._reads))
        if kind is HORIZONTALPODAUTOSCALER:
            return {"spec": {"minReplicas": 1, "maxReplicas": 9}}
        if kind is not ROLLOUT:
            return {"spec": {"rules": [{"backendRefs": [{"name": manifests.CANARY, "weight": 0}]}]}}
        environment = [{"name": "VERSION", "value": self._version}]
        is_bad, own = self._version in scenes.BAD_NAMES, self._hashes[self._version]
        state = {"abort": True, "message": "bad"} if is_bad else {"phase": "Healthy", "stableRS": own}
        template = {"spec": {"containers": [{"env": environment}]}}
        return {"spec": {"replicas": 1, "template": template}, "status": {**state, "currentPodHash": own}}

    async def list(self, kind: Kind, namespace: str, **terms: object) -> SimpleNamespace:
        return SimpleNamespace(items=[{}])

    async def patch(self, kind: Kind, key: tuple[str, str], patch: Sequence[Any], **terms: object) -> None:
        fault = next(self._writes)
        if fault is None or self._is_lost_afterwards:
            self._version = next(entry["value"] for entry in patch[0]["value"] if entry["name"] == "VERSION")
            self._hashes.setdefault(self._version, f"h{len(self._hashes) + 1}")
        _raise(fault)

    async def delete(self, kind: Kind, key: tuple[str, str]) -> None:
        fault = next(self._writes)
        _raise(fault or status.forbidden("", "namespaces", manifests.NAMESPACE, "it is protected"))


def _raise(fault: Fault) -> None:
    if fault is not None:
        raise fault


class Orders:
    """As many as nobody counts."""

    def offer(self, per_second: float) -> None:
        """Nothing comes of it."""

    def take(self) -> Taken:
        return Taken(1, {}, 0, 0.1, 0.1)


def played(market: Market) -> Record:
    record, clock = Record(curve.day(0.0, SECONDS)), Time()
    asyncio.run(play.play(Stage(market, clock, ()), Orders(), record))  # type: ignore[arg-type]
    return record


def troubles(record: Record) -> list[str]:
    return [each.text for each in record.happenings if each.mark == BAD]


@pytest.mark.parametrize("fault", TROUBLES, ids=str)
def test_an_api_that_fails_does_not_end_the_day(fault: Exception) -> None:
    """Whatever it says instead of an answer; it is written down, and the day has all its scenes."""
    record = played(Market(cycle([fault, *repeat(None, 20)]), repeat(None)))
    assert all(outcome.is_right for outcome in record.outcomes) and len(record.outcomes) == len(scenes.SCENES)
    assert any(str(fault) in text for text in troubles(record))


@pytest.mark.parametrize("is_lost_afterwards", [False, True])
def test_a_scene_that_is_not_taken_is_begun_again(is_lost_afterwards: bool) -> None:
    """It is told once, also when it was taken and only the answer was lost."""
    faults = cycle([status.unavailable("a"), status.too_many_requests("b"), TransportError("c"), None])
    record = played(Market(repeat(None), faults, is_lost_afterwards=is_lost_afterwards))
    assert [(each.title, each.came) for each in record.outcomes] == [(s.title, s.expected) for s in scenes.SCENES]
    told = [each.text for each in record.happenings]
    assert [told.count(scene.title) for scene in scenes.SCENES] == [1, 1, 1]
    assert len(troubles(record)) == 3 * len(scenes.SCENES)


def test_an_api_that_never_comes_back_is_told_once() -> None:
    """The day ends, its report can be written, and says what was not seen."""
    record = played(Market(chain(repeat(None, 30), repeat(TransportError("nobody there"))), repeat(None)))
    assert troubles(record) == ["the API does not answer: nobody there"]
    assert record.samples and not record.outcomes
