"""Telling: what becomes of a pod's status and events while the scheduler looks for a node, and those of its victims.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.kit.clock import Clock
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from sampan.scheduling.demand import Demand
from sampan.scheduling.events import Recorder
from sampan.scheduling.preemption import BY_SCHEDULER, TARGET

Object = Mapping[str, Any]
Find = Callable[[tuple[str, str]], Object | None]

SCHEDULED = "PodScheduled"

log = logging.getLogger(__name__)


class Teller:
    """Writes what is new. `find` gives a pod as it was last seen."""

    def __init__(self, client: Client, clock: Clock, recorder: Recorder, find: Find) -> None:
        self._client, self._clock, self._recorder, self._find = client, clock, recorder, find

    async def refused(self, pod: Demand, message: str, nominated: str | None) -> None:
        """No node fits. `nominated` is the node where room is made, "" for none any more, None for no news."""
        await self.condition(pod.pod, "Unschedulable", message, nominated)
        await self._recorder.tell(pod.pod, "Warning", "FailedScheduling", message)

    async def failed(self, pod: Demand, message: str) -> None:
        """Something went wrong that is not the pod's fault."""
        await self.condition(pod.pod, "SchedulerError", message)
        await self._recorder.tell(pod.pod, "Warning", "FailedScheduling", message)

    async def scheduled(self, pod: Demand, node: str) -> None:
        """It has been bound."""
        namespace, name = objects.key(pod.pod)
        message = f"Successfully assigned {namespace}/{name} to {node}"
        await self._recorder.tell(pod.pod, "Normal", "Scheduled", message)

    async def condition(self, pod: Object, reason: str, message: str, nominated: str | None = None) -> None:
        """PodScheduled=False with the reason, unless the pod says so already."""
        key = objects.key(pod)
        known = self._find(key)
        if known is None or objects.uid(known) != objects.uid(pod):
            return
        status: dict[str, Any] = {}
        if not is_told(known, reason, message):
            old = conditions.get(known, SCHEDULED)
            kept = [] if old is None else [old]
            made = conditions.set(kept, SCHEDULED, "False", reason, message, self._clock.now())
            status["conditions"] = [_observed(each, known) for each in made]
        if nominated is not None and nominated != ((known.get("status") or {}).get("nominatedNodeName") or ""):
            status["nominatedNodeName"] = nominated or None
        if not status:
            return
        try:
            await self._patch(known, status)
        except (ApiError, TransportError) as error:
            log.info("condition of %s not written: %s", key[1], error)

    async def push_out(self, victim: Demand, pod: Demand, node: str) -> None:
        """Deletes a pod to make room for another, and says why. Raises ApiError, TransportError."""
        known = self._find(objects.key(victim.pod)) or victim.pod
        if objects.is_deleting(known):
            return
        message = f"{pod.scheduler}: preempting to accommodate a higher priority pod"
        old = conditions.get(known, TARGET)
        kept = [] if old is None else [old]
        made = conditions.set(kept, TARGET, "True", BY_SCHEDULER, message, self._clock.now())
        try:
            await self._patch(known, {"conditions": [_observed(each, known) for each in made]})
            await self._client.delete(POD, objects.key(known), uid=victim.uid)
        except ApiError as error:
            if error.code != 404:
                raise
            return
        told = f"Preempted by pod {pod.uid} on node {node}"
        await self._recorder.tell(known, "Normal", "Preempted", told, related=pod.pod)

    async def unnominate(self, pod: Demand) -> None:
        """The pod waits for room nowhere any more."""
        known = self._find(objects.key(pod.pod))
        if known is None or not (known.get("status") or {}).get("nominatedNodeName"):
            return
        try:
            await self._patch(known, {"nominatedNodeName": None})
        except (ApiError, TransportError) as error:
            log.info("nomination of %s not taken back: %s", objects.name(known), error)

    async def _patch(self, pod: Object, status: dict[str, Any]) -> None:
        patch = {"metadata": {"uid": objects.uid(pod)}, "status": status}
        await self._client.patch(POD, objects.key(pod), patch, type="strategic", subresource="status")


def is_told(pod: Object, reason: str, message: str) -> bool:
    """Whether the pod says already that it is not scheduled, and why."""
    told = conditions.get(pod, SCHEDULED) or {}
    return (told.get("status"), told.get("reason"), told.get("message")) == ("False", reason, message)


def _observed(condition: dict[str, Any], pod: Object) -> dict[str, Any]:
    generation = objects.generation(pod)
    return {**condition, "observedGeneration": generation} if generation else condition
