"""Judge: how any object is: the rule of its kind, or what it says of itself; and everything in a namespace that is not well.

A rule is `(object, lookup) -> Verdict`: given trees in, a value out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.batch.cron_job import CRONJOB
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.kinds.networking.ingress import INGRESS
from sampan.kinds.policy.pod_disruption_budget import PODDISRUPTIONBUDGET
from sampan.meta import objects
from sampan.platform.health import (
    autoscalers,
    budgets,
    customs,
    deletions,
    ingresses,
    jobs,
    nodes,
    pods,
    services,
    volumes,
    words,
    workloads,
)
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import HEALTHY, STUCK, Verdict, about, because, rank

Object = Mapping[str, Any]
Rule = Callable[[Object, Lookup], Verdict]

RULES: dict[Kind, Rule] = {
    POD: pods.judge,
    DEPLOYMENT: workloads.deployment,
    REPLICASET: workloads.replica_set,
    REPLICATIONCONTROLLER: workloads.replica_set,
    STATEFULSET: workloads.stateful_set,
    DAEMONSET: workloads.daemon_set,
    JOB: jobs.job,
    CRONJOB: jobs.cron_job,
    SERVICE: services.judge,
    INGRESS: ingresses.judge,
    PERSISTENTVOLUMECLAIM: volumes.claim,
    PERSISTENTVOLUME: volumes.volume,
    NODE: nodes.judge,
    NAMESPACE: deletions.namespace,
    HORIZONTALPODAUTOSCALER: autoscalers.judge,
    PODDISRUPTIONBUDGET: budgets.judge,
}
WORKLOADS = (DEPLOYMENT, STATEFULSET, DAEMONSET, CRONJOB, JOB, REPLICATIONCONTROLLER, REPLICASET, POD)
SHARED = (NODE, NAMESPACE, PERSISTENTVOLUME, APISERVICE, CUSTOMRESOURCEDEFINITION)
OTHERS = (SERVICE, INGRESS, PERSISTENTVOLUMECLAIM, HORIZONTALPODAUTOSCALER, PODDISRUPTIONBUDGET)


def judge(obj: Object, kind: Kind, look: Lookup) -> Verdict:
    """How an object is, and why."""
    tree = obj if "kind" in obj else {"apiVersion": kind.api_version, "kind": kind.name, **obj}
    if kind not in (POD, NAMESPACE):
        leaving = deletions.judge(tree, look)
        if leaving is not None:
            return leaving
    rule = RULES.get(kind)
    return rule(tree, look) if rule is not None else _custom(tree, look)


def one(kind: Kind, name: str, namespace: str, look: Lookup) -> Verdict | None:
    """An object by its name; None when there is none."""
    obj = look.get(kind, name, namespace)
    return _tried(obj, kind, look) if obj is not None else None


def everything(namespace: str, look: Lookup) -> tuple[Verdict, ...]:
    """All that is not healthy in a namespace, the worst first; what others own is told with its owner.

    With "" in the whole cluster: also what is in no namespace: nodes, volumes, APIs, and custom resources of that kind.
    """
    kinds = (*WORKLOADS, *OTHERS, *_custom_kinds(look))
    if not namespace:
        return _bad(_of_kinds((*SHARED, *_custom_kinds(look, namespaced=False), *kinds), "", look))
    space = look.get(NAMESPACE, namespace)
    found = [_tried(space, NAMESPACE, look)] if space is not None else []
    return _bad([*found, *_of_kinds(kinds, namespace, look)])


def workloads_of(namespace: str, look: Lookup) -> tuple[Verdict, ...]:
    """The workloads of a namespace ("" = all) that are not healthy, custom ones too, the worst first."""
    return _bad(_of_kinds((*WORKLOADS, *_custom_kinds(look)), namespace, look))


def _of_kinds(kinds: Sequence[Kind], namespace: str, look: Lookup) -> list[Verdict]:
    """Those whose owner is not told of itself."""
    there = {kind: look.list(kind, namespace) for kind in kinds}
    told = {objects.uid(obj) for found in there.values() for obj in found}
    return [_tried(obj, kind, look) for kind, found in there.items() for obj in _roots(found, told)]


def _bad(found: Iterable[Verdict]) -> tuple[Verdict, ...]:
    return tuple(sorted((each for each in found if not each.is_healthy), key=rank, reverse=True))


def _tried(obj: Object, kind: Kind, look: Lookup) -> Verdict:
    """A verdict also on what nobody expected, so that one odd object does not keep the others from being told."""
    try:
        return judge(obj, kind, look)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        tree = {"kind": kind.name, **obj}
        message = f"can't be judged, for it is not built as such objects are: {words.clipped(str(error), 160)}"
        return about(tree, STUCK, "NotUnderstood", message)


def _custom(obj: Object, look: Lookup) -> Verdict:
    """By its own words, and by the workloads that it owns."""
    verdict = customs.judge(obj, look)
    mine = [judge(child, _kind(child), look) for child in customs.children(obj, look)]
    bad = [each for each in mine if not each.is_healthy]
    if not bad:
        return verdict
    if verdict.state == HEALTHY:
        verdict = about(obj, HEALTHY, "OwnedUnhealthy", "says that it is well, but what it owns is not")
    return because(verdict, bad)


def _kind(child: Object) -> Kind:
    return next(kind for kind in customs.CHILDREN if kind.name == child["kind"])


def _custom_kinds(look: Lookup, *, namespaced: bool = True) -> list[Kind]:
    """Kinds that somebody has added, which can be listed."""
    there = [kind for kind in getattr(look, "kinds", ()) if kind.namespaced is namespaced]
    own = [kind for kind in there if "." in kind.group and "list" in kind.verbs]
    return [kind for kind in own if not kind.group.endswith(".k8s.io") or kind.group.startswith("gateway.")]


def _roots(found: Iterable[dict[str, Any]], told: AbstractSet[str]) -> list[dict[str, Any]]:
    """Those that nobody owns who is told of, by name."""
    return sorted((obj for obj in found if (objects.controller_of(obj) or {}).get("uid") not in told), key=objects.key)
