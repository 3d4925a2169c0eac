"""Report: what a failed test should tell of its cluster, short enough to be read.

The seed and the time, the objects that the test dealt with and what came of them, the last events about
anything else, and what the API refused. All of it is read from the history, so that it can be told of a
cluster in any state.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.cluster import naming, story
from sampan.cluster.doors import Send
from sampan.cluster.history import Change
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects, timestamps
from sampan.meta.status import ApiError, is_of_another
from sampan.node.simulated import Seen
from sampan.server import request_info
from sampan.testing.cluster import Cluster
from sampan.web.message import Request, Response

Object = dict[str, Any]

MAX_OBJECTS = 4
MAX_EVENTS = 8
MAX_CHANGES = 8
MAX_OWNED = 6
MAX_LOGGED = 5
MAX_REFUSALS = 6
MAX_WIDTH = 200
USUAL = frozenset((401, 404, 409, 410))
"""What clients are refused every day, and know how to go on from."""
WRITES = frozenset(("POST", "PUT", "PATCH", "DELETE"))
OWN_PARTS = "system:"
"""So the names of the cluster's own parts begin."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not granted. `time` counts virtual seconds from the start."""

    time: float
    user: str
    request: str
    why: str

    def __str__(self) -> str:
        return f"{story.clock(self.time)} {self.user}: {self.request}: {self.why}"


class Witness:
    """What is not to be read from the history: where a test began, and since then the last unusual refusals and
    what clients of the API wrote to.
    """

    is_harmless = True

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.began = len(cluster.sim.history)
        self.refusals: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        self.written: dict[naming.Named, None] = {}
        cluster.sim.doors.interceptors.insert(0, self)

    async def __call__(self, request: Request, user: str, send: Send) -> Response:
        """See doors.Interceptor."""
        response = await send(request)
        if response.status >= 400 and response.status not in USUAL and not is_of_another(ApiError(_body(response))):
            why = f"{response.status} {_body(response).get('message', '')}".rstrip()
            self.refusals.append(Refusal(self.cluster.time, user, f"{request.method} {request.path}", why))
        elif request.method in WRITES and response.status < 400 and not user.startswith(OWN_PARTS):
            self._note(request, response)
        return response

    def _note(self, request: Request, response: Response) -> None:
        asked = request_info.parse(request)
        if not (asked.is_resource and self.cluster.sim.is_up):
            return
        kind = self.cluster.sim.app.served.find(asked.group, asked.version, asked.resource)
        if kind is None or kind.not_stored or kind.name == EVENT.name:
            return
        name = asked.name or (_body(response).get("metadata") or {}).get("name")
        if name:
            written = naming.Named(kind, name, asked.namespace if kind.namespaced else "")
            self.written.pop(written, None)
            self.written[written] = None


