"""How many replicas a metric asks for: from what pods use, by upstream's arithmetic in thousandths.

Pods that don't count yet (pending, not ready, without figures) keep a change from being larger than they may turn
out to need.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, quantity, timestamps

CPU_SECONDS = 300.0
"""For so long after a pod's start, its cpu figures count only once it has been ready for a whole window."""
READY_SECONDS = 30.0
"""A pod that is not ready, and has not been since so long after its start, never was."""
NO_PODS = "no pods returned by selector while calculating replica count"
UNREADY = "did not receive metrics for targeted pods (pods might be unready)"


class MetricError(Exception):
    """A metric that says nothing now; the text is for people."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pod uses, in thousandths, over the `window` (seconds) before a time (unix seconds)."""

    value: int
    at: float
    window: float


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much usage may differ from the target before anything is done."""

    down: float
    up: float

    def covers(self, ratio: float) -> bool:
        """Whether the usage, as a multiple of the target, is near enough."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Crowd:
    """The target's pods, how many are wanted now, and what counts as near enough to the wish."""

    pods: Sequence[Object]
    current: int
    tolerance: Tolerance
    now: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """So many replicas, since so much is used (thousandths); `share` is that in percent of what was requested."""

    replicas: int
    used: int
    share: int | None = None


@dataclass(frozen=True, slots=True)
class _Groups:
    counted: dict[str, int]
    unready: frozenset[str]
    missing: frozenset[str]


def of_share(crowd: Crowd, figures: Mapping[str, Measured], resource: str, percent: int, container: str) -> Proposal:
    """So that pods use that much of what they request. Raises MetricError."""
    groups = _groups(crowd, figures, resource)
    requests = _requests(crowd.pods, resource, container)
    ratio, share, used = _share(groups.counted, requests, percent)
    rest = {name: requests[name] * max(100, percent) // 100 for name in groups.missing}

    def ratio_of(values: Mapping[str, int]) -> float:
        return _share(values, requests, percent)[0]

    return Proposal(_settled(crowd, groups, ratio, rest, ratio_of), used, share)


def of_average(crowd: Crowd, figures: Mapping[str, Measured], resource: str, target: int) -> Proposal:
    """So that the average is the target (thousandths). Raises MetricError."""
    groups = _groups(crowd, figures, resource)
    used = _average(groups.counted)

    def ratio_of(values: Mapping[str, int]) -> float:
        return _average(values) / target

    rest = dict.fromkeys(groups.missing, target)
    return Proposal(_settled(crowd, groups, used / target, rest, ratio_of), used)


def of_value(crowd: Crowd, value: int, target: int) -> Proposal:
    """So that one value for all becomes the target, as if it grew with each ready pod. Raises MetricError."""
    ratio = value / target
    if crowd.current == 0:
        return Proposal(math.ceil(ratio), value)
    if crowd.tolerance.covers(ratio):
        return Proposal(crowd.current, value)
    if not crowd.pods:
        raise MetricError(f"unable to calculate ready pods: {NO_PODS}")
    ready = sum((p.get("status") or {}).get("phase") == "Running" and pod.is_ready(p) for p in crowd.pods)
    return Proposal(math.ceil(ratio * ready), value)


def of_part(present: int, tolerance: Tolerance, value: int, target: int) -> Proposal:
    """So that each pod's part of one value becomes the target; `present` is how many pods there are."""
    if present and tolerance.covers(value / (target * present)):
        return Proposal(present, math.ceil(value / present))
    return Proposal(math.ceil(value / target), math.ceil(value / present) if present else 0)


def _groups(crowd: Crowd, figures: Mapping[str, Measured], resource: str) -> _Groups:
    """Whose figures count, who is not ready, and of whom nothing is known. Raises MetricError."""
    if not crowd.pods:
        raise MetricError(NO_PODS)
    names = {objects.name(p) for p in crowd.pods}
    counted = {name: figure.value for name, figure in figures.items() if name not in names}
    unready, missing = set(), set()
    for p in crowd.pods:
        name, phase = objects.name(p), (p.get("status") or {}).get("phase")
        if objects.is_deleting(p) or phase == "Failed":
            continue
        if phase == "Pending":
            unready.add(name)
        elif name not in figures:
            missing.add(name)
        elif resource == "cpu" and not _counts(p, figures[name], crowd.now):
            unready.add(name)
        else:
            counted[name] = figures[name].value
    if not counted:
        raise MetricError(UNREADY)
    return _Groups(counted, frozenset(unready), frozenset(missing))


def _counts(p: Object, figure: Measured, now: float) -> bool:
    """Whether a pod's cpu figure tells of its work rather than of its start."""
    ready, started = conditions.get(p, "Ready"), (p.get("status") or {}).get("startTime")
    if ready is None or not started:
        return False
    since = ready.get("lastTransitionTime")
    begin, changed = timestamps.parse(started), timestamps.parse(since) if since else 0.0
    if begin + CPU_SECONDS > now:
        return ready.get("status") != "False" and figure.at >= changed + figure.window
    return ready.get("status") != "False" or begin + READY_SECONDS <= changed


def _settled(
    crowd: Crowd, groups: _Groups, ratio: float, rest: Mapping[str, int], ratio_of: Callable[[Mapping[str, int]], float]
) -> int:
    """How many replicas a ratio of usage to target asks for; `rest` is what pods without figures may use at most."""
    is_held = bool(groups.unready) and ratio > 1.0
    if not is_held and not groups.missing:
        ready = sum(objects.name(p) in groups.counted for p in crowd.pods)
        return crowd.current if crowd.tolerance.covers(ratio) else math.ceil(ratio * ready)
    values = dict(groups.counted)
    if groups.missing and ratio != 1.0:
        values |= rest if ratio < 1.0 else dict.fromkeys(groups.missing, 0)
    if is_held:
        values |= dict.fromkeys(groups.unready, 0)
    new = ratio_of(values)
    if crowd.tolerance.covers(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
        return crowd.current
    replicas = math.ceil(new * len(values))
    turned = (new < 1.0 and replicas > crowd.current) or (new > 1.0 and replicas < crowd.current)
    return crowd.current if turned else replicas


def _average(values: Mapping[str, int]) -> int:
    return sum(values.values()) // len(values)


def _share(values: Mapping[str, int], requests: Mapping[str, int], percent: int) -> tuple[float, int, int]:
    """The ratio to the target, the share in percent, and the average in thousandths."""
    known = [name for name in values if name in requests]
    total = sum(requests[name] for name in known)
    if not total:
        raise MetricError("no metrics returned matched known pods")
    used = sum(values[name] for name in known)
    share = used * 100 // total
    return share / percent, share, used // len(known)


def _requests(pods: Sequence[Object], resource: str, container: str) -> dict[str, int]:
    """What each pod requests, in thousandths. Raises MetricError where a container says nothing."""
    return {objects.name(p): _request(p, resource, container) for p in pods}


def _request(p: Object, resource: str, container: str) -> int:
    whole = ((p["spec"].get("resources") or {}).get("requests") or {}).get(resource)
    if whole is not None and not container:
        return quantity.to_milli(whole)
    sidecars = [c for c in p["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    total = 0
    for c in (*p["spec"]["containers"], *sidecars):
        if container in ("", c["name"]):
            request = ((c.get("resources") or {}).get("requests") or {}).get(resource)
            if request is None:
                text = f"missing request for {resource} in container {c['name']} of Pod {objects.name(p)}"
                raise MetricError(text)
            total += quantity.to_milli(request)
    return total
