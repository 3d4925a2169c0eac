"""Worker: takes keys from one controller's queue, asks its rule, carries out the plan, and looks again when due.

One bad object never stops the others: its error is logged with its story and it is tried again later.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.discovery import discover
from sampan.client.transport import TransportError
from sampan.control import execute, metric_reading, own, scales
from sampan.control.events import Recorder
from sampan.control.plan import (
    Ask,
    AskAccess,
    AskHttp,
    AskKinds,
    AskList,
    AskMetrics,
    AskScale,
    AskSignature,
    AskTarget,
    Event,
    HttpAnswer,
    Outcome,
    Plan,
    Question,
)
from sampan.control.steps import Steps
from sampan.control.view import View
from sampan.kinds.authorization.subject_access_review import SUBJECTACCESSREVIEW
from sampan.kinds.kind import Kind, Object
from sampan.kit.clock import Clock
from sampan.kit.workqueue import QueueClosed, WorkQueue
from sampan.meta.status import ApiError, is_of_another

log = logging.getLogger(__name__)

ROUNDS_OF_QUESTIONS = 5
LEAST_SECONDS_AFTER_REFUSAL = 1.0
"""A plan's wish to look again stands though a write was refused, however long the back-off has become by then."""

UNTOLD = ("AlreadyExists", "Conflict")
"""Refusals that only mean that somebody else was faster."""

Rule = Callable[[View, Any, float], Plan | Steps[Plan]]
Sign = Callable[[AskSignature], str]
Fetch = Callable[[AskHttp], Awaitable[HttpAnswer | str]]

NO_WAY_OUT = "nothing outside of the API can be asked here"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers share. `sign` is the cluster's authority, where it has one, `fetch` the way to others than the API."""

    client: Client
    clock: Clock
    recorder: Recorder
    metrics: Counter[tuple[str, str]]
    sign: Sign | None = None
    fetch: Fetch | None = None


