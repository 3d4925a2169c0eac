"""Scheduler: gives each pod without a node the node that suits it, through the API.

Takes the next pending pod, asks the cycle, and binds. A chosen node counts as taken at once (assumed), before the
API confirms it; binding goes on beside the next decisions. A pod that fits nowhere is told so (condition and event),
pods in its way may be pushed out, and it is tried again when a change may help it.

https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.scheduling import cycle, hints
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.scheduling.cycle import Decision, Terms
from sampan.scheduling.demand import Demand
from sampan.scheduling.events import Recorder
from sampan.scheduling.framework import Extra
from sampan.scheduling.observer import Observer
from sampan.scheduling.pending import Pending
from sampan.scheduling.preemption import Outcome
from sampan.scheduling.telling import Teller, is_told
from sampan.scheduling.volumes import Volumes

MAX_BINDING = 64
ASK_AGAIN_SECONDS = 1.0
GATED = "Scheduling is blocked due to non-empty scheduling gates"

Object = dict[str, Any]
Work = Coroutine[Any, Any, None]

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
        self._volumes = Volumes(client, clock, tasks, self.wake)
        self.extras: Sequence[Extra] = (self._volumes,)
        """Plugins that know objects of their own; set before `start`."""
        self._recorders = {name: Recorder(client, clock, name) for name in configuration.profiles}
        self._tellers = {
            name: Teller(client, clock, recorder, self._known.pod) for name, recorder in self._recorders.items()
        }
        self._binding = asyncio.Semaphore(MAX_BINDING)
        self._running: list[asyncio.Task[None]] = []

    async def start(self, before: "Scheduler | None" = None) -> None:
        """Returns when the caches are filled and pods are being scheduled. What another one saw `before` is known."""
        await self._volumes.start(before._volumes if before is not None else None)
        await self._known.start(before._known if before is not None else None)
        if before is not None:
            for name, recorder in self._recorders.items():
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

    def wake(self, plugin: str) -> None:
        """What only this plugin knows has changed: pods that it refused are tried again."""
        self._known.wake(hints.of_plugin(plugin))

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
            self._try(pod)
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

    def _try(self, pod: Demand) -> None:
        """One attempt; what it has to tell or bind goes on by itself."""
        if not self._known.is_current(pod):  # changed while we waited for our turn
            self._binding.release()
            return
        terms = Terms(self._known.profiles[pod.scheduler], self.extras, self._known.budgets)
        decision = cycle.decide(pod, self._known.snapshot, terms)
        work = self._take(pod, decision.node) if decision.node else self._refuse(pod, decision)
        self._spawn(self._then_release(work), pod.pod)

    def _take(self, pod: Demand, node: str) -> Work:
        self._known.assumed.add(pod.uid)
        self._known.snapshot.place(pod, node)
        for extra in self._concerned(pod):
            extra.reserve(pod, node)
        return self._bind(pod, node)

    def _concerned(self, pod: Demand) -> list[Extra]:
        return [extra for extra in self.extras if extra.is_concerned(pod)]

    async def _then_release(self, work: Work) -> None:
        try:
            await work
        finally:
            self._binding.release()

    async def _bind(self, pod: Demand, node: str) -> None:
        key = objects.key(pod.pod)
        try:
            await self._prepare(pod, node)
        except (ApiError, TransportError) as error:
            await self._undo(pod, error)
            return
        try:
            await self._client.create_subresource(POD, key, "binding", _binding(pod.pod, node))
        except (ApiError, TransportError) as error:
            is_known = isinstance(error, ApiError) and error.code < 500
            if is_known or not await self._is_bound(pod):
                await self._undo(pod, error, 'running Bind plugin "DefaultBinder": ')
                return
        self._pending.remove(pod.uid)
        await self._tellers[pod.scheduler].scheduled(pod, node)

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
        for extra in self._concerned(pod):
            extra.release(pod)
        if pod.uid not in self._known.assumed:
            return
        self._known.assumed.discard(pod.uid)
        self._pending.err(pod.uid, self._clock.monotonic())
        self._known.free(pod.uid)
        self._known.changed.set()
        is_elsewhere = isinstance(error, ApiError) and error.code == 409
        if self._known.is_current(pod) and not is_elsewhere:
            await self._tellers[pod.scheduler].failed(pod, f"{doing}{error}")

    def _refuse(self, pod: Demand, decision: Decision) -> Work:
        """Nothing is free for the pod; perhaps something will be."""
        outcome, snapshot = decision.outcome, self._known.snapshot
        self._pending.fail(pod.uid, self._clock.monotonic(), decision.refusers)
        if outcome.node:
            self._pending.hold(pod.uid, held=True)
        if outcome.node or not outcome.is_kept:
            snapshot.nominate(pod, outcome.node)
        return self._make_room(pod, decision.message, outcome)

    async def _make_room(self, pod: Demand, message: str, outcome: Outcome) -> None:
        teller = self._tellers[pod.scheduler]
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

    async def _unsettle(self, pod: Demand, node: str) -> None:
        """Less important pods that wait for room on the node look for another one."""
        snapshot = self._known.snapshot
        for other in list(snapshot.nominated.get(node, {}).values()):
            if other.priority < pod.priority:
                snapshot.nominate(other, "")
                await self._tellers[other.scheduler].unnominate(other)
                self._pending.activate(other.uid)

    def _spawn(self, work: Work, pod: Any) -> None:
        self._tasks.spawn(work, f"schedule {objects.name(pod)}")


def _binding(pod: Any, node: str) -> Object:
    namespace, name = objects.key(pod)
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": objects.uid(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
