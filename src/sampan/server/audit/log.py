"""The audit log: who asked what, when, and what came of it, one JSON line per stage, in files of bounded size.

Lines are gathered for a moment and written together. A file that is full is put aside under the time, and
the oldest of those put aside are removed.

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#log-backend
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import orjson

from sampan.meta import timestamps
from sampan.meta.wire import yaml
from sampan.server.audit import policy
from sampan.server.audit.event import Event
from sampan.server.audit.policy import Policy
from sampan.server.authz.decision import Attributes
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request, Response

LOG = logging.getLogger(__name__)
MAX_FILE_BYTES = 100 << 20
MAX_FILES = 10
MAX_WAITING_BYTES = 256 << 10
WAIT_SECONDS = 0.05
_NOBODY = User("")


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class File:
    """PATH, and beside it what was put aside: audit-2026-01-01T00-00-00.000000Z.log"""

    def __init__(self, path: Path, now: Callable[[], float], max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path, self._now, self._max_bytes = path, now, max_bytes
        self._descriptor = _open(path)
        self._size = os.fstat(self._descriptor).st_size
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: bytes) -> None:
        """The line is in the file a moment later."""
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what waits. What a full disk refuses is lost, and said so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if not data:
            return
        try:
            if self._size and self._size + len(data) > self._max_bytes:
                self._put_aside()
            os.write(self._descriptor, data)
            self._size += len(data)
        except OSError as error:
            LOG.error("the audit log %s cannot be written: %s", self._path, error)  # noqa: TRY400 (no story of ours)

    def close(self) -> None:
        self.flush()
        os.close(self._descriptor)

    def _put_aside(self) -> None:
        stamp = timestamps.format_micro(self._now()).replace(":", "-")
        os.close(self._descriptor)
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        self._descriptor, self._size = _open(self._path), 0
        old = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"))
        for path in old[:-MAX_FILES]:
            path.unlink(missing_ok=True)


class Audit:
    """Opens an event for each request that the policy asks about, and writes it at its stages."""

    def __init__(self, rules: Policy, sink: Sink, now: Callable[[], float]) -> None:
        self._rules, self._sink, self._now = rules, sink, now
        self.written = 0

    def open(
        self, audit_id: str, request: Request, info: RequestInfo, asked: Attributes, user: User | None
    ) -> Event | None:
        """The event of a request that has just come, None when it is not recorded."""
        recording = self._rules.recording(user or _NOBODY, asked)
        if recording is None:
            return None
        event = Event(audit_id, recording, request, info, user, self._now())
        self._write(event, policy.RECEIVED)
        if event.wants_request and info.is_resource and request.body:
            event.request_object = _body(request.body, request.headers.get("content-type", ""))
        return event

    def started(self, event: Event) -> None:
        """A response that goes on for long has begun."""
        event.status = {"code": 200}
        self._write(event, policy.STARTED)

    def complete(self, event: Event, response: Response) -> None:
        """The response is there."""
        body = response.body
        refusal = _refusal(body, response.content_type) if response.status >= 400 else None
        event.status = refusal or {"code": response.status}
        if event.wants_response and event.info.is_resource and isinstance(body, bytes | dict):
            event.response_object = _body(body, response.content_type)
        self._write(event, policy.COMPLETE)

    def failed(self, event: Event) -> None:
        """The server failed on the request."""
        event.status = {"status": "Failure", "reason": "InternalError", "code": 500}
        self._write(event, policy.PANIC)

    def close(self) -> None:
        """Writes what waits."""
        self._sink.close()

    def _write(self, event: Event, stage: str) -> None:
        if stage not in event.recording.omitted_stages:
            self.written += 1
            self._sink.write(event.line(stage, self._now()))


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _body(body: object, media: str) -> object:
    """A body as a tree; None when it is neither JSON nor YAML, or not a whole one."""
    if isinstance(body, dict):
        return body
    if not isinstance(body, bytes):
        return None
    try:
        if "yaml" in media:
            found: object = yaml.decode(body)
            return found
        return orjson.loads(body)
    except Exception:  # noqa: BLE001 (what cannot be read is answered with 400; here it is just not recorded)
        return _protobuf(body, media)


def _protobuf(body: bytes, media: str) -> object:
    if "protobuf" not in media:
        return None
    from sampan.meta.wire import protobuf

    try:
        found: object = protobuf.decode(body)
    except Exception:  # noqa: BLE001 (as above)
        return None
    return found


def _refusal(body: object, media: str) -> dict[str, object] | None:
    """The Status of a refusal, without kind and version."""
    tree = _body(body, media)
    if not isinstance(tree, dict) or tree.get("kind") != "Status":
        return None
    return {k: v for k, v in tree.items() if k not in ("kind", "apiVersion", "metadata")}
