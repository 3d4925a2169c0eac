"""Timeline: what happened in a play, a line for each thing that matters to people, in virtual time.

> is what the scenario does, ! what befalls the cluster; the rest is what came of it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sampan.cluster import story
from sampan.cluster.history import Change
from sampan.meta import conditions, objects
from sampan.sim.outcome import Note, Outcome

Object = dict[str, Any]

SILENT = ("leases.coordination.k8s.io", "endpointslices.discovery.k8s.io", "endpoints", "events.events.k8s.io")
MAX_TEXT = 120
_WAITING = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "RunContainerError")


def lines(played: Outcome, most: int = 0) -> list[str]:
    """The lines; with `most` what is in the middle of a longer story is left out."""
    found = list(_lines(played))
    if not most or len(found) <= most:
        return found
    head = most // 3
    left_out = len(found) - most
    return [*found[:head], f"{'':14} ... {left_out} lines left out", *found[len(found) - (most - head) :]]


def _lines(played: Outcome) -> Iterator[str]:
    told = _Teller()
    notes = list(played.notes)
    for index, change in enumerate(played.changes):
        if index < played.first:
            told.tell(change)
            continue
        while notes and notes[0].position <= index:
            yield _note(notes.pop(0), played.began)
        for text in told.tell(change):
            yield _line(change.time - played.began, *text)
    for note in notes:
        yield _note(note, played.began)


def _note(note: Note, began: float) -> str:
    return f"{story.clock(note.time - began):>14} {_cut(note.text)}"


def _line(time: float, name: str, text: str) -> str:
    return f"{story.clock(time):>14}   {name:<32} {_cut(text)}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _name(kind: str, namespace: str, name: str) -> str:
    """pod/web-1, or with its namespace where that is not default."""
    return f"{kind.lower()}/{name}" + (f" ({namespace})" if namespace not in ("", "default") else "")


class _Teller:
    """Knows each object as it was before."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Object] = {}

    def tell(self, change: Change) -> list[tuple[str, str]]:
        """What is new, each time with the object of which it is; nothing for what only keeps books."""
        if change.resource in SILENT:
            return []
        if change.resource == "events":
            return _event(change.tree)
        namespace, _, name = change.key.rpartition("/")
        shown = _name(str(change.tree.get("kind") or change.resource), namespace, name)
        return [(shown, text) for text in self._tell(change)]

    def _tell(self, change: Change) -> list[str]:
        new = change.tree
        place = (change.resource, change.key)
        old = self._known.pop(place, {})
        if change.type == "DELETED":
            return ["gone"]
        self._known[place] = new
        told = [] if old or change.type != "ADDED" else [_made(new)]
        if objects.is_deleting(new) and not objects.is_deleting(old):
            told.append(_deleting(new))
        return told + _WORDS.get(change.resource, _others)(old, new)


def _event(event: Object) -> list[tuple[str, str]]:
    """Warnings only."""
    if event.get("type") != "Warning":
        return []
    about = event.get("involvedObject") or {}
    name = _name(str(about.get("kind")), str(about.get("namespace") or ""), str(about.get("name")))
    return [(name, f"{event.get('reason')}: {event.get('message')}")]


def _made(obj: Object) -> str:
    owner = objects.controller_of(obj)
    return f"made by {owner['kind'].lower()}/{owner['name']}" if owner else "made"


def _deleting(obj: Object) -> str:
    held = objects.finalizers(obj)
    return "being deleted" + (f", held by {', '.join(held)}" if held else "")


def _pod(old: Object, new: Object) -> list[str]:
    told = []
    if (node := new["spec"].get("nodeName")) and not old.get("spec", {}).get("nodeName"):
        told.append(f"goes to {node}")
    before, now = old.get("status") or {}, new.get("status") or {}
    if now.get("phase") != before.get("phase") and now.get("phase") != "Pending":
        told.append(f"{now.get('phase')}" + (f": {now['reason']}" if now.get("reason") else ""))
    was, is_ = _is(old, "Ready"), _is(new, "Ready")
    if was != is_ and now.get("phase") == "Running":
        told.append("ready" if is_ else "not ready")
    for status in now.get("containerStatuses") or ():
        told += _container(status, before)
    return [", ".join(told).lower()] if told else []


def _container(status: Object, before: Object) -> list[str]:
    was: Object = next((s for s in before.get("containerStatuses") or () if s["name"] == status["name"]), {})
    told = []
    if status.get("restartCount", 0) > was.get("restartCount", 0):
        told.append(f"restart {status['restartCount']} of {status['name']}")
    reason = (status.get("state", {}).get("waiting") or {}).get("reason")
    if reason in _WAITING and reason != (was.get("state", {}).get("waiting") or {}).get("reason"):
        told.append(f"{status['name']}: {reason}")
    return told


def _node(old: Object, new: Object) -> list[str]:
    told = []
    if _is(old, "Ready") != _is(new, "Ready"):
        told.append("ready" if _is(new, "Ready") else "not ready")
    was, now = _taints(old), _taints(new)
    told += [f"tainted {taint}" for taint in now if taint not in was]
    told += [f"no longer tainted {taint}" for taint in was if taint not in now]
    return [", ".join(told)] if told else []


def _taints(node: Object) -> list[str]:
    return list(dict.fromkeys(taint["key"] for taint in node.get("spec", {}).get("taints") or ()))


def _workload(old: Object, new: Object) -> list[str]:
    told = []
    wanted = new["spec"].get("replicas")
    if old and wanted != old["spec"].get("replicas"):
        told.append(f"wants {wanted}")
    if new.get("kind") != "ReplicaSet":
        was, now = _ready(old), _ready(new)
        if was != now:
            told.append(f"{now} of {wanted} ready" if wanted is not None else f"{now} ready")
        told += _turned(old, new)
    return [", ".join(told)] if told else []


def _ready(obj: Object) -> int:
    status = obj.get("status") or {}
    return int(status.get("readyReplicas") or status.get("numberReady") or 0)


def _others(old: Object, new: Object) -> list[str]:
    """Conditions that turned; where there are none, the fields that changed."""
    turned = _turned(old, new)
    if turned or not old:
        return [", ".join(turned)] if turned else []
    if isinstance(new.get("status"), dict) or objects.is_deleting(new) != objects.is_deleting(old):
        return []
    changed = story.difference(old, new)
    return [changed] if changed else []


def _turned(old: Object, new: Object) -> list[str]:
    found = []
    for condition in (new.get("status") or {}).get("conditions") or ():
        was = conditions.get(old, condition.get("type"))
        if (was or {}).get("status") != condition.get("status") and (was or condition.get("status") == "True"):
            found.append(condition["type"] if condition["status"] == "True" else f"not {condition['type']}")
    return found


def _is(obj: Object, type: str) -> bool:
    return bool(obj) and conditions.is_true(obj, type)


_WORDS: dict[str, Callable[[Object, Object], list[str]]] = {
    "pods": _pod,
    "nodes": _node,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
}
