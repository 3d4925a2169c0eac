"""The flow control that every cluster starts with, as data: levels with their shares and queues, schemas with rules.

`exempt` and `catch-all` are mandatory and keep these values; the others are suggestions that may be changed.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults
"""

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]

MANDATORY = ("exempt", "catch-all")


def _queue(queues: int, hand: int) -> Spec:
    return {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}


def _level(shares: int, lendable: int, response: Spec) -> Spec:
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
    return {"type": "Limited", "limited": limited}


PRIORITY_LEVELS: Mapping[str, Spec] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": _level(5, 0, {"type": "Reject"}),
    "system": _level(30, 33, _queue(64, 6)),
    "node-high": _level(40, 25, _queue(64, 6)),
    "leader-election": _level(10, 0, _queue(16, 4)),
    "workload-high": _level(40, 50, _queue(128, 6)),
    "workload-low": _level(100, 90, _queue(128, 6)),
    "global-default": _level(20, 50, _queue(128, 6)),
}


def _group(name: str) -> Spec:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> Spec:
    return {"kind": "User", "user": {"name": name}}


def _account(name: str) -> Spec:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}}


def _on(verbs: str, group: str, resources: str, **more: Any) -> Spec:
    """A rule on resources of all namespaces; `cluster` includes objects outside of any."""
    rule: Spec = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    if more.get("cluster"):
        rule["clusterScope"] = True
    rule["namespaces"] = ["*"]
    return rule


def _rule(subjects: list[Spec], resources: list[Spec], paths: list[Spec] | None = None) -> Spec:
    rule: Spec = {"subjects": subjects}
    if resources:
        rule["resourceRules"] = resources
    if paths:
        rule["nonResourceRules"] = paths
    return rule


def _everything(*subjects: Spec) -> list[Spec]:
    anywhere = _on("*", "*", "*", cluster=True)
    return [_rule(list(subjects), [anywhere], [{"verbs": ["*"], "nonResourceURLs": ["*"]}])]


def _schema(level: str, precedence: int, by: str, rules: list[Spec]) -> Spec:
    """`by`: ByUser, ByNamespace, or "" where flows are not told apart."""
    spec: Spec = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return {**spec, "rules": rules}


_ANYONE = (_group("system:unauthenticated"), _group("system:authenticated"))
_MANAGER, _SCHEDULER = _user("system:kube-controller-manager"), _user("system:kube-scheduler")
_NODES = _group("system:nodes")
_LEASES = _on("get create update", "coordination.k8s.io", "leases")
_HEALTH = [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]

FLOW_SCHEMAS: Mapping[str, Spec] = {
    "exempt": _schema("exempt", 1, "", _everything(_group("system:masters"))),
    "probes": _schema("exempt", 2, "", [_rule(list(_ANYONE), [], _HEALTH)]),
    "system-leader-election": _schema(
        "leader-election", 100, "ByUser", [_rule([_MANAGER, _SCHEDULER, _account("*")], [_LEASES])]
    ),
    "endpoint-controller": _schema(
        "workload-high",
        150,
        "ByUser",
        [
            _rule(
                [_MANAGER, _account("endpoint-controller"), _account("endpointslicemirroring-controller")],
                [_on("get create update", "", "endpoints")],
            )
        ],
    ),
    "workload-leader-election": _schema("leader-election", 200, "ByUser", [_rule([_account("*")], [_LEASES])]),
    "system-node-high": _schema(
        "node-high",
        400,
        "ByUser",
        [
            _rule(
                [_NODES],
                [_on("*", "", "nodes nodes/status", cluster=True), _on("*", "coordination.k8s.io", "leases")],
            )
        ],
    ),
    "system-nodes": _schema("system", 500, "ByUser", _everything(_NODES)),
    "kube-controller-manager": _schema("workload-high", 800, "ByNamespace", _everything(_MANAGER)),
    "kube-scheduler": _schema("workload-high", 800, "ByNamespace", _everything(_SCHEDULER)),
    "kube-system-service-accounts": _schema("workload-high", 900, "ByNamespace", _everything(_account("*"))),
    "service-accounts": _schema("workload-low", 9000, "ByUser", _everything(_group("system:serviceaccounts"))),
    "global-default": _schema("global-default", 9900, "ByUser", _everything(*_ANYONE)),
    "catch-all": _schema("catch-all", 10000, "ByUser", _everything(*_ANYONE)),
}
