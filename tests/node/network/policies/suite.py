"""What upstream's suite for network policies tries (test/e2e/network/netpol), case by case: policies, then who reaches whom.

https://github.com/kubernetes/kubernetes/tree/master/test/e2e/network/netpol
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.node.network.policies.world import PODS

Tree = dict[str, Any]
Addresses = Callable[[str], Sequence[str]]

BOTH = ["Ingress", "Egress"]


@dataclass(frozen=True)
class Check:
    """Who reaches whom at a port: everybody, but for `rules` in their order: ("deny" | "allow", from, to), * for all."""

    rules: tuple[tuple[str, str, str], ...] = ()
    port: int = 80
    protocol: str = "TCP"

    def expected(self) -> dict[tuple[str, str], bool]:
        """Whether the first of two pods reaches the second."""
        found = {(source, target): True for source in PODS for target in PODS}
        for verb, source, target in self.rules:
            for pair in found:
                if _means(source, pair[0]) and _means(target, pair[1]):
                    found[pair] = verb == "allow"
        return {pair: is_let or pair[0] == pair[1] for pair, is_let in found.items()}


@dataclass(frozen=True)
class Step:
    """What is there then, and what must be so. Labels are those that namespaces ("x") and pods ("x/a") have on top."""

    policies: Sequence[Tree | Callable[[Addresses], Tree]] = ()
    checks: tuple[Check, ...] = ()
    labels: dict[str, dict[str, str]] = field(default_factory=dict)


def _means(wanted: str, place: str) -> bool:
    return wanted in ("*", place) or (wanted.endswith("/*") and place.startswith(wanted[:-1]))


def deny(source: str, target: str) -> tuple[str, str, str]:
    return "deny", source, target


def allow(source: str, target: str) -> tuple[str, str, str]:
    return "allow", source, target


def only(*rules: tuple[str, str, str], **of: Any) -> Check:
    return Check(rules, **of)


def policy(name: str, namespace: str = "x", pods: Tree | None = None, **spec: Any) -> Tree:
    """With an empty selector unless there is one; types follow from the rules as the API has them follow."""
    types = spec.pop("types", None) or [t for t, key in (("Ingress", "ingress"), ("Egress", "egress")) if key in spec]
    spec = {"podSelector": pods or {}, "policyTypes": types, **spec}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


def labelled(**labels: str) -> Tree:
    return {"matchLabels": labels}


def within(key: str, *values: str, operator: str = "In") -> Tree:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def pods(**labels: str) -> Tree:
    return {"podSelector": labelled(**labels)}


def spaces(**labels: str) -> Tree:
    return {"namespaceSelector": labelled(**labels)}


def port(number: int | str, protocol: str = "TCP", **more: int) -> Tree:
    return {"port": number, "protocol": protocol, **more}


A = labelled(pod="a")
DENY_INGRESS = policy("deny-ingress", types=["Ingress"])
DENY_ALL = policy("deny-all", types=BOTH)
ALLOW_ALL = policy("allow-all", ingress=[{}])
ALLOW_ALL_OUT = policy("allow-all-egress", egress=[{}])
NOBODY_TO_A = deny("*", "x/a")
ON_81 = policy("allow-81", ingress=[{"from": [spaces(ns="y")], "ports": [port(81)]}], pods=A)
ON_80 = policy("allow-80", ingress=[{"from": [spaces(ns="y")], "ports": [port(80)]}], pods=A)


def _blocks(*places: str, exceptions: Iterable[str] = (), wide: bool = False) -> Callable[[Addresses], list[Tree]]:
    """ipBlocks for each address of the pods, or for a network around them, in each family."""

    def made(addresses: Addresses) -> list[Tree]:
        found = []
        for place in places:
            for ip in addresses(place):
                v6 = ":" in ip
                block: Tree = {"cidr": _around(ip) if wide else f"{ip}/{128 if v6 else 32}"}
                holes = [f"{a}/{128 if v6 else 32}" for hole in exceptions for a in addresses(hole) if (":" in a) == v6]
                found.append({"ipBlock": {**block, **({"except": holes} if holes else {})}})
        return found

    return made


def _around(ip: str) -> str:
    return f"{ip.rsplit(':', 1)[0]}:0/112" if ":" in ip else f"{ip.rsplit('.', 1)[0]}.0/24"


def _egress_to(name: str, *blocks: Callable[[Addresses], list[Tree]]) -> Callable[[Addresses], Tree]:
    def made(addresses: Addresses) -> Tree:
        return policy(name, pods=A, egress=[{"to": [peer for block in blocks for peer in block(addresses)]}])

    return made


SUITE: dict[str, tuple[Step, ...]] = {
    "should support a 'default-deny-ingress' policy": (
        Step([DENY_INGRESS], (only(deny("*", "x/*")), only(deny("*", "x/*"), protocol="UDP"))),
    ),
    "should support a 'default-deny-all' policy": (
        Step([DENY_ALL], (only(deny("*", "x/*"), deny("x/*", "*")), only(deny("*", "x/*"), deny("x/*", "*"), port=81))),
    ),
    "should enforce policy to allow traffic from pods within server namespace based on PodSelector": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [pods(pod="b")]}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a")),),
        ),
    ),
    "should enforce policy to allow ingress traffic for a target": (
        Step(
            [DENY_INGRESS, policy("p", pods=A, ingress=[{"from": [pods(pod="b")]}])],
            (only(deny("*", "x/*"), allow("x/b", "x/a")),),
        ),
    ),
    "should enforce policy to allow ingress traffic from pods in all namespaces": (
        Step([policy("p", pods=A, ingress=[{"from": [{"namespaceSelector": {}}]}])], (only(),)),
    ),
    "should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns="y")]}])],
            (only(NOBODY_TO_A, allow("y/*", "x/a")),),
        ),
    ),
    "should enforce policy based on PodSelector with MatchExpressions": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [{"podSelector": within("pod", "b")}]}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a")),),
        ),
    ),
    "should enforce policy based on NamespaceSelector with MatchExpressions": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [{"namespaceSelector": within("ns", "y")}]}])],
            (only(NOBODY_TO_A, allow("y/*", "x/a")),),
        ),
    ),
    "should enforce policy based on NamespaceSelector with MatchExpressions using default ns label": (
        Step(
            [
                policy(
                    "p",
                    pods=A,
                    ingress=[
                        {"from": [{"namespaceSelector": within("kubernetes.io/metadata.name", "x", operator="NotIn")}]}
                    ],
                )
            ],
            (only(deny("x/*", "x/a")),),
        ),
    ),
    "should enforce policy based on PodSelector or NamespaceSelector": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns="y"), pods(pod="b")]}])],
            (only(NOBODY_TO_A, allow("y/*", "x/a"), allow("x/b", "x/a")),),
        ),
    ),
    "should enforce policy based on PodSelector and NamespaceSelector": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [{**spaces(ns="y"), **pods(pod="b")}]}])],
            (only(NOBODY_TO_A, allow("y/b", "x/a")),),
        ),
    ),
    "should enforce policy based on Multiple PodSelectors and NamespaceSelectors": (
        Step(
            [
                policy(
                    "p",
                    pods=A,
                    ingress=[
                        {
                            "from": [
                                {
                                    "namespaceSelector": within("ns", "x", operator="NotIn"),
                                    "podSelector": within("pod", "b", "c"),
                                }
                            ]
                        }
                    ],
                )
            ],
            (only(NOBODY_TO_A, *(allow(f"{n}/{p}", "x/a") for n in "yz" for p in "bc")),),
        ),
    ),
    "should enforce policy based on any PodSelectors": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [pods(pod="b"), pods(pod="c")]}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a"), allow("x/c", "x/a")),),
        ),
    ),
    "should enforce policy to allow traffic only from a pod in a different namespace based on both selectors": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [{**spaces(ns="y"), **pods(pod="a")}]}])],
            (only(NOBODY_TO_A, allow("y/a", "x/a")),),
        ),
    ),
    "should enforce policy based on Ports": (
        Step([ON_81], (only(NOBODY_TO_A), only(NOBODY_TO_A, allow("y/*", "x/a"), port=81))),
    ),
    "should enforce multiple, stacked policies with overlapping podSelectors": (
        Step([ON_81], (only(NOBODY_TO_A), only(NOBODY_TO_A, allow("y/*", "x/a"), port=81))),
        Step(
            [ON_81, ON_80],
            (only(NOBODY_TO_A, allow("y/*", "x/a")), only(NOBODY_TO_A, allow("y/*", "x/a"), port=81)),
        ),
    ),
    "should support allow-all policy": (Step([ALLOW_ALL], (only(), only(port=81), only(protocol="UDP"))),),
    "should allow ingress access on one named port": (
        Step(
            [policy("p", ingress=[{"ports": [port("serve-81-tcp")]}])],
            (only(port=81), only(deny("*", "x/*")), only(deny("*", "x/*"), port=81, protocol="UDP")),
        ),
    ),
    "should allow ingress access from namespace on one named port": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns="y")], "ports": [port("serve-80-tcp")]}])],
            (only(NOBODY_TO_A, allow("y/*", "x/a")), only(NOBODY_TO_A, port=81)),
        ),
    ),
    "should allow egress access on one named port": (
        Step(
            [policy("p", egress=[{"ports": [port("serve-80-tcp")]}])],
            (only(), only(deny("x/*", "*"), port=81), only(deny("x/*", "*"), protocol="UDP")),
        ),
    ),
    "should enforce updated policy": (
        Step([ALLOW_ALL], (only(), only(port=81))),
        Step(
            [policy("allow-all", ingress=[{"ports": [port(81)]}])],
            (only(deny("*", "x/*")), only(port=81)),
        ),
    ),
    "should allow ingress access from updated namespace": (
        Step([policy("p", pods=A, ingress=[{"from": [spaces(ns2="updated")]}])], (only(NOBODY_TO_A),)),
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns2="updated")]}])],
            (only(NOBODY_TO_A, allow("y/*", "x/a")),),
            {"y": {"ns2": "updated"}},
        ),
    ),
    "should allow ingress access from updated pod": (
        Step([policy("p", pods=A, ingress=[{"from": [pods(pod="b", pod2="updated")]}])], (only(NOBODY_TO_A),)),
        Step(
            [policy("p", pods=A, ingress=[{"from": [pods(pod="b", pod2="updated")]}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a")),),
            {"x/b": {"pod2": "updated"}},
        ),
    ),
    "should deny ingress from pods on other namespaces": (
        Step(
            [policy("p", ingress=[{"from": [{"podSelector": {}}]}])],
            (only(deny("*", "x/*"), allow("x/*", "x/*")),),
        ),
    ),
    "should deny ingress access to updated pod": (
        Step([policy("p", pods=labelled(target="isolated"), types=["Ingress"])], (only(),)),
        Step(
            [policy("p", pods=labelled(target="isolated"), types=["Ingress"])],
            (only(NOBODY_TO_A),),
            {"x/a": {"target": "isolated"}},
        ),
    ),
    "should deny egress from pods based on PodSelector": (
        Step([policy("p", pods=A, types=["Egress"])], (only(deny("x/a", "*")), only(deny("x/a", "*"), protocol="UDP"))),
    ),
    "should deny egress from all pods in a namespace": (
        Step([policy("p", types=["Egress"])], (only(deny("x/*", "*")),)),
    ),
    "should work with Ingress, Egress specified together": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [pods(pod="b")]}], egress=[{}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a")),),
        ),
        Step(
            [policy("p", pods=A, ingress=[{"from": [pods(pod="b")]}], egress=[{"ports": [port(80)]}])],
            (only(NOBODY_TO_A, allow("x/b", "x/a")), only(NOBODY_TO_A, allow("x/b", "x/a"), deny("x/a", "*"), port=81)),
        ),
    ),
    "should support denying of egress traffic on the client side (even if the server allows this traffic)": (
        Step(
            [
                policy("out", pods=A, egress=[{"to": [{**spaces(ns="y"), **pods(pod="a")}]}]),
                policy("in", "y", pods=A, ingress=[{"from": [{**spaces(ns="x"), **pods(pod="a")}]}]),
                policy("in", "y", pods=labelled(pod="b"), ingress=[{"from": [{**spaces(ns="x"), **pods(pod="a")}]}])
                | {"metadata": {"namespace": "y", "name": "in-b"}},
            ],
            (only(deny("x/a", "*"), deny("*", "y/a"), deny("*", "y/b"), allow("x/a", "y/a")),),
        ),
    ),
    "should enforce egress policy allowing traffic to a server in a different namespace based on both selectors": (
        Step(
            [policy("p", pods=A, egress=[{"to": [{**spaces(ns="y"), **pods(pod="a")}]}])],
            (only(deny("x/a", "*"), allow("x/a", "y/a")),),
        ),
    ),
    "should enforce ingress policy allowing any port traffic to a server on a specific protocol": (
        Step(
            [policy("p", pods=A, ingress=[{"ports": [{"protocol": "TCP"}]}])],
            (only(), only(port=81), only(NOBODY_TO_A, protocol="UDP"), only(NOBODY_TO_A, protocol="SCTP")),
        ),
    ),
    "should enforce multiple ingress policies with ingress allow-all policy taking precedence": (
        Step([policy("p", ingress=[{"ports": [port(81)]}])], (only(deny("*", "x/*")), only(port=81))),
        Step([policy("p", ingress=[{"ports": [port(81)]}]), ALLOW_ALL], (only(), only(port=81))),
    ),
    "should enforce multiple egress policies with egress allow-all policy taking precedence": (
        Step([policy("p", egress=[{"ports": [port(81)]}])], (only(deny("x/*", "*")), only(port=81))),
        Step([policy("p", egress=[{"ports": [port(81)]}]), ALLOW_ALL_OUT], (only(), only(port=81))),
    ),
    "should stop enforcing policies after they are deleted": (
        Step([DENY_ALL], (only(deny("*", "x/*"), deny("x/*", "*")),)),
        Step([], (only(), only(protocol="UDP"))),
    ),
    "should allow egress access to server in CIDR block": (
        Step([_egress_to("p", _blocks("y/b"))], (only(deny("x/a", "*"), allow("x/a", "y/b")),)),
    ),
    "should enforce except clause while egress access to server in CIDR block": (
        Step(
            [_egress_to("p", _blocks("x/b", exceptions=["x/b"], wide=True))],
            (only(deny("x/a", "x/b")),),
        ),
    ),
    "should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed": (
        Step([_egress_to("p", _blocks("x/b", exceptions=["x/b"], wide=True))], (only(deny("x/a", "x/b")),)),
        Step([_egress_to("p", _blocks("x/b", exceptions=["x/b"], wide=True), _blocks("x/b"))], (only(),)),
    ),
    "should enforce policies to check ingress and egress policies can be controlled independently": (
        Step(
            [
                policy("in", pods=A, types=["Ingress"]),
                policy("out", pods=A, egress=[{}]),
            ],
            (only(NOBODY_TO_A),),
        ),
        Step(
            [
                policy("in", pods=A, ingress=[{}]),
                policy("out", pods=A, types=["Egress"]),
            ],
            (only(deny("x/a", "*")),),
        ),
    ),
    "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP'": (
        Step(
            [policy("p", pods=A, ingress=[{"ports": [port(80, "SCTP")]}])],
            (only(NOBODY_TO_A), only(NOBODY_TO_A, port=81), only(protocol="SCTP")),
        ),
    ),
    "should properly isolate pods that are selected by a policy allowing SCTP": (
        Step(
            [policy("p", pods=A, ingress=[{"ports": [port(80, "SCTP")]}])],
            (only(NOBODY_TO_A), only(NOBODY_TO_A, protocol="UDP"), only(NOBODY_TO_A, port=81, protocol="SCTP")),
        ),
    ),
    "should not allow access by TCP when a policy specifies only UDP": (
        Step(
            [policy("p", pods=A, ingress=[{"ports": [port(81, "UDP")]}])],
            (only(NOBODY_TO_A, port=81), only(NOBODY_TO_A, protocol="UDP"), only(port=81, protocol="UDP")),
        ),
    ),
    "NetworkPolicy between server and client using UDP should enforce policy based on Ports": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns="y")], "ports": [port(81, "UDP")]}])],
            (only(NOBODY_TO_A, protocol="UDP"), only(NOBODY_TO_A, allow("y/*", "x/a"), port=81, protocol="UDP")),
        ),
    ),
    "NetworkPolicy between server and client using SCTP should enforce policy based on Ports": (
        Step(
            [policy("p", pods=A, ingress=[{"from": [spaces(ns="y")], "ports": [port(81, "SCTP")]}])],
            (only(NOBODY_TO_A, protocol="SCTP"), only(NOBODY_TO_A, allow("y/*", "x/a"), port=81, protocol="SCTP")),
        ),
    ),
    "NetworkPolicy with endPort should let a range of ports through": (
        Step(
            [policy("p", pods=A, ingress=[{"ports": [port(70, endPort=80)]}])],
            (only(), only(NOBODY_TO_A, port=81), only(NOBODY_TO_A, protocol="UDP")),
        ),
        Step(
            [policy("p", pods=A, egress=[{"ports": [port(81, endPort=90)]}])], (only(deny("x/a", "*")), only(port=81))
        ),
    ),
}
