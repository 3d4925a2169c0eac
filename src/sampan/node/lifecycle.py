"""The lifecycle of a pod on its node: what a kubelet decides, as a rule.

    advance(pod, observed, now) -> (status, commands)

Network and volumes first, then init containers one after the other, then all app containers; an ended
container is restarted as its policy says, with back-off; a pod that is deleted, overdue or complete has
its containers stopped, gives back what it holds and, when deleted, leaves the API.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from typing import Any

from sampan.meta import objects
from sampan.node import backoff, podspec, resize, restart_all, status
from sampan.node.observed import (
    NETWORK,
    VOLUMES,
    Again,
    Command,
    DeletePod,
    Emit,
    GiveUp,
    KillContainer,
    Observed,
    PrepareVolumes,
    RemoveContainer,
    SetupNetwork,
    StartContainer,
    Teardown,
)
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState
from sampan.node.snapshot import TERMINAL, Snapshot

Container = dict[str, Any]

KEPT_ATTEMPTS = 2
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


def advance(pod: dict[str, Any], observed: Observed, now: float) -> tuple[dict[str, Any], tuple[Command, ...]]:
    """The pod's status as of now, and what is to be done next. The pod is not changed."""
    seen = Snapshot(pod, observed, now)
    commands = _end(seen) if seen.is_ending else _keep(seen)
    return status.status(seen), (*commands, *_forget_old_attempts(seen))


def _keep(seen: Snapshot) -> list[Command]:
    """What brings the pod closer to running, or keeps it there."""
    if seen.is_beginning_anew:
        return restart_all.commands(seen)
    commands = _prepare(seen)
    if not _is_prepared(seen):
        return commands
    commands += _restart_unhealthy(seen)
    commands += resize.commands(seen)
    for guest in podspec.guests(seen.pod):
        commands += _start_guest(seen, guest)
    blocked = False
    for container in podspec.init_containers(seen.pod):
        if blocked:
            break
        if not (seen.is_initialized and not podspec.is_sidecar(container)):
            commands += _start(seen, container, init=True)
            blocked = not (seen.is_initialized or seen.is_init_done(container))
    if not blocked:
        for container in podspec.app_containers(seen.pod):
            commands += _start(seen, container)
    if seen.deadline is not None:
        commands.append(Again(seen.deadline))
    return commands


def _prepare(seen: Snapshot) -> list[Command]:
    observed = seen.observed
    commands: list[Command] = []
    has_network = podspec.is_host_network(seen.pod) or observed.pod_ip or observed.network_pending
    if not has_network and (wait := _waits(seen, NETWORK)):
        commands.append(wait)
    elif not has_network:
        commands.append(SetupNetwork())
    if not (observed.volumes_ready or observed.volumes_pending):
        commands.append(_waits(seen, VOLUMES) or PrepareVolumes())
    return commands


def _start_guest(seen: Snapshot, container: Container) -> list[Command]:
    """Starts an ephemeral container, once."""
    name = container["name"]
    was_started = bool((seen.old_statuses.get(name) or {}).get("containerID"))
    if seen.latest(name) is not None or was_started or name in seen.observed.starting:
        return []
    wait = _waits(seen, name)
    return [wait or StartContainer(name, 0)]


def _is_prepared(seen: Snapshot) -> bool:
    has_network = podspec.is_host_network(seen.pod) or bool(seen.observed.pod_ip)
    return has_network and seen.observed.volumes_ready


def _waits(seen: Snapshot, name: str) -> Again | None:
    """Until when a failed step is not tried again."""
    failure = seen.observed.failures.get(name)
    return Again(failure.retry_at) if failure and failure.retry_at > seen.now else None


def _start(seen: Snapshot, container: Container, *, init: bool = False) -> list[Command]:
    """Starts a container that should run and does not, unless it is in back-off."""
    name = container["name"]
    state = seen.latest(name)
    if name in seen.observed.starting or (state and state.state != EXITED):
        return []
    if state and not seen.wants_restart(container, init=init):
        return []
    if wait := _waits(seen, name):
        return [wait]
    at = seen.restart_at(container)
    if at > seen.now:
        return [_back_off_event(seen, name), Again(at)]
    attempt = seen.next_attempt(name)
    if state is None:
        return [StartContainer(name, attempt)]
    remembered = None if seen.is_changed(container) else seen.observed.backoffs.get(name)  # another image begins anew
    return [StartContainer(name, attempt, backoff.after(remembered, seen.now, seen.observed.longest_backoff))]


