"""What must be so once a cluster has come to rest: everybody has done what was to be done, and tells the truth of it."""

from collections.abc import Iterable
from typing import Any

from sampan.cluster.rules import allowances
from sampan.cluster.rules.rule import SettledRule
from sampan.cluster.rules.workloads import DEPLOYMENTS, JOBS, PODS, REPLICASETS, is_finished
from sampan.control import daemon_pods
from sampan.kinds.builtin import KINDS
from sampan.kinds.core import pod
from sampan.kinds.parts import quota_usage
from sampan.meta import conditions, objects, selectors
from sampan.meta.quantity import ZERO

Object = dict[str, Any]

DAEMONSETS = "daemonsets.apps"
OBSERVERS = (DEPLOYMENTS, REPLICASETS, "statefulsets.apps", DAEMONSETS, allowances.BUDGETS)
_KINDS = {kind.resource: kind for kind in KINDS}
_SERVICE_NAME = "kubernetes.io/service-name"


class DependentsFollowTheirOwners(SettledRule):
    """No object is left of whose owners none is left."""

    def judge(self) -> Iterable[str]:
        alive = {objects.uid(obj) for resource in self.world.resources() for obj in self.world.all(resource)}
        for resource in self.world.resources():
            for obj in self.world.all(resource):
                owners = objects.owner_references(obj)
                if owners and not any(owner["uid"] in alive for owner in owners):
                    yield f"{resource} {_full(obj)} is left of {owners[0]['kind']} {owners[0]['name']}, which is gone"


class NothingLingers(SettledRule):
    """What is being deleted is gone, unless a finalizer holds it or it is a pod on a node that is lost."""

    def judge(self) -> Iterable[str]:
        for resource in self.world.resources():
            for obj in self.world.all(resource):
                if not objects.is_deleting(obj) or objects.finalizers(obj):
                    continue
                if self._may_stay(resource, obj):
                    continue
                yield f"{resource} {_full(obj)} is being deleted since {objects.metadata(obj)['deletionTimestamp']}"

    def _may_stay(self, resource: str, obj: Object) -> bool:
        if resource == "namespaces":
            return any(self.world.all(name, objects.name(obj)) for name in self.world.resources())
        node = (obj.get("spec") or {}).get("nodeName") if resource == PODS else ""
        found = self.world.get("nodes", node) if node else None
        return bool(node) and (found is None or not conditions.is_true(found, "Ready"))


class StatusesAreUpToDate(SettledRule):
    """Whoever tells in status.observedGeneration what it has seen has seen the latest."""

    def judge(self) -> Iterable[str]:
        for resource in OBSERVERS:
            for obj in self.world.all(resource):
                seen, last = objects.get_path(obj, "status.observedGeneration", 0), objects.generation(obj)
                if seen != last and not objects.is_deleting(obj):
                    yield f"{resource} {_full(obj)} has seen generation {seen} of {last}"


class ReplicaSetsAreFull(SettledRule):
    """A ReplicaSet has as many pods as it wants, or says why not; its status counts them."""

    def judge(self) -> Iterable[str]:
        for obj in self.world.all(REPLICASETS):
            if objects.is_deleting(obj) or conditions.is_true(obj, "ReplicaFailure"):
                continue
            pods = [p for p in self.world.owned(objects.uid(obj), PODS) if pod.is_active(p)]
            ready = sum(map(pod.is_ready, pods))
            wanted, status = obj["spec"].get("replicas", 1), obj.get("status") or {}
            if len(pods) != wanted:
                yield f"ReplicaSet {_full(obj)} wants {wanted} pods and has {len(pods)}"
            elif (status.get("replicas") or 0, status.get("readyReplicas") or 0) != (wanted, ready):
                yield f"ReplicaSet {_full(obj)} has {wanted} pods, {ready} of them ready, and says otherwise: {status}"


class DeploymentsArrive(SettledRule):
    """A Deployment's replicas are all of its present template, unless it is paused or says that it makes no progress."""

    def judge(self) -> Iterable[str]:
        for obj in self.world.all(DEPLOYMENTS):
            if objects.is_deleting(obj) or obj["spec"].get("paused") or conditions.is_false(obj, "Progressing"):
                continue
            sizes = [s["spec"].get("replicas", 1) for s in self.world.owned(objects.uid(obj), REPLICASETS)]
            wanted, status = obj["spec"].get("replicas", 1), obj.get("status") or {}
            if sum(sizes) != wanted:
                yield f"Deployment {_full(obj)} wants {wanted} replicas; its ReplicaSets are of {sizes}"
            elif (status.get("updatedReplicas") or 0) != wanted:
                yield f"Deployment {_full(obj)} has {status.get('updatedReplicas') or 0} of {wanted} replicas up to date"


