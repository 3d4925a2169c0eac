"""The two forms of an event, and which events are refused under each.

core/v1 takes what older recorders write; events.k8s.io/v1 wants all of who, what and when, and keeps it.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import names, objects
from sampan.meta.status import Cause, invalid_value, required

OLDER, NEWER = "v1", "events.k8s.io/v1"
_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}
_MOST, _MOST_TEXT = 128, 1024
_TYPES = ("Normal", "Warning")
# What an event of the newer form never changes: name in the older form, and where it is reported.
_FIXED = {
    "involvedObject": "involvedObject",
    "reason": "reason",
    "message": "message",
    "source": "source",
    "firstTimestamp": "firstTimestamp",
    "lastTimestamp": "lastTimestamp",
    "count": "count",
    "type": "type",
    "eventTime": "eventTime",
    "action": "action",
    "related": "related",
    "reportingComponent": "reportingController",
    "reportingInstance": "reportingInstance",
}


def convert(event: Object, api_version: str) -> Object:
    """The event in the form of an apiVersion; the same facts under other names."""
    if event.get("apiVersion") == api_version:
        return event
    renamed = _NEW_NAMES if api_version == NEWER else _OLD_NAMES
    made = {renamed.get(name, name): value for name, value in event.items()}
    made["apiVersion"] = api_version
    default(made)
    return made


def default(event: Object) -> None:
    """The fields that are always on the wire, even when empty."""
    event.setdefault("eventTime", None)
    if event.get("apiVersion") == NEWER:
        for name in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
            event.setdefault(name, None)
        event.setdefault("deprecatedSource", {})
        event.setdefault("regarding", {})
        return
    for name in ("firstTimestamp", "lastTimestamp"):
        event.setdefault(name, None)
    event.setdefault("source", {})
    event.setdefault("involvedObject", {})
    event.setdefault("reportingComponent", "")
    event.setdefault("reportingInstance", "")


def older_causes(event: Mapping[str, Any], reporter: str = "reportingComponent") -> list[Cause]:
    """What is wrong under core/v1: an event lies with what it is about, and a complete one is complete."""
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    own = objects.namespace(event)
    found: list[Cause] = []
    if not event.get("eventTime"):
        if own != about if about else own not in ("", "default"):
            found.append(invalid_value("involvedObject.namespace", about, "does not match event.namespace"))
    else:
        if not about and own not in ("default", "kube-system"):
            found.append(invalid_value("involvedObject.namespace", about, "does not match event.namespace"))
        found += _complete_causes(event, reporter)
    found += [invalid_value("namespace", own, text) for text in names.dns1123_subdomain(own)]
    return found


def _complete_causes(event: Mapping[str, Any], reporter: str) -> list[Cause]:
    found: list[Cause] = []
    who = event.get("reportingComponent") or ""
    if not who:
        found.append(required(reporter))
    found += [invalid_value(reporter, who, text) for text in names.qualified_name(who)]
    for field in ("reportingInstance", "action", "reason"):
        value = event.get(field) or ""
        if not value:
            found.append(required(field))
        if len(value) > _MOST:
            found.append(invalid_value(field, "", f"can have at most {_MOST} characters"))
    if len(event.get("message") or "") > _MOST_TEXT:
        found.append(invalid_value("message", "", f"can have at most {_MOST_TEXT} characters"))
    return found


def newer_causes(event: Object, old: Object | None) -> list[Cause]:
    """What is wrong under events.k8s.io/v1. Fields are named as the older form has them, as upstream does."""
    older = convert(event, OLDER)
    found = older_causes(older, "reportingController")
    series, before = older.get("series"), (old or {}).get("series")
    if old is not None:
        past = convert(old, OLDER)
        if series != before:
            found += _series_causes(series)
        for field, shown in _FIXED.items():
            if (older.get(field) or None) != (past.get(field) or None):
                found.append(invalid_value(shown, older.get(field), "field is immutable"))
        return found
    found += _series_causes(series)
    if not older.get("eventTime"):
        found.append(required("eventTime"))
    if older.get("type") not in _TYPES:
        found.append(invalid_value("type", "", f"has invalid value: {older.get('type') or ''}"))
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if older.get(field):
            found.append(invalid_value(field, "", "needs to be unset"))
    return found


def _series_causes(series: Mapping[str, Any] | None) -> list[Cause]:
    if series is None:
        return []
    found = []
    if (series.get("count") or 0) < 2:
        found.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(required("series.lastObservedTime"))
    return found
