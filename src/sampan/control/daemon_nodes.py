"""Daemon nodes: what each node lacks or has too much of, whatever the update strategy says about old and new pods.

A node that is wanted gets one pod; failed and ended pods go, and so do surplus ones and those of nodes that are
wanted no longer. Where an update may surge, an old and a new pod may share a node for a while.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sampan.control import daemon_failures, daemon_pods, pods
from sampan.control.daemon_failures import Memory
from sampan.control.daemon_pods import Fit
from sampan.control.plan import Event, normal, sooner, warning
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects


@dataclass(frozen=True, slots=True)
class Fleet:
    """One DaemonSet as it is observed: its pods by node, what each node is to it.

    Pods of its present template have the `code` of its revision, or the `number` of changes of its template.
    """

    daemon_set: Object
    fits: Mapping[str, Fit]
    pods: Mapping[str, Sequence[Object]]
    code: str
    number: str | None
    now: float

    @property
    def wanted(self) -> int:
        """On how many nodes there should be a pod."""
        return sum(fit.wanted for fit in self.fits.values())

    def is_available(self, p: Object) -> bool:
        """Whether the pod has been ready for as long as is asked for."""
        return pods.is_available(p, self.daemon_set["spec"].get("minReadySeconds", 0), self.now)

    def is_updated(self, p: Object) -> bool:
        """Whether the pod is of the present template."""
        return daemon_pods.is_updated(p, self.code, self.number)

    def bound(self, name: str, total: int) -> int:
        """What the rolling update's maxSurge or maxUnavailable means of so many nodes, rounded up."""
        strategy = self.daemon_set["spec"].get("updateStrategy") or {}
        rolling = strategy.get("rollingUpdate") or {} if strategy.get("type") == "RollingUpdate" else {}
        return intstr.scaled(rolling.get(name, 0), total, round_up=True)


@dataclass(slots=True)
class Changes:
    """Nodes that get a pod, pods that go, what is told of it, when to look again, and which failures to remember."""

    nodes: list[str] = field(default_factory=list)
    doomed: list[Object] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    again: float | None = None
    failures: Memory = field(default_factory=dict)

    @property
    def are_none(self) -> bool:
        """Whether every node has what it needs."""
        return not self.nodes and not self.doomed


def changes(fleet: Fleet, failures: Memory) -> Changes:
    """What is to be done now on all nodes."""
    found = Changes(failures=daemon_failures.still_known(failures, fleet.daemon_set, fleet.now))
    can_surge = fleet.bound("maxSurge", 1) > 0
    for node, fit in fleet.fits.items():
        there = fleet.pods.get(node, ())
        if fit.wanted and not there:
            found.nodes.append(node)
        elif fit.kept:
            _look_after(fleet, node, found, can_surge=can_surge)
        else:
            found.doomed += _staying(there)
    found.doomed += _stranded(fleet)
    return found


def _staying(there: Sequence[Object]) -> list[Object]:
    return [p for p in there if not objects.is_deleting(p)]


def _stranded(fleet: Fleet) -> list[Object]:
    """Pods for nodes that are gone, which the scheduler can't place and nobody else deletes."""
    lost = [p for node in sorted(fleet.pods.keys() - fleet.fits.keys()) for p in fleet.pods[node]]
    return [p for p in _staying(lost) if not pod.is_scheduled(p)]


def _look_after(fleet: Fleet, node: str, found: Changes, *, can_surge: bool) -> None:
    staying = _staying(fleet.pods.get(node, ()))
    running = [p for p in staying if not pod.is_terminal(p)]
    for p in staying:
        if pod.is_terminal(p):
            _end(fleet, node, p, found)
    if not can_surge:
        found.doomed += running[1:]
    elif not running and fleet.fits[node].wanted:
        found.nodes.append(node)
    elif len(running) > 1:
        found.doomed += _crowding(fleet, running)


def _end(fleet: Fleet, node: str, p: Object, found: Changes) -> None:
    """A pod that has ended goes, at once or after a while, so that another can come."""
    where = f"daemon pod {objects.namespace(p)}/{objects.name(p)} on node {node}"
    if (p.get("status") or {}).get("phase") == "Succeeded":
        found.events.append(normal("SucceededDaemonPod", f"Found succeeded {where}, will try to delete it"))
        found.doomed.append(p)
        return
    wait = daemon_failures.left(found.failures, fleet.daemon_set, node, fleet.now)
    if wait > 0:
        found.again = sooner(found.again, wait)
        return
    found.failures = daemon_failures.after_another(found.failures, fleet.daemon_set, node, fleet.now)
    found.events.append(warning("FailedDaemonPod", f"Found failed {where}, will try to kill it"))
    found.doomed.append(p)


def _crowding(fleet: Fleet, running: Sequence[Object]) -> list[Object]:
    """All but the oldest new pod, and the oldest old one for as long as it serves and the new one is not available."""
    new = [p for p in running if objects.labels(p).get(daemon_pods.HASH) == fleet.code]
    old = [p for p in running if p not in new]
    doomed = [*new[1:], *old[1:]]
    if new and old and (not pod.is_ready(old[0]) or fleet.is_available(new[0])):
        doomed.append(old[0])
    return doomed
