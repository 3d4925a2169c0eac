"""The gate: decides of each pod that is new on this node whether it begins here, and makes room for critical ones.

Others join by a check of their own: a function of the pod that answers why it is turned away, or None.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sampan.meta import objects
from sampan.node import admission, critical_pods, host_rules, podspec, resize
from sampan.node.admission import Reason
from sampan.node.critical_pods import Candidate
from sampan.node.events import Recorder
from sampan.node.heartbeat import Heartbeat
from sampan.node.observed import Emit, Termination
from sampan.node.parts import AgentSettings
from sampan.node.record import PodRecord
from sampan.node.snapshot import TERMINAL

Object = dict[str, Any]
Check = Callable[[Object], Reason | None]

PREEMPTING = "Preempting"
PREEMPTED = "Preempted in order to admit critical pod"
_DISRUPTED = "Pod was preempted by Kubelet to accommodate a critical pod."


class Gate:
    """Of one node. `records` are the agent's; `wake(uid)` has a pod looked at again."""

    def __init__(
        self,
        settings: AgentSettings,
        heartbeat: Heartbeat,
        recorder: Recorder,
        records: Mapping[str, PodRecord],
        wake: Callable[[str], None],
    ) -> None:
        self._allowed = settings.kubelet.allowed_unsafe_sysctls
        self._heartbeat, self._recorder = heartbeat, recorder
        self._records, self._wake = records, wake
        self._waiting: dict[str, None] = {}
        """The pods that wait for room to be made larger, in the order in which they came."""
        self.checks_before: list[Check] = []
        """Asked before the node's resources are looked at: pressure."""
        self.checks_after: list[Check] = []
        """Asked of a pod that would fit: the node's shutdown."""

    def admit(self, record: PodRecord) -> None:
        """Notes what the pod takes and, if it has not begun yet, whether it is turned away."""
        record.needs = admission.needs(record.pod)
        has_begun = bool((record.pod.get("status") or {}).get("startTime"))
        if has_begun or objects.is_deleting(record.pod):
            return
        reason = self._refusal(record)
        if reason is not None:
            self.reject(record, reason)

    def reject(self, record: PodRecord, reason: Reason) -> None:
        """Turns away a pod of which no container has started yet."""
        record.rejected = reason
        self._recorder.emit(record.pod, Emit("Warning", *reason))
        self._wake(record.uid)

    def unfit(self, record: PodRecord) -> Reason | None:
        """Why the pod can't have other resources now; None if it can, and then they are its own.

        Who waits for room already and is more important has the first choice.
        """
        for other in self._ahead_of(record):
            if self._judge(other) is None:
                self._wake(other.uid)
        return self._judge(record)

    def _ahead_of(self, record: PodRecord) -> list[PodRecord]:
        """Those that wait too and come first: of higher priority, or else more is guaranteed to them, or they wait longer."""
        self._waiting = {uid: None for uid in self._waiting if uid in self._records}
        places = {uid: self._records[uid] for uid in self._waiting}
        queue = sorted({**places, record.uid: record}.values(), key=_importance)
        return [other for other in queue[: queue.index(record)] if takes_room(other) and not other.is_ending]

    def _judge(self, record: PodRecord) -> Reason | None:
        """Whether there is room for the pod as it is wished; then it is the pod's."""
        needs = admission.needs(record.pod)
        others = [other.needs for other in self._others(record)]
        found = admission.unfit(needs, others, self._heartbeat.allocatable())
        if found is None:
            record.needs = needs
        if found is not None and found[0] == "Deferred":
            self._waiting.setdefault(record.uid)
        else:
            self._waiting.pop(record.uid, None)
        return found

    def _refusal(self, record: PodRecord) -> Reason | None:
        pod, others = record.pod, self._others(record)
        node = self._heartbeat.node()
        first = (
            next(filter(None, (check(pod) for check in self.checks_before)), None)
            or host_rules.forbidden_sysctl(pod, self._allowed)
            or admission.wrong_system(pod, node)
        )
        if first is not None:
            return first
        allocatable = self._heartbeat.allocatable()
        short = admission.shortages(record.needs, (other.needs for other in others), allocatable)
        if short and not admission.is_critical(pod):
            return short[0].reason
        if misplaced := admission.misplaced(pod, (other.pod for other in others), node):
            return misplaced
        if late := next(filter(None, (check(pod) for check in self.checks_after)), None):
            return late
        return self._make_room(pod, others, short) if short else None

    def _make_room(self, pod: Object, others: list[PodRecord], short: Any) -> Reason | None:
        by_uid = {other.uid: other for other in others}
        try:
            chosen = critical_pods.victims(pod, [Candidate(other.pod, other.needs) for other in others], short)
        except critical_pods.NoRoom as error:
            text = "Unexpected error while attempting to recover from admission failure"
            cause = f"preemption: error finding a set of pods to preempt: {error}"
            return "UnexpectedAdmissionError", f"{text}: {cause}"
        for candidate in chosen:
            victim = by_uid[objects.uid(candidate.pod)]
            self._recorder.emit(victim.pod, Emit("Warning", PREEMPTING, PREEMPTED))
            grace = podspec.grace_seconds(victim.pod)
            victim.terminated = Termination(PREEMPTING, PREEMPTED, grace, _DISRUPTED)
            self._wake(victim.uid)
        return None

    def _others(self, record: PodRecord) -> list[PodRecord]:
        """The pods that have, or will have, containers here."""
        return [other for other in self._records.values() if other is not record and takes_room(other)]


def _importance(record: PodRecord) -> tuple[int, int, str]:
    """Sorts first who is to be made larger first, as far as the pod tells it."""
    status = record.pod.get("status") or {}
    pending = [c for c in status.get("conditions") or () if c.get("type") == resize.PENDING]
    since = next((str(c.get("lastTransitionTime")) for c in pending), "~")
    return -(record.pod["spec"].get("priority") or 0), int(status.get("qosClass") != "Guaranteed"), since


def takes_room(record: PodRecord) -> bool:
    """Whether the pod still has, or will have, containers here.

    One that was deleted by force is not counted, as the scheduler does not count it, though its containers may take a
    moment to end.
    """
    phase = (record.pod.get("status") or {}).get("phase")
    return not record.is_gone and record.rejected is None and record.terminated is None and phase not in TERMINAL
