"""History: every change of every object of a simulated cluster, in the order in which it was stored."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from sampan.server.cache import ROOT, splice
from sampan.store.protocol import Event

Object = dict[str, Any]


@dataclass(unsafe_hash=True)  # nobody changes one, and a frozen one would take five times as long to make
class Change:
    """One change in the store: ADDED, MODIFIED or DELETED. `time` counts virtual seconds from the start.

    `resource` is the kind's (deployments.apps), `key` is NAMESPACE/NAME or NAME, and `stored` the object as it is
    stored at `revision`; for a deletion its last state, at the deletion's.
    """

    time: float
    resource: str
    key: str
    type: str
    stored: bytes
    revision: int = 0

    @property
    def data(self) -> bytes:
        """The object with its resourceVersion, if it has one."""
        return splice(self.stored, self.revision) if self.revision else self.stored

    @cached_property
    def tree(self) -> Object:
        """The object, decoded."""
        decoded: Object = orjson.loads(self.data)
        return decoded


def change(event: Event, time: float) -> Change | None:
    """What a store's event says; None when it is about no object."""
    if not event.key.startswith(ROOT):
        return None
    group, plural, key = event.key.removeprefix(ROOT).split("/", 2)
    last = event.value if event.value is not None else event.previous.value if event.previous else None
    if last is None:
        return None
    type = "DELETED" if event.value is None else "MODIFIED" if event.previous else "ADDED"
    resource = plural if group == "core" else f"{plural}.{group}"
    return Change(time, resource, key, type, last, event.revision)


def digest(history: Iterable[Change]) -> str:
    """SHA-256 over every field of every change: equal for equal histories only."""
    summed = hashlib.sha256()
    for change in history:
        head = orjson.dumps([change.time, change.resource, change.key, change.type, len(change.data)])
        summed.update(head + b"\n" + change.data + b"\n")
    return summed.hexdigest()
