"""What must hold for everything that is handed out: quotas, disruption budgets, addresses and ports."""

from collections.abc import Iterator
from typing import Any, ClassVar

from sampan.cluster.history import Change
from sampan.cluster.rules.rule import Rule
from sampan.cluster.rules.world import World
from sampan.kinds.builtin import KINDS
from sampan.kinds.core import pod
from sampan.kinds.kind import Kind
from sampan.kinds.parts import quota_usage
from sampan.kinds.parts.quota_usage import Amounts
from sampan.meta import conditions, objects, selectors
from sampan.meta.quantity import ZERO

Object = dict[str, Any]

PODS, QUOTAS, BUDGETS, SERVICES = "pods", "resourcequotas", "poddisruptionbudgets.policy", "services"
_KINDS = {kind.resource: kind for kind in KINDS}


class QuotasHold(Rule):
    """Nothing is made that brings a namespace over what one of its quotas allows."""

    def judge(self, change: Change, old: Object | None) -> str:
        namespace, kind = objects.namespace(change.tree), _KINDS.get(change.resource)
        if change.type != "ADDED" or not namespace or kind is None:
            return ""
        for quota in self.world.all(QUOTAS, namespace):
            found = self._excess(quota, kind, change.tree)
            if found:
                return found
        return ""

    def _excess(self, quota: Object, kind: Kind, made: Object) -> str:
        hard = quota_usage.parse((quota.get("status") or {}).get("hard"))
        names = quota_usage.limited(kind, hard)
        if not names or not quota_usage.selects(kind, quota["spec"], made):
            return ""
        now = self.world.now
        added = quota_usage.usage(kind, made, now)
        used = usage(self.world, quota, kind, now)
        for name in names:
            total = used.get(name, ZERO) + added.get(name, ZERO)
            if added.get(name, ZERO) and total > hard[name]:
                return f"quota {objects.name(quota)} allows {hard[name]} of {name}, and now {total} are taken"
        return ""


class BudgetsHold(Rule):
    """An eviction takes no ready pod that a disruption budget can't spare."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None or objects.is_deleting(old) or not _is_evicted(change.tree) or not pod.is_ready(old):
            return ""
        for budget in budgets_of(self.world, old):
            found = self._refusal(budget, old)
            if found:
                return found
        return ""

    def _refusal(self, budget: Object, evicted: Object) -> str:
        name, status = objects.name(budget), budget.get("status") or {}
        if (status.get("disruptionsAllowed") or 0) < 1:
            return f"it was evicted though budget {name} allows no disruption"
        ready = sum(
            any(_selects(budget, p) and pod.is_active(p) and pod.is_ready(p) for p in versions)
            for versions in self.world.lately(PODS, objects.namespace(budget))
            if objects.uid(versions[-1]) != objects.uid(evicted)
        )
        needs = status.get("desiredHealthy") or 0
        return f"it was evicted, which leaves {ready} of the {needs} pods that {name} needs" if ready < needs else ""


class AddressesAreUnique(Rule):
    """No two Services have the same cluster IP, node port of a protocol, or port of a load balancer's address."""

    resources: ClassVar[tuple[str, ...]] = (SERVICES,)

    def judge(self, change: Change, old: Object | None) -> str:
        if change.type == "DELETED":
            return ""
        taken = {held: each for each in self.world.all(SERVICES) for held in _holds(each)}
        for held in _holds(change.tree):
            other = taken.get(held)
            if other is not None and objects.uid(other) != objects.uid(change.tree):
                return f"{held} is that of Service {objects.namespace(other)}/{objects.name(other)}"
        return ""


RULES: tuple[type[Rule], ...] = (QuotasHold, BudgetsHold, AddressesAreUnique)


def usage(world: World, quota: Object, kind: Kind, now: float) -> Amounts:
    """What the objects of a kind in the quota's namespace take of it."""
    used: Amounts = {}
    for obj in world.all(kind.resource, objects.namespace(quota)):
        if quota_usage.selects(kind, quota["spec"], obj):
            used = quota_usage.add(used, quota_usage.usage(kind, obj, now))
    return used


def budgets_of(world: World, p: Object) -> list[Object]:
    """The disruption budgets that are about a pod."""
    return [b for b in world.all(BUDGETS, objects.namespace(p)) if _selects(b, p)]


def selected(world: World, budget: Object) -> list[Object]:
    """The pods that a disruption budget is about."""
    return [p for p in world.all(PODS, objects.namespace(budget)) if _selects(budget, p)]


def _selects(budget: Object, p: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and selectors.from_label_selector(selector).matches(objects.labels(p))


def _is_evicted(p: Object) -> bool:
    condition = conditions.get(p, "DisruptionTarget") or {}
    return objects.is_deleting(p) and condition.get("reason") == "EvictionByEvictionAPI"


def _holds(service: Object) -> Iterator[str]:
    spec = service.get("spec") or {}
    for address in spec.get("clusterIPs") or filter(None, (spec.get("clusterIP"),)):
        if address != "None":
            yield f"cluster IP {address}"
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield f"node port {port['nodePort']}/{port.get('protocol', 'TCP')}"
        for entry in objects.get_path(service, "status.loadBalancer.ingress") or ():
            if entry.get("ip"):
                address = f"{entry['ip']}, port {port.get('port')}/{port.get('protocol', 'TCP')}"
                yield f"load balancer address {address},"
