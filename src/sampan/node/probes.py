"""Probing containers: a loop for each probe of each running container; verdicts by threshold.

Liveness and readiness wait for the startup probe. A verdict changes only after as many equal outcomes in a
row as the probe's threshold asks for.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node.handlers import Target
from sampan.node.observed import Emit, Probes
from sampan.node.outcome import Outcome
from sampan.node.parts import Handlers
from sampan.node.runtime.protocol import ContainerState

Object = dict[str, Any]
TRIES = 3
KINDS = ("startup", "liveness", "readiness")


@dataclass(eq=False)
class _Watched:
    """One container under probes."""

    state: ContainerState
    spec: Object
    pod_ip: str
    report: Callable[[Emit | None], None]
    verdicts: Probes
    started: asyncio.Event = field(default_factory=asyncio.Event)
    loops: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


class Prober:
    """All probes of the node. `follow` and `forget` are cheap and idempotent."""

    def __init__(self, handlers: Handlers, clock: Clock, tasks: Tasks) -> None:
        self._handlers, self._clock, self._tasks = handlers, clock, tasks
        self._watched: dict[str, _Watched] = {}

    def follow(
        self, state: ContainerState, spec: Object, pod_ip: str, report: Callable[[Emit | None], None], known: Probes
    ) -> None:
        """Probes a running container from now on; `report` hears of each failure and each change."""
        if state.id in self._watched or not any(spec.get(f"{kind}Probe") for kind in KINDS):
            return
        watched = _Watched(state, spec, pod_ip, report, known)
        self._watched[state.id] = watched
        if not spec.get("startupProbe") or known.startup:
            watched.started.set()
        for kind in KINDS:
            probe = spec.get(f"{kind}Probe")
            if probe and not (kind == "startup" and known.startup):
                name = f"{kind} probe of {state.name}"
                watched.loops[kind] = self._tasks.spawn(self._loop(watched, kind, probe), name)

    def forget(self, container_ids: Iterable[str]) -> None:
        """Stops the probes of these containers."""
        for container_id in container_ids:
            watched = self._watched.pop(container_id, None)
            for loop in watched.loops.values() if watched else ():
                loop.cancel()

    def spare(self, container_id: str) -> None:
        """Asks no more whether a container lives that is to end; whether it is ready is still asked."""
        watched = self._watched.get(container_id)
        loops = watched.loops if watched is not None else {}
        for kind in ("startup", "liveness"):
            if (loop := loops.pop(kind, None)) is not None:
                loop.cancel()

    def verdicts(self, container_id: str) -> Probes | None:
        """What is known of a container; None when it isn't probed."""
        watched = self._watched.get(container_id)
        return watched.verdicts if watched else None

    def counts(self) -> Iterator[tuple[ContainerState, str, str, int]]:
        """How often each container was probed: of which kind, with what result."""
        for watched in self._watched.values():
            for (kind, result), count in sorted(watched.counts.items()):
                yield watched.state, kind, result, count

    async def _loop(self, watched: _Watched, kind: str, probe: Object) -> None:
        if kind != "startup":
            await watched.started.wait()
        delay = watched.state.started_at + float(probe.get("initialDelaySeconds") or 0) - self._clock.now()
        if delay > 0:
            await self._clock.sleep(delay)
        period = float(probe.get("periodSeconds") or 10)
        last, run = None, 0
        while True:
            began = self._clock.monotonic()
            outcome = await self._try(watched, kind, probe)
            watched.counts[kind, _result(outcome)] += 1
            if outcome.warned or not outcome.success:
                watched.report(_told(kind, outcome))
            if not outcome.errored:
                run = run + 1 if outcome.success == last else 1
                last = outcome.success
                self._judge(watched, kind, probe, (last, run))
            if _is_final(watched.verdicts, kind):
                return
            await self._clock.sleep(max(period - (self._clock.monotonic() - began), 0.01))

    async def _try(self, watched: _Watched, kind: str, probe: Object) -> Outcome:
        """One try, or a few when it can't be carried out."""
        target = Target(watched.state.id, watched.pod_ip, watched.spec, kind)
        for _ in range(TRIES - 1):
            outcome = await self._handlers.run(probe, target, float(probe.get("timeoutSeconds") or 1))
            if not outcome.errored:
                return outcome
        return await self._handlers.run(probe, target, float(probe.get("timeoutSeconds") or 1))

    def _judge(self, watched: _Watched, kind: str, probe: Object, streak: tuple[bool, int]) -> None:
        success, run = streak
        threshold = probe.get("successThreshold") or 1 if success else probe.get("failureThreshold") or 3
        if run < threshold or getattr(watched.verdicts, kind) == success:
            return
        watched.verdicts = replace(watched.verdicts, **{kind: success})
        if kind == "startup" and success:
            watched.started.set()
        watched.report(None)


def _result(outcome: Outcome) -> str:
    return "successful" if outcome.success else "unknown" if outcome.errored else "failed"


def _is_final(verdicts: Probes, kind: str) -> bool:
    """A startup probe is over once it is judged; a failed liveness probe waits for the kill."""
    return (kind == "startup" and verdicts.startup is not None) or (kind == "liveness" and verdicts.liveness is False)


def _told(kind: str, outcome: Outcome) -> Emit:
    if outcome.warned:
        return Emit("Warning", "ProbeWarning", f"{kind.capitalize()} probe warning: {outcome.output}")
    said = "errored and resulted in unknown state" if outcome.errored else "failed"
    return Emit("Warning", "Unhealthy", f"{kind.capitalize()} probe {said}: {outcome.output}")
