"""Cluster role aggregation: a ClusterRole with an aggregationRule holds the rules of those that it selects.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan, Update, plan
from sampan.control.view import View
from sampan.kinds.kind import Object
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.meta import objects, selectors


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Writes the union of the selected roles' rules, when it is not what the role holds."""
    role = view.get(CLUSTERROLE, key)
    if role is None or not role.get("aggregationRule") or objects.is_deleting(role):
        return Plan()
    others = [source for source in view.list(CLUSTERROLE) if objects.name(source) != objects.name(role)]
    wanted: list[Object] = []
    for selector in _selectors(role):
        for source in others:
            if selector.matches(objects.labels(source)):
                wanted += [rule for rule in source.get("rules") or () if rule not in wanted]
    if wanted == (role.get("rules") or []):
        return Plan()
    return plan([Update(CLUSTERROLE, {**role, "rules": wanted})])


def _selectors(role: Object) -> list[selectors.Selector]:
    return [selectors.from_label_selector(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()]


def _selects(role: Object, source: Object) -> bool:
    return any(selector.matches(objects.labels(source)) for selector in _selectors(role))


def _aggregators(view: View, source: Object) -> Iterable[Key]:
    for role in view.each(CLUSTERROLE):
        if "aggregationRule" in role and role["aggregationRule"] and _selects(role, source):
            yield objects.key(role)


def _aggregates(old: Object | None, new: Object | None) -> bool:
    """Nearly all roles hold their own rules."""
    return bool(new and new.get("aggregationRule"))


CONTROLLER = Controller(
    "clusterrole-aggregation-controller",
    CLUSTERROLE,
    reconcile,
    watches=(Watch(CLUSTERROLE, _aggregators),),
    matters=_aggregates,
)
