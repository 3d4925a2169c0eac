"""Requests for logs: which attempt of which container is meant, and what of its log is wanted.

https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#read-log-pod-v1-core
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from sampan.meta import timestamps
from sampan.node import logs, podspec
from sampan.node.agent import Agent
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import EXITED, ContainerState
from sampan.node.snapshot import TERMINAL
from sampan.web.message import Request

Object = dict[str, Any]


class Refusal(Exception):
    """An answer other than success, in plain text as upstream's kubelet gives it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def read(agent: Agent, request: Request, names: list[str]) -> AsyncIterator[bytes]:
    """The log of NAMESPACE, POD, CONTAINER as text. Raises Refusal, and RuntimeFailure where there are no logs."""
    return found(agent, request, names)()


def found(agent: Agent, request: Request, names: list[str]) -> Callable[[], AsyncIterator[bytes]]:
    """What opens that log. Raises Refusal; it raises RuntimeFailure, and OSError where too many files are open."""
    namespace, name, container = names
    record = find(agent, namespace, name, container)
    options = _options(request, agent.parts.clock.now())
    state = _attempt(record, container, is_previous=is_set(request, "previous"))
    if not state.log_path:
        raise Refusal(400, f'container "{container}" in pod "{name}" keeps no log')

    def is_over() -> bool:
        now = record.states.get(state.id)
        return now is None or now.state == EXITED

    if agent.parts.logs is not None:
        return partial(agent.parts.logs.read, state, options, is_over)
    return partial(logs.read, state.log_path, options, is_over)


class Followed:
    """A log as it is written, as long as its reader is there; it may be silent for ever. Ends the `hold` that it has."""

    def __init__(self, body: AsyncIterator[bytes], hold: AbstractAsyncContextManager[None]) -> None:
        self._body = body
        self._hold: AbstractAsyncContextManager[None] | None = hold

    def __aiter__(self) -> "Followed":
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._body)

    async def aclose(self) -> None:
        """Nobody wants the rest."""
        hold, self._hold = self._hold, None
        if (close := getattr(self._body, "aclose", None)) is not None:
            await close()
        if hold is not None:
            await hold.__aexit__(None, None, None)


def find(agent: Agent, namespace: str, name: str, container: str) -> PodRecord:
    """The pod on this node, which has such a container. Raises Refusal."""
    record = agent.running(namespace, name)
    if record is None:
        raise Refusal(404, f'pod "{name}" does not exist')
    if podspec.container(record.pod, container) is None:
        raise Refusal(404, f'container "{container}" not found in pod "{name}"')
    return record


def _attempt(record: PodRecord, container: str, *, is_previous: bool) -> ContainerState:
    """The newest attempt, or the one before it."""
    found = sorted((s for s in record.states.values() if s.name == container), key=lambda s: -s.attempt)
    name = record.pod["metadata"]["name"]
    if is_previous:
        if found and _is_waiting(record, container):
            return found[0]  # it has ended, and the next one has not begun yet
        if len(found) < 2 or found[0].attempt == 0:
            raise Refusal(400, f'previous terminated container "{container}" in pod "{name}" not found')
        return found[1]
    if not found:
        raise Refusal(400, f'container "{container}" in pod "{name}" {_lacking(record, container)}')
    return found[0]


def _is_waiting(record: PodRecord, container: str) -> bool:
    found = _told(record, container)
    return "waiting" in found.get("state", {}) and "terminated" in found.get("lastState", {})


def _told(record: PodRecord, container: str) -> Object:
    """The container's status as it was told."""
    status = record.pod.get("status") or {}
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return next((each for kind in kinds for each in status.get(kind) or () if each.get("name") == container), {})


def _lacking(record: PodRecord, container: str) -> str:
    """Why there is no log of it, as upstream ends the sentence."""
    if found := _told(record, container):
        reason = found.get("state", {}).get("waiting", {}).get("reason")
        return f"is waiting to start: {_WAITING.get(reason, reason)}" if reason else "is not available"
    has_begun = record.rejected is None and (record.pod.get("status") or {}).get("phase") not in TERMINAL
    return "is waiting to start: ContainerCreating" if has_begun else "is not available"


_WAITING = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}


def _options(request: Request, now: float) -> logs.Options:
    since = None
    seconds = _number(request, "sinceSeconds")
    if seconds is not None:
        since = now - seconds
    elif text := request.param("sinceTime"):
        try:
            since = timestamps.parse(text)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
    stream = request.param("stream") or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        raise Refusal(400, f'invalid stream "{stream}"')
    return logs.Options(
        follow=is_set(request, "follow"),
        tail_lines=_number(request, "tailLines"),
        since=since,
        timestamps=is_set(request, "timestamps"),
        limit_bytes=_number(request, "limitBytes"),
        stream=stream,
    )


def is_set(request: Request, name: str) -> bool:
    """Whether a parameter says yes."""
    return request.param(name).lower() in ("true", "1")


def _number(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(400, f"{name} must be a number that is not negative")
    return int(text)