@dataclass(eq=False, slots=True)
class Worker:
    """One controller's queue and rule. `caches` and `kinds` may grow (Everywhere)."""

    name: str
    rule: Rule
    parent: Kind | None
    caches: Mapping[str, Cache]
    shared: Surroundings
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    component: str = ""
    queue: WorkQueue[Any] = field(init=False)
    overview: View = field(init=False)
    """What whoever asks for nothing in particular sees, such as those who say what is due."""
    _outcomes: dict[Hashable, tuple[Outcome, ...]] = field(default_factory=dict, init=False)
    _memory: dict[Hashable, Mapping[str, Any]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.queue = WorkQueue(self.shared.clock)
        self.overview = View(self.caches, kinds=self.kinds)

    def view(self, key: Hashable, answers: Mapping[Question, Any]) -> View:
        """What the rule sees for a key, now."""
        memory = self._memory.get(key, {})
        return View(self.caches, self._outcomes.get(key, ()), answers, self.kinds, memory)

    def continue_from(self, other: "Worker") -> None:
        """Goes on where another one for the same rule was."""
        self.queue.continue_from(other.queue)
        self._outcomes.update(other._outcomes)
        self._memory.update(other._memory)

    async def run(self, hire: Callable[[], None]) -> None:
        """Works until the queue is closed; `hire` has somebody else help while there is more than one can do."""
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            if self.queue:
                hire()
            rest = 0.0
            try:
                rest = await self._work(key)
            except Exception:
                self._count("error")
                log.exception("%s: %s failed, for the %dth time", self.name, key, self.queue.failures(key) + 1)
                self.queue.retry(key)
            finally:
                self.queue.done(key, rest)

    async def _work(self, key: Any) -> float:
        """One look at one key; for how many seconds it is enough."""
        about = self._about(key)
        plan = await self._decide(key)
        self._keep(key, plan.memory)
        for event in plan.events:
            self._record(event, about, "", "")
        done = await execute.execute(self.shared.client, plan) if plan.stages else []
        outcomes = tuple(result.outcome for result in done)
        self._remember(key, outcomes)
        for result in done:
            self._tell(result, about)
        await execute.wait_seen(self.shared.client, self.caches, done)
        refused = [outcome for outcome in outcomes if outcome.refusal]
        if not refused:
            self._count("success")
            self.queue.forget(key)
            if plan.again is not None:
                self.queue.add_after(key, plan.again, is_watchdog=plan.is_watchdog)
            return plan.rest
        self._refused(key, refused[0])
        if plan.again is not None:
            self.queue.add_after(key, max(plan.again, LEAST_SECONDS_AFTER_REFUSAL))
        return 0.0

    async def _decide(self, key: Any) -> Plan:
        """Asks the rule, answering its questions until it has none."""
        answers: dict[Question, Any] = {}
        for _ in range(ROUNDS_OF_QUESTIONS):
            found = self.rule(self.view(key, answers), key, self.shared.clock.now())
            plan = found if isinstance(found, Plan) else await _taken(found)
            if not plan.ask:
                return plan
            for question in plan.ask:
                answers[question] = await self._answer(question)
        raise RuntimeError(f"{self.name} has still questions after {ROUNDS_OF_QUESTIONS} rounds: {plan.ask[0]}")

    async def _answer(self, question: Question) -> Any:
        client = self.shared.client
        match question:
            case Ask():
                try:
                    return own.typed(await client.get(question.kind, question.key[1], question.key[0]), question.kind)
                except ApiError as error:
                    if error.code == 404:
                        return None
                    raise
            case AskKinds():
                return await discover(client)
            case AskAccess():
                reviewed = await client.call("POST", SUBJECTACCESSREVIEW.path(), body=_review(question))
                return bool((reviewed.get("status") or {}).get("allowed"))
            case AskScale():
                return await scales.read(client, question)
            case AskTarget():
                return await scales.target(client, question)
            case AskMetrics():
                return await metric_reading.read(client, question)
            case AskSignature():
                return self.shared.sign(question) if self.shared.sign is not None else None
            case AskHttp():
                return await self.shared.fetch(question) if self.shared.fetch is not None else NO_WAY_OUT
            case AskList():
                try:
                    listing = await client.metadata_only().list(question.kind, question.namespace)
                except (ApiError, TransportError) as error:
                    return str(error)
                return listing.items

    def _about(self, key: Any) -> Object | None:
        """The parent object, for its events."""
        if self.parent is None:
            return None
        found = self.caches[self.parent.resource].get(key)
        return own.typed(found, self.parent) if found is not None else None

    def _record(self, event: Event, about: Object | None, name: str, error: str) -> None:
        subject = event.about or about
        if subject is None:
            return
        message = event.message.replace("{name}", name).replace("{error}", error)
        self.shared.recorder.record(self.component or self.name, subject, (event.type, event.reason, message))

    def _tell(self, result: execute.Done, about: Object | None) -> None:
        """Of a refusal or a success; who finds that it was done already tells nothing."""
        outcome = result.outcome
        told = outcome.write.refused if outcome.refusal else outcome.write.done if result.answer is not None else None
        if told is not None and not (outcome.refusal and _reason(outcome.refusal) in UNTOLD):
            self._record(told, about, outcome.name, outcome.error)

    def _remember(self, key: Hashable, outcomes: tuple[Outcome, ...]) -> None:
        if any(outcome.refusal for outcome in outcomes):
            self._outcomes[key] = outcomes
        else:
            self._outcomes.pop(key, None)

    def _keep(self, key: Hashable, memory: Mapping[str, Any] | None) -> None:
        if memory:
            self._memory[key] = memory
        elif memory is not None:
            self._memory.pop(key, None)

    def _refused(self, key: Any, outcome: Outcome) -> None:
        is_conflict = _reason(outcome.refusal or {}) == "Conflict"
        self._count("conflict" if is_conflict else "refused")
        level = logging.DEBUG if is_conflict else logging.WARNING
        action = type(outcome.write).__name__.lower()
        kind = outcome.write.kind.resource
        log.log(level, "%s: %s: %s %s %s refused: %s", self.name, key, action, kind, outcome.name, outcome.error)
        self.queue.retry(key)

    def _count(self, what: str) -> None:
        self.shared.metrics[self.name, what] += 1


def _reason(refusal: dict[str, Any]) -> str:
    """Why a write was refused; a patch that means another object is a conflict, though it is called invalid."""
    return "Conflict" if is_of_another(ApiError(refusal)) else str(refusal.get("reason", ""))


async def _taken(steps: Steps[Plan]) -> Plan:
    """The plan, with a pause after each step in which others have their turn."""
    try:
        while True:
            next(steps)
            await asyncio.sleep(0)
    except StopIteration as end:
        found: Plan = end.value
        return found


def _review(asked: AskAccess) -> Object:
    group, resource = asked.resource
    attributes = {"verb": asked.verb, "group": group, "resource": resource, "subresource": asked.subresource}
    spec: Object = {"user": asked.user, "uid": asked.uid, "groups": list(asked.groups)}
    spec["extra"] = {key: list(values) for key, values in asked.extra}
    spec["resourceAttributes"] = attributes
    return {"kind": SUBJECTACCESSREVIEW.name, "apiVersion": SUBJECTACCESSREVIEW.api_version, "spec": spec}