class Report:
    """Of a test's cluster, which may be closed already."""

    def __init__(self, witness: Witness) -> None:
        self._cluster = witness.cluster
        self._refusals = witness.refusals
        self._written = witness.written
        self._changes: dict[tuple[str, str], list[Change]] = {}
        for change in self._cluster.sim.history:
            self._changes.setdefault((change.resource, change.key), []).append(change)
        news = self._cluster.sim.history[witness.began :]
        events = [change for change in news if change.resource == "events" and change.type != "DELETED"]
        self._news = {change.key: change for change in events}

    def __str__(self) -> str:
        """The whole text."""
        touched = [*(named for named in self._written if named not in self._cluster.touched), *self._cluster.touched]
        shown, others = touched[-MAX_OBJECTS:], touched[:-MAX_OBJECTS]
        lines = [self._head()]
        for named in shown:
            lines += ["", *self._object(named)]
        if others:
            lines += ["", f"touched too: {', '.join(str(named) for named in others)}"]
        if found := self._events(lambda about: about not in {_about(named) for named in shown}):
            lines += ["", "events about others:", *_indented(found)]
        if self._refusals:
            lines += ["", "refused:", *_indented(str(refusal) for refusal in self._refusals)]
        return "\n".join(_cut(line, MAX_WIDTH) for line in lines)

    def _head(self) -> str:
        cluster = self._cluster
        nodes = len(cluster.sim.machines)
        moment = timestamps.format(cluster.sim.clock.now())
        return f"seed {cluster.seed}, {nodes} node{'' if nodes == 1 else 's'}, {story.clock(cluster.time)} ({moment})"

    def _object(self, named: naming.Named) -> list[str]:
        key = f"{named.namespace}/{named.name}" if named.namespace else named.name
        changes = self._changes.get((named.kind.resource, key), [])
        obj = _last(changes)
        lines = [str(named)]
        if obj is None or obj.get("status"):
            lines += _indented(story.state_lines(obj))
        owned = [] if obj is None else self._owned(objects.uid(obj))
        if owned:
            lines += ["  owned by it:", *_indented(_listed(owned), 4)]
        if logged := self._logged([each for each in (obj, *owned) if each is not None and each["kind"] == POD.name]):
            lines += ["  logged:", *_indented(logged, 4)]
        if events := self._events(lambda about: about == _about(named)):
            lines += ["  events:", *_indented(events, 4)]
        if changes:
            lines += ["  changes:", *_indented(story.change_lines(changes, MAX_CHANGES), 4)]
        return lines

    def _owned(self, uid: str) -> list[Object]:
        """The objects that exist because of this one."""
        everything = [obj for changes in self._changes.values() if (obj := _last(changes)) is not None]
        found: dict[str, Object] = {}
        owners = {uid}
        while owners:
            owned = {objects.uid(obj): obj for obj in everything if _owner_uids(obj) & owners}
            owners = owned.keys() - found.keys()
            found |= owned
        return list(found.values())

    def _logged(self, pods: list[Object]) -> list[str]:
        """The last words of containers that are not ready."""
        found = []
        for pod in pods:
            seen = {} if conditions.is_true(pod, "Ready") else self._containers(pod)
            for name, container in seen.items():
                where = f"pod/{objects.name(pod)} {name}"
                found += [f"{where}: {line}" for _, line in (container.lines or ())[-MAX_LOGGED:]]
        return found[-MAX_LOGGED:]

    def _containers(self, pod: Object) -> dict[str, Seen]:
        return self._cluster.sim.containers(objects.namespace(pod), objects.name(pod))

    def _events(self, is_told: Callable[[tuple[str, str, str]], bool]) -> list[str]:
        """The last of the events about what is told, warnings rather than others; what is said of many stands once."""
        alike: dict[tuple[str, ...], list[Change]] = {}
        for change in self._news.values():
            event = change.tree
            if is_told(_involved(event)):
                said = (event.get("type", ""), event.get("reason", ""), event.get("message", ""))
                alike.setdefault((*said, _involved(event)[0]), []).append(change)
        found = sorted(alike.values(), key=lambda changes: (_is_warning(changes[0]), changes[-1].time))
        left_out = len(found[:-MAX_EVENTS])
        shown = sorted(found[-MAX_EVENTS:], key=lambda changes: changes[-1].time)
        return [*([f"{left_out} more, and"] if left_out else ()), *(_event_line(changes) for changes in shown)]


def _last(changes: list[Change]) -> Object | None:
    """What the object is like after them."""
    return None if not changes or changes[-1].type == "DELETED" else changes[-1].tree


def _listed(owned: list[Object]) -> list[str]:
    """One line for each; those of which something is untrue first."""
    lines = sorted(map(_brief, owned), key=lambda line: ("=False" not in line, line))
    return lines if len(lines) <= MAX_OWNED else [*lines[:MAX_OWNED], f"and {len(lines) - MAX_OWNED} more"]


def _about(named: naming.Named) -> tuple[str, str, str]:
    return named.kind.name, named.namespace, named.name


def _involved(event: Object) -> tuple[str, str, str]:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return about.get("kind", ""), about.get("namespace") or "", about.get("name", "")


def _is_warning(change: Change) -> bool:
    return bool(change.tree.get("type") == "Warning")


def _event_line(changes: list[Change]) -> str:
    """Of events that say the same about several objects: the last one's."""
    line = f"{story.clock(changes[-1].time)} {story.event_lines([changes[-1].tree])[0]}"
    return _cut(line, MAX_WIDTH - 30) + f" (and {len(changes) - 1} like it)" if len(changes) > 1 else line


def _owner_uids(obj: Object) -> set[str]:
    return {reference["uid"] for reference in objects.owner_references(obj)}


def _brief(obj: Object) -> str:
    status = obj.get("status") or {}
    untrue = [
        f"{condition.get('type')}={condition.get('status')} {condition.get('reason') or ''}".rstrip()
        for condition in status.get("conditions") or ()
        if condition.get("status") != "True"
    ]
    state = ", ".join(filter(None, (status.get("phase"), *untrue, *story.container_troubles(obj))))
    return f"{obj['kind'].lower()}/{objects.name(obj)} {state}".rstrip()


def _body(response: Response) -> Object:
    """The object in its body, if there is one."""
    try:
        body = orjson.loads(response.body) if isinstance(response.body, bytes) else response.body
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _indented(lines: Iterable[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]