class DaemonSetsCoverTheirNodes(SettledRule):
    """A DaemonSet has a pod on, or for, each node that it may be on, and its status counts them."""

    def judge(self) -> Iterable[str]:
        nodes = self.world.all("nodes")
        for obj in self.world.all(DAEMONSETS):
            if objects.is_deleting(obj):
                continue
            fits = daemon_pods.fits(obj, nodes)
            pods = daemon_pods.by_node(self.world.owned(objects.uid(obj), PODS))
            wanted = {node for node, fit in fits.items() if fit.wanted}
            told = objects.get_path(obj, "status.desiredNumberScheduled", 0)
            if wanted - set(pods):
                yield f"DaemonSet {_full(obj)} has no pod on {', '.join(sorted(wanted - set(pods)))}"
            elif told != len(wanted):
                yield f"DaemonSet {_full(obj)} says that {told} nodes should have a pod: it is {len(wanted)}"
            for node in [node for node, fit in fits.items() if node in pods and not fit.kept]:
                yield f"DaemonSet {_full(obj)} has a pod on {node}, where it may not be"


class JobsAreDone(SettledRule):
    """A Job that is over has no pods at work; one that is not counts those that it has."""

    def judge(self) -> Iterable[str]:
        for obj in self.world.all(JOBS):
            active = sum(map(pod.is_active, self.world.owned(objects.uid(obj), PODS)))
            told = objects.get_path(obj, "status.active", 0)
            if is_finished(obj) and active:
                yield f"Job {_full(obj)} is over, and {active} pods of it are at work"
            elif told != active and not objects.is_deleting(obj):
                yield f"Job {_full(obj)} has {active} pods at work and says {told}"


class PodsArePlaced(SettledRule):
    """A pod without a node says why."""

    def judge(self) -> Iterable[str]:
        for p in self.world.all(PODS):
            if not pod.is_scheduled(p) and pod.is_active(p) and not conditions.is_false(p, "PodScheduled"):
                yield f"pod {_full(p)} has no node and does not say why"


class PodAddressesAreUnique(SettledRule):
    """No two pods that run have the same address, but those in their node's own network."""

    def judge(self) -> Iterable[str]:
        taken: dict[str, Object] = {}
        for p in self.world.all(PODS):
            address = objects.get_path(p, "status.podIP", "")
            if not address or pod.is_terminal(p) or p["spec"].get("hostNetwork"):
                continue
            first = taken.setdefault(address, p)
            if first is not p:
                yield f"pods {_full(first)} and {_full(p)} both have the address {address}"


class QuotasCountTruly(SettledRule):
    """What a quota says is used is what is used."""

    def judge(self) -> Iterable[str]:
        for quota in self.world.all(allowances.QUOTAS):
            told = quota_usage.parse(objects.get_path(quota, "status.used", {}))
            used: quota_usage.Amounts = {}
            for resource in self.world.resources():
                if resource in _KINDS:
                    part = allowances.usage(self.world, quota, _KINDS[resource], self.world.now)
                    used = quota_usage.add(used, part)
            for name in sorted(told):
                if told[name].nanos != used.get(name, ZERO).nanos:
                    yield f"quota {_full(quota)} says that {told[name]} of {name} are used: it is {used.get(name, ZERO)}"


class BudgetsCountTruly(SettledRule):
    """A disruption budget knows how many of its pods are ready."""

    def judge(self) -> Iterable[str]:
        for budget in self.world.all(allowances.BUDGETS):
            ready = sum(1 for p in allowances.selected(self.world, budget) if pod.is_active(p) and pod.is_ready(p))
            told = objects.get_path(budget, "status.currentHealthy", 0)
            if told != ready and not objects.is_deleting(budget):
                yield f"disruption budget {_full(budget)} says that {told} pods are healthy: it is {ready}"


class EndpointsAreTrue(SettledRule):
    """A Service's endpoints that are ready are its pods that are ready."""

    def judge(self) -> Iterable[str]:
        for service in self.world.all(allowances.SERVICES):
            spec = service.get("spec") or {}
            if not spec.get("selector") or spec.get("type") == "ExternalName" or spec.get("publishNotReadyAddresses"):
                continue
            chosen = selectors.from_label_selector({"matchLabels": spec["selector"]})
            pods = [p for p in self.world.all(PODS, objects.namespace(service)) if chosen.matches(objects.labels(p))]
            ready = sorted(p["status"]["podIP"] for p in pods if pod.is_active(p) and pod.is_ready(p))
            told = sorted(set(self._told(service)))
            if told != ready:
                yield f"Service {_full(service)} has the endpoints {told}: its ready pods are {ready}"

    def _told(self, service: Object) -> Iterable[str]:
        for part in self.world.all("endpointslices.discovery.k8s.io", objects.namespace(service)):
            if objects.labels(part).get(_SERVICE_NAME) != objects.name(service):
                continue
            for endpoint in part.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield from endpoint["addresses"]


RULES: tuple[type[SettledRule], ...] = (
    DependentsFollowTheirOwners,
    NothingLingers,
    StatusesAreUpToDate,
    ReplicaSetsAreFull,
    DeploymentsArrive,
    DaemonSetsCoverTheirNodes,
    JobsAreDone,
    PodsArePlaced,
    PodAddressesAreUnique,
    QuotasCountTruly,
    BudgetsCountTruly,
    EndpointsAreTrue,
)


def _full(obj: Object) -> str:
    namespace = objects.namespace(obj)
    return f"{namespace}/{objects.name(obj)}" if namespace else objects.name(obj)
