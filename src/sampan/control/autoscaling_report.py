"""What an autoscaler tells of one look: conditions and events, gathered on the way, and the status they go into."""

from sampan.control.plan import Event, Plan, Update, plan, warning
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.kind import Object
from sampan.meta import conditions

ABLE, ACTIVE, LIMITED, ZERO = "AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"


class Report:
    """Begins with the conditions that the autoscaler has, or those of another `status`."""

    def __init__(self, hpa: Object, now: float, status: Object | None = None) -> None:
        self._hpa, self._now = hpa, now
        self._old: Object = hpa.get("status") or {}
        self._said: Object = self._old if status is None else status
        self._conditions: list[Object] = list(self._said.get("conditions") or ())
        self._events: list[Event] = []

    def set(self, type: str, status: str, reason: str, message: str) -> None:
        """A condition is so."""
        self._conditions = conditions.set(self._conditions, type, status, reason, message, self._now)

    def warn(self, reason: str, message: str) -> None:
        """An event of type Warning."""
        self._events.append(warning(reason, message))

    def same(self) -> Object:
        """The status that this began with, but for the conditions."""
        return {**self._said, "conditions": self._conditions}

    def status(self, current: int, desired: int | None, metrics: list[Object] | None) -> Object:
        """The status as it is now; `desired` None leaves what was desired before."""
        wanted = self._old.get("desiredReplicas", 0) if desired is None else desired
        made: Object = {"currentReplicas": current or None, "desiredReplicas": wanted, "currentMetrics": metrics}
        made |= {"lastScaleTime": self._old.get("lastScaleTime"), "conditions": self._conditions}
        return made

    def plan(self, status: Object) -> Plan:
        """Tells the events, and writes the status if it differs. Its currentMetrics are null where there are none."""
        shown = {name: value for name, value in status.items() if value is not None}
        if shown == {name: value for name, value in self._old.items() if value is not None}:
            return plan(events=self._events)
        new = {"currentMetrics": None, "desiredReplicas": 0, **shown}
        return plan([Update(HORIZONTALPODAUTOSCALER, {**self._hpa, "status": new}, "status")], events=self._events)
