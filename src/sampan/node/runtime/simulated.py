"""A runtime that runs nothing: containers are records that take the course their behaviour says.

Its version is `simulated://...`, so a node never hides what it is. Without a behaviour (see orders.py) a
container starts at once and runs until it is stopped. What needs a real process (exec, attach) is refused
by name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.kit.version import VERSION
from sampan.node.runtime import orders, stages
from sampan.node.runtime.behaviour import BehaviourError
from sampan.node.runtime.orders import Rules, Subject
from sampan.node.runtime.protocol import (
    EXITED,
    RUNNING,
    AttachSession,
    ContainerConfig,
    ContainerState,
    ExecSession,
    Features,
    Resources,
    RuntimeFailure,
    Sandbox,
    below_usage,
    not_found,
)
from sampan.node.runtime.stages import Course, Exit, Moment

KILL = Exit(stages.KILLED)
FEATURES = Features()
"""Nothing is confined, so nothing is missing."""


@dataclass(eq=False)
class _Life:
    """A container, and the course that its life takes from `began` (unix seconds) on.

    `born` is the same moment by the clock that never jumps; `lived` is how long it took, once it is over.
    """

    state: ContainerState
    subject: Subject
    memory_limit: float
    course: Course
    began: float
    born: float
    lived: float = 0.0
    ending: asyncio.Task[None] | None = None


class SimulatedRuntime:
    """Containers in memory only: they go with the process."""

    def __init__(self, clock: Clock, tasks: Tasks, ids: Ids, rules: Rules | None = None) -> None:
        self._clock = clock
        self._tasks = tasks
        self._ids = ids
        self._rules = rules or Rules()
        self._lives: dict[str, _Life] = {}
        self._ended: asyncio.Queue[ContainerState] = asyncio.Queue()

    @property
    def version(self) -> str:
        """`simulated://` and this package's version."""
        return f"simulated://{VERSION}"

    @property
    def features(self) -> Features:
        """What it can do."""
        return FEATURES

    @property
    def handlers(self) -> Mapping[str, Features]:
        """The usual one; any other that is asked for is the same."""
        return {"": self.features}

    def attend(self, tell: Callable[[str], None]) -> None:
        """It never fails as a whole."""

    async def prepare(self, sandbox: Sandbox) -> str:
        """Nothing is needed."""
        return ""

    async def release(self, pod_uid: str) -> None:
        """Nothing is held."""

    def pods(self) -> set[str]:
        """None."""
        return set()

    async def open(self) -> None:
        """Whoever takes over sees in `containers` what has ended."""
        while not self._ended.empty():
            self._ended.get_nowait()

    def continue_from(self, other: SimulatedRuntime) -> None:
        """The same containers run, and end when they would have."""
        for container_id, known in other._lives.items():
            life = self._lives[container_id] = dataclasses.replace(known, ending=None)
            if life.state.state == RUNNING:
                self._schedule(life)

    async def start(self, config: ContainerConfig) -> ContainerState:
        """A running container, as soon as its behaviour wants it to run."""
        container_id = (self._ids.uid() + self._ids.uid()).replace("-", "")
        subject = orders.subject_of(config)
        memory_limit = config.resources.memory_limit
        course = self._decide(subject, config.attempt, memory_limit)
        created = self._clock.now()
        if course.start_seconds > 0:
            await self._clock.sleep(course.start_seconds)
            course = self._decide(subject, config.attempt, memory_limit)  # more may have been said meanwhile
        now = self._clock.now()
        state = _running(config, container_id, created, now)
        life = self._lives[container_id] = _Life(state, subject, memory_limit, course, now, self._clock.monotonic())
        if error := course.start_error:
            life.state = dataclasses.replace(
                state, state=EXITED, exit_code=128, reason="StartError", message=error, started_at=0.0, finished_at=now
            )
            raise RuntimeFailure("RunContainerError", error, life.state)
        self._schedule(life)
        return state

    async def kill(self, container_id: str, signal: str) -> None:
        """SIGKILL ends it, SIGTERM asks it to end; other signals do nothing."""
        name = signal.upper().removeprefix("SIG")
        life = self._lives.get(container_id)
        if life is None:
            raise not_found(container_id)
        if name in ("KILL", "9"):
            self._end(life, KILL)
        elif name in ("TERM", "15") and life.course.stop_seconds < math.inf:
            stopped = self._end_later(life, life.course.stop_seconds, life.course.stop_exit)
            self._tasks.spawn(stopped, f"simulated {life.state.name} stops")

    async def stop(self, container_id: str, signal: str, grace_seconds: float) -> None:
        """It ends as its behaviour says, or is killed when the grace is over."""
        life = self._lives.get(container_id)
        if life is None or life.state.state == EXITED:
            return
        is_soon = life.course.stop_seconds <= grace_seconds and grace_seconds > 0
        if is_soon and life.course.stop_seconds > 0:  # it has its signal, whatever becomes of who sent it
            stopped = self._end_later(life, life.course.stop_seconds, life.course.stop_exit)
            await asyncio.wait([self._tasks.spawn(stopped, f"simulated {life.state.name} stops")])
            return
        if not is_soon and grace_seconds > 0:
            await self._clock.sleep(grace_seconds)
        self._end(life, life.course.stop_exit if is_soon else KILL)

    async def update(self, container_id: str, resources: Resources, pod: Resources) -> None:
        """Takes them, but a memory limit below what its behaviour uses now."""
        moment, limit = self.moment(container_id), resources.memory_limit
        if moment is not None and limit and moment.memory > limit:
            raise below_usage(limit, int(moment.memory))

    async def remove(self, container_id: str) -> None:
        """Forgets it."""
        life = self._lives.pop(container_id, None)
        if life is not None:
            self._end(life, KILL)

    async def containers(self) -> list[ContainerState]:
        """All, sorted by id."""
        return self.states()

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
        self._lives.clear()

    # What only simulated containers can be asked

    def states(self) -> list[ContainerState]:
        """All, sorted by id."""
        return [life.state for _, life in sorted(self._lives.items())]

    def moment(self, container_id: str) -> Moment | None:
        """What its probes say and what it uses now; None for one that does not run."""
        life = self._lives.get(container_id)
        if life is None or life.state.state != RUNNING:
            return None
        return stages.state(life.course, self._age(life))

    def spent(self, container_id: str, window: float) -> tuple[float, float] | None:
        """The core-seconds that a running one has used as it lives now, and the average cores of the window before."""
        life = self._lives.get(container_id)
        if life is None or life.state.state != RUNNING:
            return None
        age = self._age(life)
        whole, seconds = stages.spent(life.course, age), min(age, window)
        if seconds <= 0:
            return whole, stages.state(life.course, age).cpu
        return whole, (whole - stages.spent(life.course, age - seconds)) / seconds

    def lines(self, container_id: str) -> list[tuple[float, str]] | None:
        """What it has logged, each line with its time (unix seconds); None where its behaviour says nothing of logs."""
        life = self._lives.get(container_id)
        if life is None or not any(stage.log for stage in life.course.life.stages):
            return None
        return [(life.began + at, line) for at, line in stages.lines(life.course, self._age(life))]

    def reconsider(self) -> None:
        """Has running containers live, from now on, as the rules now say; those of which nothing new is said go on."""
        for life in list(self._lives.values()):
            if life.state.state != RUNNING:
                continue
            course = self._decide(life.subject, life.state.attempt, life.memory_limit)
            is_new = course.life != life.course.life
            life.course = course
            if is_new:
                life.began, life.born = self._clock.now(), self._clock.monotonic()
                self._schedule(life)

    def _decide(self, subject: Subject, attempt: int, memory_limit: float) -> Course:
        try:
            behaviour = self._rules.behaviour(subject)
        except BehaviourError as error:
            raise RuntimeFailure("CreateContainerConfigError", str(error)) from error
        chance = subject.draw(attempt)
        return stages.course(stages.case_of(behaviour, attempt, chance), chance, memory_limit)

    def _schedule(self, life: _Life) -> None:
        """Ends it when its course does."""
        if life.ending is not None:
            life.ending.cancel()
        if life.course.ends < math.inf:
            ended = self._end_later(life, life.course.ends - self._age(life), life.course.exit)
            life.ending = self._tasks.spawn(ended, f"simulated {life.state.name}")

    def _age(self, life: _Life) -> float:
        """For how long it has lived, in seconds; no finer than wall time can tell."""
        return life.lived if life.state.state == EXITED else round(self._clock.monotonic() - life.born, 6)

    async def _end_later(self, life: _Life, seconds: float, exit: Exit) -> None:
        await self._clock.sleep(seconds)
        self._end(life, exit)

    def _end(self, life: _Life, exit: Exit) -> None:
        if life.state.state == EXITED:
            return
        if life.ending is not None and life.ending is not asyncio.current_task():
            life.ending.cancel()
        life.lived = self._age(life)
        life.state = dataclasses.replace(
            life.state,
            state=EXITED,
            exit_code=exit.code,
            oom_killed=exit.is_oom,
            reason="OOMKilled" if exit.is_oom else "Error" if exit.code else "Completed",
            message=exit.message,
            finished_at=self._clock.now(),
        )
        self._ended.put_nowait(life.state)


def _running(config: ContainerConfig, container_id: str, created: float, now: float) -> ContainerState:
    return ContainerState(
        id=container_id,
        pod_uid=config.pod_uid,
        pod_namespace=config.pod_namespace,
        pod_name=config.pod_name,
        name=config.name,
        attempt=config.attempt,
        image_ref=config.image.reference,
        image_id=next(iter(config.image.repo_digests), config.image.id),
        state=RUNNING,
        created_at=created,
        started_at=now,
        log_path=config.log_path,
        labels=config.labels,
    )


def _refusal(what: str) -> RuntimeFailure:
    return RuntimeFailure("Unsupported", f"{what} is not available: this node's containers are simulated")
