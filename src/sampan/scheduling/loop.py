"""Scheduler: gives each pod without a node the node that suits it, through the API.

Takes the next pending pod, asks the cycle, and binds. A chosen node counts as taken at once (assumed), before the
API confirms it; binding goes on beside the next decisions. A pod that fits nowhere is told so (condition and event),
pods in its way may be pushed out, and it is tried again when a change may help it.

https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError, is_of_another
from sampan.scheduling import cycle, extenders, extending, hints
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.scheduling.counting import ERROR, SCHEDULED, UNSCHEDULABLE, Attempt, Counts
from sampan.scheduling.cycle import Decision, Terms
from sampan.scheduling.demand import Demand
from sampan.scheduling.device_claims import Around, DeviceClaims
from sampan.scheduling.events import Recorder
from sampan.scheduling.extending import ExtenderError
from sampan.scheduling.framework import Extra, FailureError
from sampan.scheduling.observer import Observer
from sampan.scheduling.pending import Pending
from sampan.scheduling.preemption import Outcome
from sampan.scheduling.steps import Steps
from sampan.scheduling.telling import Teller, is_told
from sampan.scheduling.volumes import Volumes

MAX_BINDING = 64
ASK_AGAIN_SECONDS = 1.0
GATED = "Scheduling is blocked due to non-empty scheduling gates"

Object = dict[str, Any]
Work = Callable[[], Coroutine[Any, Any, None]]
"""What is still to be done for a pod. A coroutine would be lost if its task ended before its first step."""

log = logging.getLogger(__name__)


class Scheduler:
    """One per cluster. Handles the pods whose schedulerName is that of one of the configuration's profiles."""

    def __init__(
        self, client: Client, clock: Clock, tasks: Tasks, ids: Ids, configuration: Configuration = DEFAULTS
    ) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._pending = Pending(configuration.first_backoff_seconds, configuration.last_backoff_seconds)
        self._known = Observer(client, clock, tasks, self._pending)
        self._known.profiles = dict(configuration.profiles)
        self._known.gated = self._gated
        self._extenders = configuration.extenders
        self.outside = extenders.Extenders(extenders.over_http, self._known.node)
        self._volumes = Volumes(client, clock, tasks, self.wake, self._known.profiles)
        around = Around(self._known.wake, self._known.set_delegated, self._tell, self._known.profiles)
        self._devices = DeviceClaims(client, clock, tasks, ids, around)
        self.extras: Sequence[Extra] = (self._volumes, self._devices)
        """Plugins that know objects of their own; set before `start`."""
        self._recorders = {name: Recorder(client, clock, name) for name in configuration.profiles}
        self._tellers = {
            name: Teller(client, clock, recorder, self._known.pod) for name, recorder in self._recorders.items()
        }
        self._binding = asyncio.Semaphore(MAX_BINDING)
        self._running: list[asyncio.Task[None]] = []
        self.counts = Counts()
        """Who measures; set before `start`."""
        self._attempts: dict[str, Attempt] = {}  # by pod uid

    async def start(self, before: "Scheduler | None" = None) -> None:
        """Returns when the caches are filled and pods are being scheduled. What another one saw `before` is known."""
        await self._volumes.start(before._volumes if before is not None else None)
        await self._devices.start(before._devices if before is not None else None)
        await self._known.start(before._known if before is not None else None)
        if before is not None:
            for name, recorder in self._recorders.items():
                if name in before._recorders:
                    recorder.continue_from(before._recorders[name])
        self._running.append(self._tasks.spawn(self._run(), "scheduler"))

    @property
    def is_running(self) -> bool:
        """Whether pods are being scheduled."""
        return bool(self._running)

    async def stop(self) -> None:
        """Takes no further pod. Bindings under way finish with `tasks`."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        await self.outside.close()

    def wake(self, plugin: str) -> None:
        """What only this plugin knows has changed: pods that it refused are tried again."""
        self._known.wake(hints.of_plugin(plugin))

    def queues(self) -> Counter[str]:
        """How many pods wait: active, backoff, unschedulable or gated."""
        return self._pending.counts() + Counter(gated=len(self._known.gates))

    def refusals(self) -> Counter[tuple[str, str]]:
        """How many pods wait because of a plugin: by (plugin, profile)."""
        return self._pending.refusals()

    def sizes(self) -> dict[str, int]:
        """How much is known: nodes, pods on them, and those of them that are not seen bound yet."""
        return self._known.sizes()

    def _gated(self, pod: Object) -> None:
        if not is_told(pod, "SchedulingGated", GATED):
            name = pod["spec"].get("schedulerName")
            teller = self._tellers.get(name) or next(iter(self._tellers.values()))
            self._spawn(teller.condition(pod, "SchedulingGated", GATED), pod)

    async def _run(self) -> None:
        while True:
            pod = self._pending.pop(self._clock.monotonic())
            if pod is None:
                await self._wait()
                continue
            await self._binding.acquire()
            try:
                await self._try(pod)
            except Exception as error:
                log.exception("scheduling %s failed", objects.name(pod.pod))
                self._spawn(self._then_release(self._stumble(pod, error), pod), pod.pod)
            await asyncio.sleep(0)  # so that no run of decisions holds the loop

    async def _wait(self) -> None:
        """Until something changes or a back-off ends."""
        changed = self._known.changed
        changed.clear()
        due = self._pending.next_due()
        seconds = None if due is None else max(due - self._clock.monotonic(), 0.0)
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            pass

    async def _try(self, pod: Demand) -> None:
        """One attempt; what it has to tell or bind goes on by itself."""
        if not self._known.is_current(pod):  # changed while we waited for our turn
            self._binding.release()
            return
        if awaiting := [each for each in self._concerned(pod) if each.awaits(pod)]:
            self._pending.park(pod.uid, self._clock.monotonic(), frozenset(n for each in awaiting for n in each.names))
            self._binding.release()
            return
        began = self._clock.monotonic()
        self._attempts[pod.uid] = Attempt(began, *self._pending.history(pod.uid))
        terms = Terms(self._known.profiles[pod.scheduler], self.extras, self._known.budgets, self._extenders)
        with self._known.held():
            try:
                decision = await self._decide(cycle.begin(pod, self._known.snapshot, terms))
            except (ExtenderError, FailureError) as error:
                work = self._err(pod, error)
            else:
                work = self._take(pod, decision.node) if decision.node else self._refuse(pod, decision)
            self.counts.decided(self._clock.monotonic() - began)
        self._spawn(self._then_release(work, pod), pod.pod)

    async def _decide(self, steps: Steps[Decision]) -> Decision:
        """Takes the steps, between which others have their turn. Raises ExtenderError, FailureError."""
        answer = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                decision: Decision = end.value
                return decision
            answer = await (asyncio.sleep(0) if asked is None else self.outside.ask(asked))

    def _take(self, pod: Demand, node: str) -> Work:
        self._known.assumed.add(pod.uid)
        self._known.snapshot.place(pod, node)
        for extra in self._concerned(pod):
            extra.reserve(pod, node)
        return functools.partial(self._bind, pod, node)

    def _concerned(self, pod: Demand) -> list[Extra]:
        enabled = self._known.profiles[pod.scheduler].enabled
        return [each for each in self.extras if not enabled.isdisjoint(each.names) and each.is_concerned(pod)]

    def _err(self, pod: Demand, error: Exception) -> Work:
        """The attempt went wrong: the pod comes back."""
        self._count(pod, ERROR)
        self._pending.err(pod.uid, self._clock.monotonic())
        self._known.changed.set()
        return functools.partial(self._tellers[pod.scheduler].failed, pod, str(error))

    def _stumble(self, pod: Demand, error: Exception) -> Work:
        """A fault of ours with one pod, which comes back later; all others are scheduled meanwhile."""
        for extra in self.extras if pod.uid in self._known.assumed else ():
            try:
                extra.release(pod)
            except Exception:
                log.exception("what %s had is not free", objects.name(pod.pod))
        self._known.later(lambda: self._give_back(pod))
        self._pending.hold(pod.uid, held=False)
        return self._err(pod, error)

    async def _then_release(self, work: Work, pod: Demand) -> None:
        try:
            await work()
        except Exception as error:
            log.exception("scheduling %s failed", objects.name(pod.pod))
            if self._pending.get(pod.uid) is not None:  # it is not bound yet
                self._stumble(pod, error)
        finally:
            self._binding.release()

    async def _bind(self, pod: Demand, node: str) -> None:
        key = objects.key(pod.pod)
        try:
            await self._prepare(pod, node)
        except Exception as error:
            if not isinstance(error, ApiError | TransportError):
                log.exception("preparing %s failed", objects.name(pod.pod))
            await self._undo(pod, error)
            return
        try:
            if not await self._is_bound_outside(pod, node):
                await self._client.create_subresource(POD, key, "binding", _binding(pod.pod, node))
        except ExtenderError as error:
            await self._undo(pod, error)
            return
        except (ApiError, TransportError) as error:
            is_known = isinstance(error, ApiError) and error.code < 500
            if is_known or not await self._is_bound(pod):
                await self._undo(pod, error, 'running Bind plugin "DefaultBinder": ')
                return
        self._pending.remove(pod.uid)
        self._count(pod, SCHEDULED)
        await self._tellers[pod.scheduler].scheduled(pod, node)

    def _count(self, pod: Demand, result: str) -> None:
        attempt, now = self._attempts.pop(pod.uid, None), self._clock.monotonic()
        if attempt is not None:
            self.counts.attempted(pod.scheduler, result, now - attempt.began)
            if result == SCHEDULED:
                self.counts.placed(attempt.number, now - attempt.since)

    async def _is_bound_outside(self, pod: Demand, node: str) -> bool:
        """Whether an extender does it, and has. Raises ExtenderError."""
        for extender in self._extenders:
            if extender.bind_verb and extender.is_interested(pod):
                answer = await self.outside.ask(extending.binding(extender, pod, node))
                try:
                    extending.check_bound(answer)
                except ExtenderError:
                    if not extender.is_ignorable:
                        raise
                else:
                    return True
        return False

    async def _prepare(self, pod: Demand, node: str) -> None:
        """That may take its time, in which others are bound."""
        for extra in self._concerned(pod):
            self._binding.release()
            try:
                await extra.prepare(pod, node)
            finally:
                await self._binding.acquire()

    async def _is_bound(self, pod: Demand) -> bool:
        """Whether a binding without an answer was made. Until that is known, nobody gets the pod's room."""
        namespace, name = objects.key(pod.pod)
        while True:
            try:
                found = await self._client.get(POD, name, namespace)
            except (ApiError, TransportError) as error:
                if isinstance(error, ApiError) and error.code < 500 and error.code != 429:
                    return False
            else:
                return objects.uid(found) == pod.uid and bool(found["spec"].get("nodeName"))
            await self._clock.sleep(ASK_AGAIN_SECONDS)

    async def _undo(self, pod: Demand, error: Exception, doing: str = "") -> None:
        """The binding failed: the node is free again, the pod comes back unless the cache knows better."""
        log.info("binding %s: %s", objects.name(pod.pod), error)
        self._count(pod, ERROR)
        is_assumed = pod.uid in self._known.assumed
        for extra in self._concerned(pod):
            extra.release(pod)
        if is_assumed:
            self._known.later(lambda: self._give_back(pod))
        await self._withdraw(pod)
        if not is_assumed:
            return
        is_elsewhere = isinstance(error, ApiError) and (error.code == 409 or is_of_another(error))
        if self._known.is_current(pod) and not is_elsewhere:
            await self._tellers[pod.scheduler].failed(pod, f"{doing}{error}")

    async def _withdraw(self, pod: Demand) -> None:
        for extra in self._concerned(pod):
            try:
                await extra.withdraw(pod)
            except (ApiError, TransportError) as error:
                log.info("taking back what %s had: %s", objects.name(pod.pod), error)

    def _give_back(self, pod: Demand) -> None:
        if pod.uid in self._known.assumed:
            self._known.assumed.discard(pod.uid)
            self._pending.err(pod.uid, self._clock.monotonic())
            self._known.free(pod.uid)
            self._known.changed.set()

    def _refuse(self, pod: Demand, decision: Decision) -> Work:
        """Nothing is free for the pod; perhaps something will be."""
        outcome, snapshot = decision.outcome, self._known.snapshot
        self._count(pod, UNSCHEDULABLE)
        if outcome.node or outcome.message:  # it was looked for
            self.counts.preempted(len(outcome.victims))
        self._pending.fail(pod.uid, self._clock.monotonic(), decision.refusers)
        if outcome.node:
            self._pending.hold(pod.uid, held=True)
        if outcome.node or not outcome.is_kept:
            snapshot.nominate(pod, outcome.node)
        return functools.partial(self._make_room, pod, decision.message, outcome)

    async def _make_room(self, pod: Demand, message: str, outcome: Outcome) -> None:
        teller = self._tellers[pod.scheduler]
        await self._relieve(pod)
        await teller.refused(pod, message, None if outcome.is_kept else outcome.node)
        if not outcome.node:
            return
        try:
            await self._unsettle(pod, outcome.node)
            for victim in outcome.victims:
                await teller.push_out(victim, pod, outcome.node)
        except (ApiError, TransportError) as error:
            log.info("making room for %s: %s", objects.name(pod.pod), error)
            self._pending.err(pod.uid, self._clock.monotonic())
        finally:
            self._pending.hold(pod.uid, held=False)
            self._known.changed.set()

    async def _relieve(self, pod: Demand) -> None:
        for extra in self._concerned(pod):
            try:
                await extra.relieve(pod)
            except (ApiError, TransportError) as error:
                log.info("helping %s: %s", objects.name(pod.pod), error)
                self._pending.err(pod.uid, self._clock.monotonic())
                self._known.changed.set()

    async def _tell(self, pod: Demand, reason: str, message: str) -> None:
        await self._recorders[pod.scheduler].tell(pod.pod, "Normal", reason, message)

    async def _unsettle(self, pod: Demand, node: str) -> None:
        """Less important pods that wait for room on the node look for another one."""
        snapshot = self._known.snapshot
        for other in list(snapshot.nominated.get(node, {}).values()):
            if other.priority < pod.priority:
                self._known.later(functools.partial(snapshot.nominate, other, ""))
                await self._tellers[other.scheduler].unnominate(other)
                self._pending.activate(other.uid)

    def _spawn(self, work: Coroutine[Any, Any, None], pod: Any) -> None:
        self._tasks.spawn(work, f"schedule {objects.name(pod)}")


def _binding(pod: Any, node: str) -> Object:
    namespace, name = objects.key(pod)
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": objects.uid(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
