"""Histories of policies, pods and namespaces that come, change and go, for hypothesis."""

from typing import Any

from hypothesis import strategies as st

from sampan.node.network.policies import pods
from sampan.node.network.policies.model import Model
from tests.node.network.policies.oracle import Oracle
from tests.node.network.policies.world import GATEWAY, NODE

Tree = dict[str, Any]
NAMESPACES = ("x", "y", "kube-system")
ADDRESSES = ("10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.1.5", "fd00::2", "fd00::3")
PORTS = (
    {"name": "web", "protocol": "TCP", "containerPort": 80},
    {"name": "dns", "protocol": "UDP", "containerPort": 53},
)
SELECTORS = (
    {},
    {"matchLabels": {"app": "a"}},
    {"matchLabels": {"k8s-app": "kube-dns"}},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
    {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
)
BLOCKS = (
    {"cidr": "0.0.0.0/0"},
    {"cidr": "10.1.0.0/24", "except": ["10.1.0.2/31", "10.1.0.3/32"]},
    {"cidr": "10.1.0.4/32"},
    {"cidr": "fd00::/64", "except": ["fd00::3/128"]},
    {"cidr": "::/0", "except": ["fd00::2/128"]},
    {"cidr": "10.1.9.0/24"},
)
NUMBERS = (
    {"port": 80}, {"port": 53}, {"port": "web"}, {"port": "dns"}, {"port": "dns-tcp"}, {}, {"port": 60, "endPort": 90}
)  # fmt: skip

BEGINNING = [
    *(("namespaces", name, {"app": "a"} if name == "x" else {}) for name in NAMESPACES),
    *(
        (
            "pods",
            key,
            {"labels": {"app": key[1]}, "ips": ips, "ports": PORTS, "phase": "Running", "node": NODE, "made": 1},
        )
        for key, ips in (
            (("x", "a"), ADDRESSES[:1]),
            (("x", "b"), ADDRESSES[1:2]),
            (("y", "a"), ADDRESSES[2:3]),
            (("y", "b"), ADDRESSES[4:5]),
        )
    ),
]

labels = st.sampled_from(({}, {"app": "a"}, {"app": "b"}, {"k8s-app": "kube-dns"}))
selector = st.sampled_from(SELECTORS)
peer = st.one_of(
    st.builds(lambda block: {"ipBlock": block}, st.sampled_from(BLOCKS)),
    st.fixed_dictionaries({"podSelector": selector}),
    st.fixed_dictionaries({"namespaceSelector": selector}),
    st.fixed_dictionaries({"podSelector": selector, "namespaceSelector": selector}),
)
port = st.builds(lambda number, protocol: {**number, "protocol": protocol}, st.sampled_from(NUMBERS), st.sampled_from(("TCP", "UDP")))  # fmt: skip
few_ports = st.lists(port, max_size=2)
peers = st.one_of(st.lists(peer, min_size=1, max_size=2), st.lists(peer, max_size=1))
rule_in = st.fixed_dictionaries({"from": peers, "ports": few_ports})
rule_out = st.fixed_dictionaries({"to": peers, "ports": few_ports})
spec = st.fixed_dictionaries(
    {
        "podSelector": selector,
        "policyTypes": st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"])),
        "ingress": st.lists(rule_in, min_size=1, max_size=2),
        "egress": st.lists(rule_out, min_size=1, max_size=2),
    }
)
place = st.tuples(st.sampled_from(NAMESPACES[:2]), st.sampled_from(("a", "b")))
pod_facts = st.fixed_dictionaries(
    {
        "labels": labels,
        "ips": st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True),
        "ports": st.lists(st.sampled_from(PORTS), max_size=2, unique_by=str),
        "phase": st.sampled_from(("Running", "Running", "Succeeded")),
        "node": st.sampled_from((NODE, NODE, "n2")),
        "made": st.integers(1, 3),
    }
)
change = st.one_of(
    st.tuples(st.just("policies"), place, st.one_of(st.none(), spec, spec)),
    st.tuples(st.just("pods"), place, st.one_of(st.none(), pod_facts, pod_facts)),
    st.tuples(st.just("namespaces"), st.sampled_from(NAMESPACES), st.one_of(st.none(), labels, labels)),
)
policy_change = st.tuples(st.just("policies"), place, spec)
histories = st.builds(
    lambda first, rest: [*BEGINNING, *first, *rest],
    st.lists(policy_change, min_size=2, max_size=4),
    st.lists(change, max_size=8),
)


def carry_out(model: Model, oracle: Oracle, what: str, key: Any, to: Any) -> None:
    """The change, to the model and to the oracle."""
    if what == "namespaces":
        model.put_namespace(key, to)
        _put(oracle.namespaces, key, to)
    elif what == "policies":
        obj = None if to is None else {"metadata": {"namespace": key[0], "name": key[1]}, "spec": to}
        model.put_policy(key, obj)
        _put(oracle.policies, key, obj)
    else:
        pod = None if to is None else _pod(key, to)
        model.put_pod(key, pods.seen(pod, NODE) if pod is not None else None)
        _put(oracle.pods, key, pod)


def anew(oracle: Oracle) -> Model:
    """A model that is told only of what there is in the end."""
    model = Model((4, 6), [GATEWAY])
    for key, pod in oracle.pods.items():
        model.put_pod(key, pods.seen(pod, NODE))
    for name, given in oracle.namespaces.items():
        model.put_namespace(name, given)
    for key, obj in oracle.policies.items():
        model.put_policy(key, obj)
    return model


def _put(known: dict[Any, Any], key: Any, to: Any) -> None:
    if to is None:
        known.pop(key, None)
    else:
        known[key] = to


def _pod(key: tuple[str, str], facts: Tree) -> Tree:
    namespace, name = key
    metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}", "labels": facts["labels"]}
    return {
        "metadata": {**metadata, "creationTimestamp": f"2026-01-01T00:00:0{facts['made']}Z"},
        "spec": {"nodeName": facts["node"], "containers": [{"name": "main", "ports": facts["ports"]}]},
        "status": {"phase": facts["phase"], "podIPs": [{"ip": ip} for ip in facts["ips"]]},
    }
