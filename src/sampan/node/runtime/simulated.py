"""A runtime that runs nothing: containers are records that start at once and end as they are told to.

Its version is `simulated://...`, so a node never hides what it is. What a container does is told by labels
of its configuration (the agent passes the pod's annotations of these names on); without them it runs until
it is stopped. What needs a real process (exec, attach) is refused by name.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from importlib import metadata

from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.node.runtime.protocol import (
    EXITED,
    RUNNING,
    AttachSession,
    ContainerConfig,
    ContainerState,
    ExecSession,
    RuntimeFailure,
)

RUN_SECONDS = "simulated.sampan.dev/run-seconds"
"""How long a container runs; `<name>.<container>` speaks of one container of the pod."""
EXIT_CODE = "simulated.sampan.dev/exit-code"
"""With what it then ends; 0 if not given."""
START_ERROR = "simulated.sampan.dev/start-error"
"""The message with which its start fails."""


class SimulatedRuntime:
    """Containers in memory only: they go with the process."""

    def __init__(self, clock: Clock, tasks: Tasks, ids: Ids) -> None:
        self._clock = clock
        self._tasks = tasks
        self._ids = ids
        self._states: dict[str, ContainerState] = {}
        self._ended: asyncio.Queue[ContainerState] = asyncio.Queue()

    @property
    def version(self) -> str:
        """`simulated://` and this package's version."""
        try:
            return "simulated://" + metadata.version("sampan")
        except metadata.PackageNotFoundError:
            return "simulated://unknown"

    async def open(self) -> None:
        """Nothing is there to be taken over."""

    async def start(self, config: ContainerConfig) -> ContainerState:
        """A running container, at once."""
        now = self._clock.now()
        state = ContainerState(
            id=(self._ids.uid() + self._ids.uid()).replace("-", ""),
            pod_uid=config.pod_uid,
            pod_namespace=config.pod_namespace,
            pod_name=config.pod_name,
            name=config.name,
            attempt=config.attempt,
            image_ref=config.image.reference,
            image_id=next(iter(config.image.repo_digests), config.image.id),
            state=RUNNING,
            created_at=now,
            started_at=now,
            log_path=config.log_path,
            labels=config.labels,
        )
        error = _order(config, START_ERROR)
        if error is not None:
            state = dataclasses.replace(
                state, state=EXITED, exit_code=128, reason="StartError", message=error, started_at=0.0, finished_at=now
            )
            self._states[state.id] = state
            raise RuntimeFailure("RunContainerError", error, state)
        seconds = _number(config, RUN_SECONDS)
        code = _number(config, EXIT_CODE) or 0.0
        self._states[state.id] = state
        if seconds is not None:
            self._tasks.spawn(self._end_later(state.id, seconds, int(code)), f"simulated {config.name}")
        return state

    async def kill(self, container_id: str, signal: str) -> None:
        """SIGKILL and SIGTERM end it; other signals do nothing."""
        name = signal.upper().removeprefix("SIG")
        if container_id not in self._states:
            raise RuntimeFailure(
                "NotFound", f'an error occurred when try to find container "{container_id}": not found'
            )
        if name in ("KILL", "9"):
            self._end(container_id, 137)
        elif name in ("TERM", "15"):
            self._end(container_id, 0)

    async def stop(self, container_id: str, signal: str, grace_seconds: float) -> None:
        """It ends at once, and well, unless there is no grace."""
        self._end(container_id, 0 if grace_seconds > 0 else 137)

    async def remove(self, container_id: str) -> None:
        """Forgets it."""
        self._end(container_id, 137)
        self._states.pop(container_id, None)

    async def containers(self) -> list[ContainerState]:
        """All, sorted by id."""
        return [state for _, state in sorted(self._states.items())]

    async def exits(self) -> AsyncIterator[ContainerState]:
        """Each end, once."""
        while True:
            yield await self._ended.get()

    async def exec(
        self, container_id: str, command: tuple[str, ...], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession:
        """Refused."""
        raise _refusal("exec")

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes]:
        """Refused."""
        raise _refusal("exec")

    async def attach(self, container_id: str) -> AttachSession:
        """Refused."""
        raise _refusal("attach")

    async def reopen_log(self, container_id: str) -> None:
        """Refused."""
        raise _refusal("logs")

    async def rotate_logs(self) -> None:
        """There are none."""

    async def close(self) -> None:
        """Nothing is watched."""

    async def cleanup_all(self) -> None:
        """Forgets all."""
        self._states.clear()

    async def _end_later(self, container_id: str, seconds: float, code: int) -> None:
        await self._clock.sleep(seconds)
        self._end(container_id, code)

    def _end(self, container_id: str, code: int) -> None:
        state = self._states.get(container_id)
        if state is None or state.state == EXITED:
            return
        reason = "Error" if code else "Completed"
        ended = dataclasses.replace(state, state=EXITED, exit_code=code, reason=reason, finished_at=self._clock.now())
        self._states[container_id] = ended
        self._ended.put_nowait(ended)


def _refusal(what: str) -> RuntimeFailure:
    return RuntimeFailure("Unsupported", f"{what} is not available: this node's containers are simulated")


def _order(config: ContainerConfig, key: str) -> str | None:
    labels = dict(config.labels)
    return labels.get(f"{key}.{config.name}", labels.get(key))


def _number(config: ContainerConfig, key: str) -> float | None:
    text = _order(config, key)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise RuntimeFailure("CreateContainerConfigError", f"annotation {key}: {text!r} is not a number") from error
    if not 0 <= value < 1e12:
        raise RuntimeFailure("CreateContainerConfigError", f"annotation {key}: {text!r} is out of range")
    return value
