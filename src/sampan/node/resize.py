"""Resizing containers where they run: what a changed spec asks of the runtime, and what is said until it is so.

A container runs with the resources of its start until a resize of it is done; what the node has not the room for
stays a wish (PodResizePending), what is under way or fails is PodResizeInProgress.

https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.meta import objects
from sampan.node import podspec
from sampan.node.observed import Again, Command, Emit, KillContainer, ResizeContainer, resize_key
from sampan.node.runtime.protocol import RUNNING, ContainerState
from sampan.node.snapshot import Snapshot

Object = dict[str, Any]

RESOURCES_LABEL = "sampan.io/spec-resources"
"""Label of a container with the resources (JSON) that it was started with."""

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
LOOK_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A running container that is to have other resources; `restarts` when only a new start may give them."""

    state: ContainerState
    container: Object
    restarts: bool


def given(
    state: ContainerState, resized: Mapping[str, Object], statuses: Mapping[str, Object], scheme: str
) -> Object | None:
    """The resources that a running container has; None when that is not known.

    What this agent gave it last counts, then what its status says, then what it was started with.
    """
    if state.id in resized:
        return resized[state.id]
    told = statuses.get(state.name) or {}
    if told.get("containerID") == f"{scheme}://{state.id}" and "resources" in told and "running" in told["state"]:
        return dict(told["resources"])
    label = dict(state.labels).get(RESOURCES_LABEL)
    return None if label is None else dict(orjson.loads(label))


def wishes(seen: Snapshot) -> list[Wish]:
    """The running containers whose spec has other resources than they run with."""
    return list(_wishes(seen))


def is_wished(pod: Object, states: Iterable[ContainerState], resized: Mapping[str, Object], scheme: str) -> bool:
    """The same question, before there is a snapshot."""
    wanted: dict[str, Object] | None = None
    statuses: dict[str, Object] = {}
    for state in states:
        if state.state != RUNNING:
            continue
        if wanted is None:
            wanted = {c["name"]: c.get("resources") or {} for _, c in podspec.all_containers(pod)}
            status = pod.get("status") or {}
            kinds = ("initContainerStatuses", "containerStatuses")
            statuses = {s.get("name", ""): s for kind in kinds for s in status.get(kind) or ()}
        if state.name not in wanted:
            continue
        has = given(state, resized, statuses, scheme)
        if has is not None and has != wanted[state.name]:
            return True
    return False


def commands(seen: Snapshot) -> list[Command]:
    """What brings running containers to the resources of their spec, if the node has the room."""
    wanted = wishes(seen)
    if not wanted:
        return [_completed(seen)] if _condition_before(seen, IN_PROGRESS) else []
    if seen.observed.unfit is not None:
        reason, message = seen.observed.unfit
        told = _condition_before(seen, PENDING)
        again: list[Command] = [Again(seen.now + LOOK_AGAIN_SECONDS)]
        if told is None or told.get("reason") != reason:
            again.append(Emit("Warning", f"Resize{reason}", f"Pod resize {reason}: {_summary(seen)}: {message}"))
        return again
    found: list[Command] = []
    if _condition_before(seen, IN_PROGRESS) is None:
        found.append(Emit("Normal", "ResizeStarted", f"Pod resize started: {_summary(seen)}"))
    return found + [command for wish in wanted for command in _step(seen, wish)]


def conditions(seen: Snapshot) -> dict[str, tuple[str, str]]:
    """Reason and message of the conditions that are there, by type."""
    if seen.is_ending or not wishes(seen):
        return {}
    if seen.observed.unfit is not None:
        return {PENDING: seen.observed.unfit}
    keys = [resize_key(wish.state.name) for wish in wishes(seen)]
    failed = [seen.observed.failures[key] for key in keys if key in seen.observed.failures]
    return {IN_PROGRESS: ("Error", failed[0].message) if failed else ("", "")}


def running_with(seen: Snapshot, container: Object) -> tuple[Object, Object]:
    """What a container has now, and what is set aside for it: the same, but while a resize is under way."""
    wanted = container.get("resources") or {}
    state = seen.latest(container["name"])
    if state is None or state.state != RUNNING:
        return wanted, wanted
    has = given(state, seen.observed.resized, seen.old_statuses, seen.observed.runtime)
    if has is None or has == wanted:
        return wanted, wanted
    return has, has if seen.observed.unfit is not None else wanted


def _wishes(seen: Snapshot) -> Iterator[Wish]:
    for _, container in podspec.all_containers(seen.pod):
        state = seen.latest(container["name"])
        if state is None or state.state != RUNNING:
            continue
        has, wanted = running_with(seen, container)[0], container.get("resources") or {}
        if has != wanted:
            yield Wish(state, container, _restarts(container, has, wanted))


def _restarts(container: Object, has: Object, wanted: Object) -> bool:
    """Whether one of the resources that change may only change with a restart."""
    policies = {p["resourceName"]: p.get("restartPolicy") for p in container.get("resizePolicy") or ()}
    return any(
        policy == "RestartContainer" and any(_amount(has, kind, name) != _amount(wanted, kind, name) for kind in _KINDS)
        for name, policy in policies.items()
    )


_KINDS = ("requests", "limits")


def _amount(resources: Object, kind: str, name: str) -> Any:
    return (resources.get(kind) or {}).get(name)


def _step(seen: Snapshot, wish: Wish) -> list[Command]:
    observed, name = seen.observed, wish.state.name
    if wish.state.id in observed.stopping or name in observed.resizing or name in observed.starting:
        return []
    if wish.restarts:
        text = f"Container {name} resize requires restart"
        return [KillContainer(wish.state.id, name, podspec.grace_seconds(seen.pod), text)]
    failure = observed.failures.get(resize_key(name))
    if failure is not None and failure.retry_at > seen.now:
        return [Again(failure.retry_at)]
    return [ResizeContainer(wish.state.id, name, wish.container.get("resources") or {})]


def _completed(seen: Snapshot) -> Emit:
    return Emit("Normal", "ResizeCompleted", f"Pod resize completed: {_summary(seen)}")


def _summary(seen: Snapshot) -> str:
    containers = [
        {"name": c["name"], "resources": c["resources"]}
        for _, c in podspec.all_containers(seen.pod)
        if c.get("resources")
    ]
    return orjson.dumps({"containers": containers, "generation": objects.generation(seen.pod)}).decode()


def _condition_before(seen: Snapshot, type: str) -> Object | None:
    return next((c for c in seen.old.get("conditions") or () if c.get("type") == type), None)
