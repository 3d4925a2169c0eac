"""Counting: what the scheduler tells of its work to whoever measures. Here nobody does."""

from dataclasses import dataclass

SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"


@dataclass(frozen=True, slots=True)
class Attempt:
    """When it began (monotonic), which one it is for the pod, and since when the pod is known."""

    began: float
    number: int
    since: float


class Counts:
    """Seconds are those of the monotonic clock."""

    def decided(self, seconds: float) -> None:
        """A decision was taken, whichever."""

    def attempted(self, profile: str, result: str, seconds: float) -> None:
        """An attempt is over, with its binding: SCHEDULED, UNSCHEDULABLE, or ERROR."""

    def placed(self, attempts: int, seconds: float) -> None:
        """A pod has its node after so many attempts, so long after it came."""

    def preempted(self, victims: int) -> None:
        """It was looked for pods to push out, and so many were found."""
