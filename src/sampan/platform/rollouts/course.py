"""Course: one look at a rollout, and what comes of it bit by bit: the next status, sizes, selectors, weights and runs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.control.plan import Event, Question, Write, normal, warning
from sampan.control.view import View
from sampan.kinds.kind import Object
from sampan.meta import hashing, objects, timestamps
from sampan.platform.rollouts import replica_sets

CANARY_PAUSE, BLUE_GREEN_PAUSE, INCONCLUSIVE_PAUSE = "CanaryPauseStep", "BlueGreenPause", "InconclusiveAnalysisRun"
FIELDS_OF_UPDATE = ("abort", "abortedAt", "pauseConditions", "controllerPause", "promoteFull")
OF_ATTEMPT = (
    "currentStepAnalysisRunStatus", "currentBackgroundAnalysisRunStatus", "prePromotionAnalysisRunStatus",
    "postPromotionAnalysisRunStatus", "scaleUpPreviewCheckPoint",
)  # fmt: skip


@dataclass(slots=True)
class Course:
    """`new` has the present template, `stable` is what was promoted last; they may be the same. `others` are neither.

    `weight` is the share of the traffic that routes give the canary; None leaves it. `deadlines` maps names of
    ReplicaSets to when they lose their pods; None takes that back. `selectors` maps Services to hashes.
    """

    view: View
    rollout: Object
    now: float
    new: Object
    stable: Object | None
    others: list[Object]
    status: Object
    sizes: dict[str, int] = field(default_factory=dict)
    deadlines: dict[str, float | None] = field(default_factory=dict)
    selectors: dict[str, str] = field(default_factory=dict)
    weight: int | None = None
    early: list[Write] = field(default_factory=list)
    late: list[Write] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    ask: list[Question] = field(default_factory=list)
    abort_message: str = ""

    @property
    def spec(self) -> Object:
        found: Object = self.rollout["spec"]
        return found

    @property
    def before(self) -> Object:
        found: Object = self.rollout.get("status") or {}
        return found

    @property
    def name(self) -> str:
        return objects.name(self.rollout)

    @property
    def replicas(self) -> int:
        return replica_sets.replicas(self.rollout)

    @property
    def everything(self) -> list[Object]:
        """All ReplicaSets, the new one first."""
        stable = [self.stable] if self.stable is not None and self.stable is not self.new else []
        return [self.new, *stable, *self.others]

    @property
    def revision(self) -> int:
        return replica_sets.revision(self.new)

    @property
    def hash(self) -> str:
        return replica_sets.hash_label(self.new)

    @property
    def stable_hash(self) -> str:
        return str(self.status.get("stableRS") or "")

    @property
    def is_promoted(self) -> bool:
        """Whether there is no update under way."""
        return self.stable_hash == self.hash

    @property
    def is_first(self) -> bool:
        """Whether nothing was ever promoted."""
        return not self.stable_hash

    @property
    def is_aborted(self) -> bool:
        return bool(self.status.get("abort"))

    @property
    def is_full(self) -> bool:
        """Whether all steps, pauses and analyses are to be left out."""
        return bool(self.status.get("promoteFull")) and not self.is_aborted

    @property
    def is_held(self) -> bool:
        """Whether the user has paused it."""
        return bool(self.spec.get("paused"))

    # Pauses

    def paused_since(self, reason: str) -> float | None:
        """Since when there is this reason for a pause; None while there is none."""
        found = next((c for c in self.status.get("pauseConditions") or () if c["reason"] == reason), None)
        return timestamps.parse(found["startTime"]) if found is not None else None

    def pause(self, reason: str) -> None:
        """From now on, until the reason is taken away."""
        if self.paused_since(reason) is None:
            listed = self.status.get("pauseConditions") or []
            self.status["pauseConditions"] = [*listed, {"reason": reason, "startTime": timestamps.format(self.now)}]
        self.status["controllerPause"] = True

    def unpause(self) -> None:
        """No reason is left."""
        self.status.pop("pauseConditions", None)
        self.status.pop("controllerPause", None)

    @property
    def was_unpaused(self) -> bool:
        """Whether the user has taken away all reasons for a pause."""
        return bool(self.before.get("controllerPause")) and not self.before.get("pauseConditions")

    # Ends

    def abort(self, why: str = "") -> None:
        """The update goes back, and stays so until it is tried again."""
        if self.is_aborted:
            return
        self.status["abort"] = True
        self.abort_message = f"Rollout aborted update to revision {self.revision}" + (f": {why}" if why else "")
        self.unpause()
        self.events.append(warning("RolloutAborted", self.abort_message))

    def retry(self) -> None:
        """Once an abort is taken back, what was measured before it doesn't count."""
        if self.is_aborted or not self.status.pop("abortedAt", None):
            return
        for strategy in ("canary", "blueGreen"):
            if strategy in self.status:
                kept = {name: told for name, told in self.status[strategy].items() if name not in OF_ATTEMPT}
                self.status[strategy] = kept

    def promote(self, why: str) -> None:
        """The new version is the stable one."""
        self.status["stableRS"] = self.hash
        for name in FIELDS_OF_UPDATE:
            self.status.pop(name, None)
        text = f"Rollout completed update to revision {self.revision} ({self.hash}): {why}"
        self.events.append(normal("RolloutCompleted", text))

    def start_anew(self) -> None:
        """Another template: what was decided about the one before doesn't count."""
        for name in FIELDS_OF_UPDATE:
            self.status.pop(name, None)

    # Old ReplicaSets

    def retire(self, found: Iterable[Object], delay: float | None) -> None:
        """They lose their pods after the delay; None: never."""
        for replica_set in found:
            name, due = objects.name(replica_set), replica_sets.deadline(replica_set)
            if not replica_sets.size(replica_set) or delay is None:
                continue
            if due is None and delay > 0:
                due = self.deadlines[name] = self.now + delay
            if due is None or due <= self.now:
                self.sizes[name] = 0
                self.deadlines[name] = None
            else:
                self.again.append(due - self.now)

    def keep(self, replica_set: Object | None, size: int) -> None:
        """It has this size, and no end in sight."""
        if replica_set is None:
            return
        if replica_sets.deadline(replica_set) is not None:
            self.deadlines[objects.name(replica_set)] = None
        if replica_sets.size(replica_set) != size:
            self.sizes[objects.name(replica_set)] = size

    def is_full_size(self, replica_set: Object | None, size: int) -> bool:
        """Whether it has so many pods, and all of them are available."""
        return replica_set is not None and replica_sets.size(replica_set) == size <= replica_sets.count(replica_set)


def step_hash(steps: list[Object]) -> str:
    """By which it is seen that the steps have changed."""
    return hashing.template_hash({"steps": steps})
