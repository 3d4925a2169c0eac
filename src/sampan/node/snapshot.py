"""What the rules ask about a pod and its observation: attempts, restarts, readiness."""

from dataclasses import dataclass
from typing import Any

from sampan.kit.once import once
from sampan.meta import conditions, objects, timestamps
from sampan.node import backoff, podspec
from sampan.node.observed import Observed, Probes
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState

IMAGE_LABEL = "sampan.io/spec-image"
"""Label of a container with the image's name as the spec had it when it was started."""

TERMINAL = ("Succeeded", "Failed")
RESTARTING = "AllContainersRestarting"
"""The condition of a pod whose containers all begin again."""
NO_PROBES = Probes()


@dataclass(frozen=True)
class Snapshot:
    """A pod, what is observed of it, and the time: everything a decision depends on."""

    pod: dict[str, Any]
    observed: Observed
    now: float

    @once
    def old(self) -> dict[str, Any]:
        """The status as last written."""
        return self.pod.get("status") or {}

    @once
    def attempts(self) -> dict[str, list[ContainerState]]:
        """All attempts by container name, the newest first."""
        found: dict[str, list[ContainerState]] = {}
        for state in sorted(self.observed.containers, key=lambda c: (-c.attempt, -c.created_at)):
            found.setdefault(state.name, []).append(state)
        return found

    @once
    def old_statuses(self) -> dict[str, dict[str, Any]]:
        """The container statuses as last written, by name."""
        kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        return {status.get("name", ""): status for kind in kinds for status in self.old.get(kind) or ()}

    @once
    def old_conditions(self) -> dict[str, dict[str, Any]]:
        """The conditions as last written, by type."""
        return {condition.get("type", ""): condition for condition in reversed(self.old.get("conditions") or ())}

    def latest(self, name: str) -> ContainerState | None:
        """The newest attempt that the runtime has."""
        attempts = self.attempts.get(name)
        return attempts[0] if attempts else None

    def is_running(self, name: str) -> bool:
        """Whether its newest attempt runs (created counts: it will)."""
        state = self.latest(name)
        return state is not None and state.state != EXITED

    def next_attempt(self, name: str) -> int:
        """The number of the attempt that comes next; counts what an earlier life of the node had."""
        state = self.latest(name)
        seen = state.attempt if state else -1
        old = self.old_statuses.get(name) or {}
        earlier = int(old.get("restartCount", 0))
        return max(seen, earlier if old.get("containerID") else earlier - 1) + 1

    def probes(self, name: str) -> Probes:
        """The verdicts on its newest attempt."""
        state = self.latest(name)
        return self.observed.probes.get(state.id, NO_PROBES) if state else NO_PROBES

    def is_started(self, container: dict[str, Any]) -> bool:
        """Running, its postStart hook done, its startup probe passed."""
        name = container["name"]
        state = self.latest(name)
        if state is None or state.state != RUNNING or name in self.observed.hooking:
            return False
        return not container.get("startupProbe") or self.probes(name).startup is True

    def is_ready(self, container: dict[str, Any]) -> bool:
        """Started, and its readiness probe passes."""
        if not self.is_started(container):
            return False
        return not container.get("readinessProbe") or self.probes(container["name"]).readiness is True

    def is_changed(self, container: dict[str, Any]) -> bool:
        """Whether the spec's image is another than the newest attempt was started with."""
        state = self.latest(container["name"])
        started_with = dict(state.labels).get(IMAGE_LABEL) if state else None
        return bool(started_with) and started_with != podspec.image(container)

    def wants_restart(self, container: dict[str, Any], *, init: bool = False) -> bool:
        """Whether its newest attempt, which has ended, is to be followed by another."""
        state = self.latest(container["name"])
        if state is None or self.is_changed(container):
            return True
        policy = container.get("restartPolicy") or podspec.restart_policy(self.pod)
        if podspec.restart_action(container, state.exit_code):
            return True
        if init and not podspec.is_sidecar(container):
            return state.exit_code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and state.exit_code != 0)

    def restart_at(self, container: dict[str, Any]) -> float:
        """The earliest time of the next attempt; 0 for at once."""
        state = self.latest(container["name"])
        if state is None or state.state != EXITED or self.is_changed(container):
            return 0.0
        return backoff.waits_until(self.observed.backoffs.get(container["name"]), state.finished_at)

    @once
    def is_initialized(self) -> bool:
        """Whether every init container is done (a sidecar: started), or was before."""
        if any(self.latest(c["name"]) for c in podspec.app_containers(self.pod)):
            return True
        return all(self.is_init_done(c) for c in podspec.init_containers(self.pod))

    def is_init_done(self, container: dict[str, Any]) -> bool:
        """Whether the next init container may start."""
        if podspec.is_sidecar(container):
            return self.is_started(container)
        state = self.latest(container["name"])
        return state is not None and state.state == EXITED and state.exit_code == 0 and not self.is_changed(container)

    @once
    def failed_init(self) -> bool:
        """Whether an init container failed for good."""
        if self.is_initialized:
            return False
        for container in podspec.init_containers(self.pod):
            state = self.latest(container["name"])
            if state and state.state == EXITED and state.exit_code and not self.wants_restart(container, init=True):
                return True
        return False

    @once
    def is_complete(self) -> bool:
        """Whether no app container runs or will run again."""
        for container in podspec.app_containers(self.pod):
            state = self.latest(container["name"])
            if state is None or state.state != EXITED or self.wants_restart(container):
                return False
        return True

    @once
    def is_beginning_anew(self) -> bool:
        """Whether a container's exit has all containers end and be forgotten, so that the pod starts from its beginning."""
        if not podspec.could_restart_all(self.pod) or self.is_over:
            return False
        if conditions.is_true(self.pod, RESTARTING):
            return True
        containers = (*podspec.init_containers(self.pod), *podspec.app_containers(self.pod))
        return any(self._restarts_all(container) for container in containers)

    def _restarts_all(self, container: dict[str, Any]) -> bool:
        state = self.latest(container["name"])
        if state is None or state.state != EXITED:
            return False
        told = int((self.old_statuses.get(state.name) or {}).get("restartCount", 0))
        return state.attempt >= told and podspec.restart_action(container, state.exit_code) == podspec.RESTART_ALL

    @once
    def deadline(self) -> float | None:
        """When spec.activeDeadlineSeconds is over."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        started = self.old.get("startTime")
        if seconds is None:
            return None
        return (timestamps.parse(started) if started else self.now) + float(seconds)

    @once
    def is_overdue(self) -> bool:
        """Whether the pod has been active longer than it may."""
        if self.old.get("phase") in TERMINAL:
            return self.old.get("reason") == "DeadlineExceeded"
        if self.deadline is None or self.now < self.deadline:
            return False
        return not self.is_complete or any(state.finished_at > self.deadline for state in self.observed.containers)

    @once
    def is_over(self) -> bool:
        """Whether nothing is to be started any more, however its containers ended."""
        return (
            objects.is_deleting(self.pod)
            or self.observed.rejected is not None
            or self.observed.terminated is not None
            or self.old.get("phase") in TERMINAL
            or self.is_overdue
        )

    @once
    def is_ending(self) -> bool:
        """Whether nothing is to be started any more."""
        return self.is_over or (not self.is_beginning_anew and (self.failed_init or self.is_complete))

    @once
    def is_quiet(self) -> bool:
        """Whether no container runs, starts or stops."""
        return not self.observed.starting and all(c.state == EXITED for c in self.observed.containers)
