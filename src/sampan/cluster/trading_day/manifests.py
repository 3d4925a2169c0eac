"""Manifests: the market's objects, those of the day's beginning and its schedule; and what a release changes.

The files fit a day of the exchange as they are. On a squeezed one the schedule's jobs come at dates. Pure but for reading.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sampan.cluster import manifests
from sampan.cluster.trading_day import curve
from sampan.cluster.trading_day.curve import Day
from sampan.cluster.trading_day.scenes import Version

Object = dict[str, Any]

NAMESPACE, NAME, CANARY = "trading-day", "market", "market-canary"
SCHEDULE = "CronHorizontalPodAutoscaler"
IMAGE = "market:v1"
_AHEAD_MINUTES = 12.0
"""So long before a rush the jobs named before-... come, in the exchange's time."""
_AHEAD = "before-"


def read(folder: Path) -> list[Object]:
    """All objects of the example. Raises OSError, ApiError."""
    return list(manifests.objects_of(folder))


def at_first(objects: Sequence[Object]) -> list[Object]:
    """All but the schedule, which needs to know when the day begins."""
    return [obj for obj in objects if obj["kind"] != SCHEDULE]


def schedule(objects: Sequence[Object], day: Day) -> list[Object]:
    """The schedule, as it fits that day."""
    return [obj if day.is_genuine else _squeezed(obj, day) for obj in objects if obj["kind"] == SCHEDULE]


def per_pod(objects: Sequence[Object]) -> float:
    """How many orders a second the autoscaler means for a pod."""
    (scaler,) = [obj for obj in objects if obj["kind"] == "HorizontalPodAutoscaler"]
    targets = [metric["external"]["target"] for metric in scaler["spec"]["metrics"]]
    return next(float(target["averageValue"]) for target in targets if "averageValue" in target)


def released(environment: Sequence[Mapping[str, Any]], version: Version) -> list[Object]:
    """What a JSON patch changes of a rollout whose only container has that environment."""
    wanted = {"VERSION": version.name, "FAIL_SHARE": "0", **version.environment}
    names = [entry["name"] for entry in environment]
    kept = [
        {**entry, "value": wanted[entry["name"]]} if entry["name"] in wanted else {**entry} for entry in environment
    ]
    added = [{"name": name, "value": value} for name, value in sorted(wanted.items()) if name not in names]
    return [{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": [*kept, *added]}]


def version(template: Mapping[str, Any]) -> str:
    """Which version a pod template (or a pod) is of."""
    entries = template["spec"]["containers"][0].get("env") or ()
    return next((str(entry.get("value", "")) for entry in entries if entry["name"] == "VERSION"), "")


def _squeezed(obj: Object, day: Day) -> Object:
    jobs = [{**job, "schedule": _date(_moment(job, day))} for job in obj["spec"]["jobs"]]
    return {**obj, "spec": {**obj["spec"], "jobs": jobs}}


def _moment(job: Object, day: Day) -> float:
    """When the job is due. What comes ahead of a rush keeps the time that containers need to start."""
    _, _, minute, hour, *_ = job["schedule"].split()
    at = day.at(curve.moment(int(hour), int(minute)))
    if not job["name"].startswith(_AHEAD):
        return at
    ahead = _AHEAD_MINUTES / curve.MINUTES * day.seconds
    return at - max(curve.LEAD_SECONDS - ahead, 0.0)


def _date(at: float) -> str:
    return f"@date {datetime.fromtimestamp(int(at), UTC):%Y-%m-%d %H:%M:%S}"
