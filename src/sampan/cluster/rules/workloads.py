"""What must hold for those who make pods, and for the pods that they make: never too many, and no way back from an end."""

from collections.abc import Sequence
from typing import Any, ClassVar

from sampan.cluster.history import Change
from sampan.cluster.rules.rule import Rule
from sampan.cluster.rules.world import World
from sampan.kinds.core import pod
from sampan.meta import conditions, intstr, objects

Object = dict[str, Any]

DEPLOYMENTS, REPLICASETS, JOBS, PODS = "deployments.apps", "replicasets.apps", "jobs.batch", "pods"
INDEX = "batch.kubernetes.io/job-completion-index"
LOST = "ContainerStatusUnknown"
_SETS = {"ReplicaSet": REPLICASETS, "ReplicationController": "replicationcontrollers"}


class ReplicaSetsKeepTheirSize(Rule):
    """No pod is made for a ReplicaSet or ReplicationController that has as many as it wants."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)
    is_of_one: ClassVar[bool] = True

    def judge(self, change: Change, old: Object | None) -> str:
        owner = objects.controller_of(change.tree)
        resource = _SETS.get(owner["kind"]) if owner and change.type == "ADDED" else None
        known = _owner_versions(self.world, resource, change.tree)
        if owner is None or resource is None or not known:
            return ""
        wanted = max(_replicas(version) for version in known)
        there = sum(map(pod.is_active, self.world.owned(owner["uid"], PODS))) + 1
        return f"it is pod {there} of {owner['name']}, which wants {wanted}" if there > wanted else ""


class DeploymentsKeepTheirSurge(Rule):
    """A Deployment's ReplicaSets together never grow beyond its replicas and maxSurge."""

    resources: ClassVar[tuple[str, ...]] = (REPLICASETS,)
    is_of_one: ClassVar[bool] = True

    def judge(self, change: Change, old: Object | None) -> str:
        known = _owner_versions(self.world, DEPLOYMENTS, change.tree)
        if not known or change.type == "DELETED" or _replicas(change.tree) <= (_replicas(old) if old else 0):
            return ""
        uid = objects.uid(change.tree)
        owned = self.world.owned(objects.uid(known[-1]), REPLICASETS)
        others = sum(_replicas(each) for each in owned if objects.uid(each) != uid)
        most = max(_replicas(version) + _surge(version) for version in known)
        total = others + _replicas(change.tree)
        name = objects.name(known[-1])
        return f"it makes {total} replicas of Deployment {name}, which allows {most}" if total > most else ""


class JobsKeepTheirBounds(Rule):
    """No pod is made for a Job beyond its parallelism, its completions or its indexes, nor once it is over or suspended."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)
    is_of_one: ClassVar[bool] = True

    def judge(self, change: Change, old: Object | None) -> str:
        owner = objects.controller_of(change.tree)
        known = _owner_versions(self.world, JOBS, change.tree) if change.type == "ADDED" else []
        if owner is None or not known:
            return ""
        active = [p for p in self.world.owned(owner["uid"], PODS) if pod.is_active(p)]
        return _excess(known, active, change.tree)


class JobsCountUp(Rule):
    """A Job's counts of succeeded and failed pods only grow, and a Job that is over stays so, as it ended."""

    resources: ClassVar[tuple[str, ...]] = (JOBS,)

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None:
            return ""
        was, now = old.get("status") or {}, change.tree.get("status") or {}
        if (old["spec"].get("completions")) == change.tree["spec"].get("completions"):
            for name in ("succeeded", "failed"):
                if (now.get(name) or 0) < (was.get(name) or 0):
                    return f"status.{name} fell from {was[name]} to {now.get(name) or 0}"
        ended = [type for type in ("Complete", "Failed") if conditions.is_true(change.tree, type)]
        if len(ended) > 1:
            return "it is both Complete and Failed"
        before = [type for type in ("Complete", "Failed") if conditions.is_true(old, type)]
        if before and ended != before:
            return f"it was {before[0]} and is no longer"
        if was.get("completionTime") and now.get("completionTime") != was["completionTime"]:
            return f"its completionTime changed from {was['completionTime']} to {now.get('completionTime')}"
        return ""


