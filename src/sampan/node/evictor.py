"""The evictor: looks every ten seconds what is left of the node's memory, disk and process ids, and makes room.

Dead containers and unused images go first, where they lie; then one pod in a round, which is gone before the next one is chosen. A
default threshold that the disk was past when the node started isn't applied: whoever wants it so sets it.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

from sampan.node import node_object, pressure, thresholds, victims
from sampan.node.agent import Agent, Object
from sampan.node.evictions import Evictions
from sampan.node.images.model import ImageError
from sampan.node.machine import Machine
from sampan.node.observed import Emit, Termination
from sampan.node.pod_use import PodUse
from sampan.node.pod_uses import PodUses
from sampan.node.pressure import EVICTED
from sampan.node.runtime.protocol import EXITED, RuntimeFailure
from sampan.node.snapshot import TERMINAL
from sampan.node.thresholds import Amount, Threshold

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
CLEANUP_SECONDS = 30.0
"""How long an evicted pod is waited for before the next look."""
NOT_APPLIED = "EvictionThresholdNotApplied"

Reclaim = Callable[[], Awaitable[None]]


class Evictor:
    """Of one node. `remove_images` takes away those that nobody uses."""

    def __init__(
        self, agent: Agent, machine: Machine, evictions: Evictions, uses: PodUses, remove_images: Reclaim
    ) -> None:
        self._agent, self._machine, self._evictions, self._uses = agent, machine, evictions, uses
        self._thresholds: tuple[Threshold, ...] | None = None
        self._past = pressure.Past()
        self._conditions: tuple[str, ...] = ()
        self._last_eviction = 0.0
        self._remove_images = remove_images
        agent.gate.checks_before.append(self._refusal)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except (OSError, ImageError, RuntimeFailure) as error:
                log.warning("looking for pressure: %s", error)
            except Exception:
                log.exception("looking for pressure")
            await self._agent.parts.clock.pulse(LOOK_SECONDS)

    async def look(self) -> None:
        """One round."""
        now = self._agent.parts.clock.now()
        if self._evictions.is_under_way() and now - self._last_eviction < CLEANUP_SECONDS:
            return
        signals = self._machine.signals()
        if self._thresholds is None:
            self._thresholds = self._applied(signals)
        transition = self._agent.settings.kubelet.eviction_pressure_transition_period
        verdict = pressure.judge(self._thresholds, signals, self._past, now, transition)
        self._past = verdict.past
        self._say(verdict.conditions)
        if verdict.due:
            self._emit("Warning", "EvictionThresholdMet", pressure.attempt(verdict.due[0]))
            if not await self._has_reclaimed(verdict.due[0]):
                await self._evict_one(verdict.due, signals)

    async def _has_reclaimed(self, threshold: Threshold) -> bool:
        """Whether all is well again once what nobody uses is gone."""
        if thresholds.CONDITIONS[threshold.signal] != "DiskPressure":
            return False
        is_images = threshold.signal in (thresholds.IMAGE_FS, thresholds.IMAGE_INODES)
        if not (self._machine.has_image_disk and is_images):
            await self._remove_dead()
        if is_images or not self._machine.has_image_disk:
            await self._remove_images()
        signals = self._machine.signals()
        return not any(t.signal in signals and t.is_met(signals[t.signal]) for t in self._thresholds or ())

    async def _remove_dead(self) -> None:
        """Containers that have ended and that nothing follows: all of pods that are over, else former attempts."""
        for record in list(self._agent.records.values()):
            is_over = (record.pod.get("status") or {}).get("phase") in TERMINAL
            newest = {state.name: state.id for state in sorted(record.states.values(), key=lambda s: s.attempt)}
            ended = [state.id for state in record.states.values() if state.state == EXITED]
            for container_id in ended:
                if is_over or container_id not in newest.values():
                    await self._agent.parts.runtime.remove(container_id)
                    record.states.pop(container_id, None)

    async def _evict_one(self, due: tuple[Threshold, ...], signals: Mapping[str, Amount]) -> None:
        records = self._evictions.candidates()
        by_uid = {record.uid: record for record in records}
        is_disk = thresholds.CONDITIONS[due[0].signal] == "DiskPressure"
        uses = await self._uses.with_disk(records) if is_disk else self._uses.without_disk(records)
        for use in victims.rank(due[0].signal, uses, has_image_disk=self._machine.has_image_disk):
            message, marks = victims.message(due, signals, use)
            ended = Termination(EVICTED, message, self._grace(due[0], use), message)
            record = by_uid[use.pod["metadata"]["uid"]]
            if record.terminated is None and self._evictions.evict(record, due[0].signal, ended, marks):
                self._last_eviction = self._agent.parts.clock.now()
                return
        log.warning("%s is low, and there is no pod that could be evicted", due[0].signal)

    def _grace(self, threshold: Threshold, use: PodUse) -> float:
        if threshold.is_hard:
            return victims.SOON_SECONDS
        own = float(use.pod["spec"].get("terminationGracePeriodSeconds", 30))
        return min(float(self._agent.settings.kubelet.eviction_max_pod_grace_period), own)

    def _say(self, conditions: tuple[str, ...]) -> None:
        changed = sorted(set(conditions) ^ set(self._conditions))
        if not changed:
            return
        self._conditions = conditions
        self._agent.heartbeat.say_pressures(conditions)
        for name in changed:
            event = node_object.PRESSURES[name][name in conditions][2]
            self._emit("Normal", event, f"Node {self._agent.settings.node} status is now: {event}")

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        return pressure.refusal(pod, self._conditions)

    def _applied(self, signals: Mapping[str, Amount]) -> tuple[Threshold, ...]:
        """What the configuration says; of the defaults for disks not those that are met as the node starts."""
        kubelet = self._agent.settings.kubelet
        hard = dict(thresholds.hard(kubelet.eviction_hard, is_merged=kubelet.merge_default_eviction_settings))
        for signal in sorted(hard.keys() - (kubelet.eviction_hard or {}).keys()):
            if thresholds.CONDITIONS[signal] != "DiskPressure" or signal not in signals:
                continue
            if Threshold(signal, hard[signal]).is_met(signals[signal]):
                text = f"less than {hard.pop(signal)} was left when the node started"
                self._emit("Warning", NOT_APPLIED, f"The default threshold of {signal} is not applied: {text}")
        soft, graces = kubelet.eviction_soft, kubelet.eviction_soft_grace_period
        return thresholds.all_of(hard, soft, graces, kubelet.eviction_minimum_reclaim)

    def _emit(self, type: str, reason: str, message: str) -> None:
        log.info("%s: %s", reason, message)
        self._agent.recorder.emit(self._agent.heartbeat.node(), Emit(type, reason, message))
