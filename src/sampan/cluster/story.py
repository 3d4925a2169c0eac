"""Story: what happened to some objects, for people: their states, events and changes, in virtual time."""

from collections.abc import Iterable, Sequence
from typing import Any

from sampan.cluster.history import Change
from sampan.meta import objects, timestamps

Object = dict[str, Any]

MAX_LINES = 40
_SEPARATE = ("metadata.managedFields", "metadata.resourceVersion")


def of_object(obj: Object | None, events: Sequence[Object], changes: Sequence[Change]) -> str:
    """Conditions, events and changes of one object; `obj` None when it is gone."""
    lines = state_lines(obj)
    if events:
        lines += ["events:", *(f"  {line}" for line in event_lines(events))]
    if changes:
        lines += ["changes:", *(f"  {line}" for line in change_lines(changes))]
    return "\n".join(lines)


def event_lines(events: Iterable[Object]) -> list[str]:
    """One line for each Event, as `kubectl get events` has them."""
    found = []
    for event in events:
        about = event.get("involvedObject") or {}
        count = event.get("count") or 1
        times = f" (x{count})" if count > 1 else ""
        what = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
        found.append(f"{event.get('type', '')} {event.get('reason', '')} {what}{times}: {event.get('message', '')}")
    return _cut(found)


def change_lines(changes: Sequence[Change], limit: int = MAX_LINES) -> list[str]:
    """One line for each change, or each of the last so many: when, what, and which fields are new."""
    found, before = [], dict[tuple[str, str], Object]()
    for change in changes:
        key = (change.resource, change.key)
        old = before.get(key)
        said = "" if change.type == "DELETED" else difference(old or {}, change.tree) if old is not None else "made"
        found.append(f"{clock(change.time)} {change.type:8} {change.resource} {change.key} {said}".rstrip())
        before[key] = change.tree
    return _cut(found, limit)


def clock(seconds: float) -> str:
    """Virtual time since the start: 1d 02:03:04.500."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return (f"{int(days)}d " if days else "") + f"{int(hours):02}:{int(minutes):02}:{rest:06.3f}"


def state_lines(obj: Object | None) -> list[str]:
    """Phase, conditions and deletion; None is an object that is gone."""
    if obj is None:
        return ["it does not exist"]
    status = obj.get("status") or {}
    lines = [f"phase: {status['phase']}"] if status.get("phase") else []
    for condition in status.get("conditions") or ():
        why = " ".join(filter(None, (condition.get("reason"), condition.get("message"))))
        lines.append(f"{condition.get('type')}: {condition.get('status')} {why}".rstrip())
    lines += (f"container {said}" for said in container_troubles(obj))
    if (deleted := obj["metadata"].get("deletionTimestamp")) is not None:
        holders = ", ".join(obj["metadata"].get("finalizers") or ()) or "nothing"
        lines.append(f"being deleted since {timestamps.format(timestamps.parse(deleted))}, held by {holders}")
    return lines or [f"{obj['kind']} {objects.name(obj)} has no conditions"]


def container_troubles(obj: Object) -> list[str]:
    """Of each container of a pod that waits, has failed or was restarted: its name and how it is."""
    if (obj.get("apiVersion"), obj.get("kind")) != ("v1", "Pod"):
        return []
    status = obj.get("status") or {}
    found = []
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state, before = each.get("state") or {}, each.get("lastState") or {}
        ended = state.get("terminated") or before.get("terminated") or {}
        said = [(state.get("waiting") or {}).get("reason", "")]
        said += [f"{ended.get('reason', '')} (exit code {ended['exitCode']})"] if ended.get("exitCode") else []
        said += [f"restarted {each['restartCount']}x"] if each.get("restartCount") else []
        if any(said):
            found.append(f"{each['name']}: {', '.join(filter(None, said))}")
    return found


def difference(old: Any, new: Any, path: str = "") -> str:
    """The dotted paths that changed, with their new values where those are short."""
    found = [said for said in _differences(old, new, path) if not said.startswith(_SEPARATE)]
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = list(dict.fromkeys((*new, *old)))
        changed = [name for name in names if old.get(name) != new.get(name)]
        return [s for name in changed for s in _differences(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))]
    shown = str(new)
    return [f"{path}={shown}" if len(shown) <= 40 else path]


def _cut(lines: list[str], limit: int = MAX_LINES) -> list[str]:
    return lines if len(lines) <= limit else [f"... {len(lines) - limit} before", *lines[-limit:]]
