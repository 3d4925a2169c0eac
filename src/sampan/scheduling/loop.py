"""Scheduler: gives each pod without a node the node that suits it, through the API.

Keeps a snapshot from the caches of pods and nodes, takes the next pending pod, asks the cycle, and
binds. A chosen node counts as taken at once (assumed), before the API confirms it; binding goes on
beside the next decisions. A pod that fits nowhere is told so (condition and event) and tried again
when nodes or pods change.

https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import asyncio
import logging
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from sampan.scheduling import cycle, demand
from sampan.scheduling.demand import Demand
from sampan.scheduling.events import Recorder
from sampan.scheduling.pending import Pending
from sampan.scheduling.snapshot import Snapshot

NAME = "default-scheduler"
MAX_BINDING = 64
ASK_AGAIN_SECONDS = 1.0
GATED = "Scheduling is blocked due to non-empty scheduling gates"

Object = dict[str, Any]

log = logging.getLogger(__name__)


class Scheduler:
    """One per cluster. Handles the pods whose schedulerName is `name`."""

    def __init__(self, client: Client, clock: Clock, tasks: Tasks, ids: Ids, name: str = NAME) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._name = name
        self._recorder = Recorder(client, clock, name)
        self._pods = Cache(client, POD, clock=clock, tasks=tasks)
        self._nodes = Cache(client, NODE, clock=clock, tasks=tasks)
        self._snapshot = Snapshot()
        self._pending = Pending()
        self._assumed: set[str] = set()  # uids placed by us and not yet seen bound
        self._changed = asyncio.Event()
        self._binding = asyncio.Semaphore(MAX_BINDING)
        self._running: list[asyncio.Task[None]] = []

    async def start(self, before: "Scheduler | None" = None) -> None:
        """Returns when the caches are filled and pods are being scheduled. What another one saw `before` is known."""
        if before is not None:
            self._nodes.continue_from(before._nodes)
            self._pods.continue_from(before._pods)
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)
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

    def _node_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._snapshot.remove_node(objects.name(old))
        elif self._snapshot.set_node(new):
            self._wake()

    def _pod_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or objects.uid(old) != objects.uid(new)):
            self._forget(objects.uid(old))
        if new is None:
            return
        uid, spec = objects.uid(new), new.get("spec") or {}
        if (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._forget(uid)
        elif spec.get("nodeName"):
            self._assumed.discard(uid)
            self._pending.remove(uid)
            self._snapshot.place(demand.of(new), spec["nodeName"])
        elif uid not in self._assumed:
            self._consider(new)

    def _consider(self, pod: Object) -> None:
        """A pod without a node: ours to place, or not (any more)."""
        uid, spec = objects.uid(pod), pod.get("spec") or {}
        if objects.is_deleting(pod) or (spec.get("schedulerName") or NAME) != self._name:
            self._pending.remove(uid)
        elif spec.get("schedulingGates"):
            self._pending.remove(uid)
            if not _is_told(pod, "SchedulingGated", GATED):
                self._spawn(self._tell(pod, "SchedulingGated", GATED), pod)
        else:
            self._pending.add(demand.of(pod))
            self._changed.set()

    def _forget(self, uid: str) -> None:
        self._pending.remove(uid)
        self._assumed.discard(uid)
        if self._snapshot.displace(uid):
            self._wake()

    def _wake(self) -> None:
        self._pending.wake(self._clock.monotonic())
        self._changed.set()

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
        self._changed.clear()
        due = self._pending.next_due()
        seconds = None if due is None else max(due - self._clock.monotonic(), 0.0)
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _try(self, pod: Demand) -> None:
        """One attempt; what it has to tell or bind goes on by itself."""
        if not self._is_current(pod):  # changed while we waited for our turn
            self._binding.release()
            return
        decision = cycle.decide(pod, self._snapshot)
        if decision.node:
            self._assumed.add(pod.uid)
            self._snapshot.place(pod, decision.node)
            work = self._bind(pod, decision.node)
        else:
            self._pending.fail(pod.uid, self._clock.monotonic())
            work = self._refuse(pod, decision.message)
        self._spawn(self._then_release(work), pod.pod)

    def _is_current(self, pod: Demand) -> bool:
        found = self._pods.get(objects.key(pod.pod))
        return found is not None and objects.uid(found) == pod.uid and not objects.is_deleting(found)

    async def _then_release(self, work: Any) -> None:
        try:
            await work
        finally:
            self._binding.release()

    async def _bind(self, pod: Demand, node: str) -> None:
        key = objects.key(pod.pod)
        try:
            await self._client.create_subresource(POD, key, "binding", _binding(pod.pod, node))
        except (ApiError, TransportError) as error:
            is_known = isinstance(error, ApiError) and error.code < 500
            if is_known or not await self._is_bound(pod):
                self._undo(pod, error)
                return
        self._pending.remove(pod.uid)
        message = f"Successfully assigned {key[0]}/{key[1]} to {node}"
        await self._recorder.tell(pod.pod, "Normal", "Scheduled", message)

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

    def _undo(self, pod: Demand, error: Exception) -> None:
        """The binding failed: the node is free again, the pod comes back unless the cache knows better."""
        log.info("binding %s: %s", objects.name(pod.pod), error)
        if pod.uid not in self._assumed:
            return
        self._assumed.discard(pod.uid)
        self._snapshot.displace(pod.uid)
        self._pending.fail(pod.uid, self._clock.monotonic(), again=True)
        self._wake()

    async def _refuse(self, pod: Demand, message: str) -> None:
        await self._tell(pod.pod, "Unschedulable", message)
        await self._recorder.tell(pod.pod, "Warning", "FailedScheduling", message)

    async def _tell(self, pod: Any, reason: str, message: str) -> None:
        """PodScheduled=False with the reason, unless the pod says so already."""
        key = objects.key(pod)
        known = self._pods.get(key)
        if known is None or objects.uid(known) != objects.uid(pod) or _is_told(known, reason, message):
            return
        listed = conditions.set((), "PodScheduled", "False", reason, message, self._clock.now())
        if (old := conditions.get(known, "PodScheduled")) is not None and old.get("status") == "False":
            listed[0]["lastTransitionTime"] = old.get("lastTransitionTime") or listed[0]["lastTransitionTime"]
        patch = {"metadata": {"uid": objects.uid(pod)}, "status": {"conditions": listed}}
        try:
            await self._client.patch(POD, key, patch, type="strategic", subresource="status")
        except (ApiError, TransportError) as error:
            log.info("condition of %s not written: %s", key[1], error)

    def _spawn(self, work: Any, pod: Any) -> None:
        self._tasks.spawn(work, f"schedule {objects.name(pod)}")


def _is_told(pod: Object, reason: str, message: str) -> bool:
    told = conditions.get(pod, "PodScheduled") or {}
    return (told.get("status"), told.get("reason"), told.get("message")) == ("False", reason, message)


def _binding(pod: Any, node: str) -> Object:
    namespace, name = objects.key(pod)
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": objects.uid(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