def _back_off_event(seen: Snapshot, name: str) -> Emit:
    pod = seen.pod
    text = f"Back-off restarting failed container {name} in pod {podspec.full_name(pod)}"
    return Emit("Warning", "BackOff", text, podspec.field_path(pod, name))


def _restart_unhealthy(seen: Snapshot) -> list[Command]:
    """Kills what fails its liveness or startup probe, and what was started from another image."""
    commands: list[Command] = []
    for _, container in podspec.all_containers(seen.pod):
        name = container["name"]
        state = seen.latest(name)
        if state is None or state.state != RUNNING or state.id in seen.observed.stopping:
            continue
        if name in seen.observed.starting:
            continue
        why, grace = _unhealthy(seen, container)
        if why:
            commands.append(KillContainer(state.id, name, grace, why))
    return commands


def _unhealthy(seen: Snapshot, container: Container) -> tuple[str, float]:
    """The Killing event's message, empty for a healthy container, and the grace that applies."""
    name = container["name"]
    if seen.is_changed(container):
        return f"Container {name} definition changed, will be restarted", podspec.grace_seconds(seen.pod)
    verdicts = seen.probes(name)
    for probe, verdict in (("startup", verdicts.startup), ("liveness", verdicts.liveness)):
        if verdict is False:
            own = (container.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds")
            grace = podspec.grace_seconds(seen.pod) if own is None else float(own)
            again = (container.get("restartPolicy") or podspec.restart_policy(seen.pod)) != "Never"
            return f"Container {name} failed {probe} probe" + (", will be restarted" if again else ""), grace
    return "", 0.0


def _end(seen: Snapshot) -> list[Command]:
    """Stops what runs; then gives back what the pod holds; then, if it was deleted, lets go of the object."""
    commands: list[Command] = []
    if _is_overdue_now(seen):
        commands.append(Emit("Normal", "DeadlineExceeded", DEADLINE_MESSAGE))
    observed = seen.observed
    if observed.starting or observed.network_pending or observed.volumes_pending:
        commands.append(GiveUp())
    if not seen.is_quiet:
        return commands + _stop(seen)
    deleting = objects.is_deleting(seen.pod)
    if observed.teardown_pending or observed.volumes_pending or observed.network_pending:
        return commands
    if not observed.torn_down or (deleting and observed.containers):
        return [*commands, Teardown(deleting)]
    if deleting:
        commands.append(DeletePod(objects.uid(seen.pod)))
    return commands


def _is_overdue_now(seen: Snapshot) -> bool:
    """Whether the deadline has just passed: nothing has been stopped for it yet."""
    if not seen.is_overdue or seen.deadline is None or seen.old.get("phase") in TERMINAL or seen.observed.stopping:
        return False
    return all(c.state != EXITED or c.finished_at <= seen.deadline for c in seen.observed.containers)


def _stop(seen: Snapshot) -> list[Command]:
    """Kills what runs: sidecars wait until the others have ended, and the sidecars after them."""
    ended_by = seen.observed.terminated
    grace = podspec.grace_seconds(seen.pod) if ended_by is None else ended_by.grace_seconds
    sidecars = [c["name"] for c in podspec.init_containers(seen.pod) if podspec.is_sidecar(c)]
    running = {c.name: c for c in seen.observed.containers if c.state != EXITED}
    others = [state for name, state in running.items() if name not in sidecars]
    order = [*others, *(running[name] for name in reversed(sidecars) if name in running)]
    return [
        KillContainer(state.id, state.name, grace, f"Stopping container {state.name}", _before(order, number, others))
        for number, state in enumerate(order)
        if state.id not in seen.observed.stopping
    ]


def _before(order: list[ContainerState], number: int, others: list[ContainerState]) -> tuple[str, ...]:
    """The containers that have to end before this one is told to."""
    return tuple(state.id for state in order[:number]) if number >= len(others) else ()


def _forget_old_attempts(seen: Snapshot) -> list[Command]:
    return [
        RemoveContainer(state.id)
        for attempts in seen.attempts.values()
        for state in attempts[KEPT_ATTEMPTS:]
        if state.state == EXITED
    ]