class PodsEndOnce(Rule):
    """A pod that Succeeded or Failed stays so, and no container's restartCount falls."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None:
            return ""
        was, now = old.get("status") or {}, change.tree.get("status") or {}
        if pod.is_terminal(old) and now.get("phase") != was["phase"]:
            return f"it was {was['phase']} and is {now.get('phase')}"
        counts = {c["name"]: c.get("restartCount") or 0 for c in was.get("containerStatuses") or ()}
        for container in now.get("containerStatuses") or ():
            count, before = container.get("restartCount") or 0, counts.get(container["name"], 0)
            if count < before:
                return f"restartCount of container {container['name']} fell from {before} to {count}"
        return ""


class RestartsFollowEnds(Rule):
    """A container takes another one's place only when that one has ended, or is lost, as the pod's status then says."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None or objects.uid(old) != objects.uid(change.tree):
            return ""
        known = {c["name"]: c for c in _statuses(old)}
        for container in _statuses(change.tree):
            before = known.get(container["name"]) or {}
            was, now = before.get("containerID") or "", container.get("containerID") or ""
            ended = [(container.get(state) or {}).get("terminated") or {} for state in ("state", "lastState")]
            is_lost = any(each.get("reason") == LOST for each in ended)
            if was and now != was and not is_lost and was not in [each.get("containerID") for each in ended]:
                return (
                    f"container {container['name']} was {was} and is {now or 'none'}: nothing is said of an end of it"
                )
        return ""


class NothingIsMadeInATerminatingNamespace(Rule):
    """In a namespace that is being deleted nothing is made any more, and it does not go before all in it is gone."""

    def judge(self, change: Change, old: Object | None) -> str:
        if change.resource == "namespaces" and change.type == "DELETED":
            left = [f"{r} {objects.name(o)}" for r in self.world.resources() for o in self.world.all(r, change.key)]
            return f"it went, and left {left[0]} behind" if left else ""
        namespace = objects.namespace(change.tree)
        if not namespace or change.type != "ADDED":
            return ""
        known = self.world.versions("namespaces", namespace)
        is_over = bool(known) and all(map(objects.is_deleting, known))
        return f"it was made though namespace {namespace} is being deleted" if is_over else ""


RULES: tuple[type[Rule], ...] = (
    ReplicaSetsKeepTheirSize,
    DeploymentsKeepTheirSurge,
    JobsKeepTheirBounds,
    JobsCountUp,
    PodsEndOnce,
    RestartsFollowEnds,
    NothingIsMadeInATerminatingNamespace,
)


def _statuses(of: Object) -> Sequence[Object]:
    return (of.get("status") or {}).get("containerStatuses") or ()


def is_finished(job: Object) -> bool:
    """Whether a Job is Complete or Failed."""
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def _owner_versions(world: World, resource: str | None, obj: Object) -> list[Object]:
    """The object's controller as it may have been seen, if it is of that resource; the latest last."""
    owner = objects.controller_of(obj)
    if owner is None or resource is None:
        return []
    namespace = objects.namespace(obj)
    found = world.versions(resource, f"{namespace}/{owner['name']}" if namespace else owner["name"])
    return [version for version in found if objects.uid(version) == owner["uid"]]


def _excess(known: Sequence[Object], active: Sequence[Object], made: Object) -> str:
    """In which way the pod is one too many for a Job; "" when it is not."""
    name, count = objects.name(known[-1]), len(active) + 1
    if all(map(is_finished, known)):
        return f"it was made for Job {name}, which is over"
    if all(version["spec"].get("suspend") for version in known):
        return f"it was made for Job {name}, which is suspended"
    most = max(_number(version["spec"].get("parallelism"), 1) for version in known)
    if count > most:
        return f"it is active pod {count} of Job {name}, whose parallelism is {most}"
    wanted = [version["spec"].get("completions") for version in known]
    if None in wanted:
        return ""
    index = objects.annotations(made).get(INDEX)
    if index is not None:
        taken = any(objects.annotations(p).get(INDEX) == index for p in active)
        beyond = int(index) >= max(wanted)
        return f"index {index} of Job {name} is {'taken already' if taken else 'too high'}" if taken or beyond else ""
    done = min((version.get("status") or {}).get("succeeded") or 0 for version in known)
    if done + count > max(wanted):
        return f"Job {name} wants {max(wanted)} completions and has {done}: active pod {count} is one too many"
    return ""


def _replicas(obj: Object) -> int:
    return _number(obj["spec"].get("replicas"), 1)


def _number(value: int | None, default: int) -> int:
    return default if value is None else value


def _surge(deployment: Object) -> int:
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    return intstr.scaled(surge, _replicas(deployment), round_up=True)
