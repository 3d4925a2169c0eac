"""What network policies cost a node: 1,000 policies and 10,000 pods in 100 namespaces, and small changes after that.

    sudo python benchmarks/policies.py [POLICIES [PODS [PODS_HERE]]]

Rules are worked out as the node agent does it; as root they are also put into the kernel, in a network namespace of their
own. PODS_HERE of the pods (110 unless told) are the node's.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sampan.node.network.policies import pods
from sampan.node.network.policies.model import Model

NAMESPACES = 100
TABLE = "benchmark-policies"
TIMES = 20
Tree = dict[str, Any]


def pod(number: int, here: int, **labels: str) -> Tree:
    """One of a hundred to a namespace, of ten apps."""
    name, namespace = f"p{number}", f"n{number % NAMESPACES}"
    app = {"app": f"a{number // NAMESPACES % 10}", **labels}
    address = f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": name, "labels": app},
        "spec": {
            "nodeName": "here" if number < here else "there",
            "containers": [{"ports": [{"name": "web", "protocol": "TCP", "containerPort": 8080}]}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }


def policy(number: int, port: int = 443) -> Tree:
    """One app lets another one in by a port's name, and a labelled part of the cluster; it reaches names and a network."""
    namespace, app = f"n{number % NAMESPACES}", number // NAMESPACES % 10
    near = {"podSelector": {"matchLabels": {"app": f"a{(app + 1) % 10}"}}}
    team = {"namespaceSelector": {"matchLabels": {"team": f"t{number % 7}"}}}
    spec = {
        "podSelector": {"matchLabels": {"app": f"a{app}"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [near, team], "ports": [{"protocol": "TCP", "port": "web"}]}],
        "egress": [
            {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP", "port": 53}]},
            {"to": [{"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.7.0/24"]}}], "ports": [{"port": port}]},
        ],
    }
    return {"metadata": {"namespace": namespace, "name": f"policy-{number}"}, "spec": spec}


class Node:
    """A model, and the kernel's side of it if there is one."""

    def __init__(self, here: int) -> None:
        self.model, self.here, self.has_kernel = Model((4,), ["10.64.0.1"]), here, os.geteuid() == 0

    def put_pod(self, number: int, *, gone: bool = False, **labels: str) -> None:
        made = pod(number, self.here, **labels)
        key = made["metadata"]["namespace"], made["metadata"]["name"]
        self.model.put_pod(key, None if gone else pods.seen(made, "here"))

    def put_policy(self, number: int, port: int = 443) -> None:
        made = policy(number, port)
        self.model.put_policy((made["metadata"]["namespace"], made["metadata"]["name"]), made)

    def apply(self, text: str) -> float:
        """Milliseconds that the kernel took."""
        begun = time.perf_counter()
        if self.has_kernel:
            subprocess.run(("nft", "-f", "-"), input=text, text=True, check=True)
        self.model.ruleset.settle()
        return (time.perf_counter() - begun) * 1000


def measure(node: Node, what: str, change: Callable[[int], None]) -> None:
    """Makes the change some times, and prints what one of them cost."""
    rules, kernel, lines = 0.0, 0.0, 0
    for turn in range(TIMES):
        begun = time.perf_counter()
        change(turn)
        text = node.model.ruleset.change(TABLE)
        rules += (time.perf_counter() - begun) * 1000
        lines += text.count("\n")
        kernel += node.apply(text) if text else 0.0
    print(f"{what:42} {rules / TIMES:9.2f} ms   {lines / TIMES:7.1f} lines   nft {kernel / TIMES:8.1f} ms")


def main() -> None:
    policies, count, here = (int(given) for given in (*sys.argv[1:], *(1000, 10000, 110)[len(sys.argv) - 1 :]))
    node, begun = Node(here), time.perf_counter()
    for number in range(NAMESPACES):
        node.model.put_namespace(f"n{number}", {"team": f"t{number % 7}"})
    for number in range(count):
        node.put_pod(number)
    for number in range(policies):
        node.put_policy(number)
    text = node.model.ruleset.whole(TABLE)
    known = (time.perf_counter() - begun) * 1000
    rules = node.model.ruleset
    elements = sum(len(each) for each in rules.sets.values())
    print(f"{policies} policies, {count} pods, {here} of them here: {len(rules.chains)} chains, {elements} elements")
    print(f"{'everything':42} {known:9.2f} ms   {text.count(chr(10)):7} lines   nft {node.apply(text):8.1f} ms")
    measure(node, "a pod of this node comes, then goes", lambda turn: node.put_pod(7, gone=turn % 2 == 0))
    measure(node, "a pod of another node comes, then goes", lambda turn: node.put_pod(count - 93, gone=turn % 2 == 0))
    measure(node, "a pod's label changes", lambda turn: node.put_pod(5, app=f"a{turn % 10}"))
    measure(node, "a port in a policy changes", lambda turn: node.put_policy(7, 1000 + turn))
    measure(
        node, "a namespace is labelled otherwise", lambda turn: node.model.put_namespace("n9", {"team": f"t{turn % 7}"})
    )


if __name__ == "__main__":
    if os.geteuid() == 0 and "APART" not in os.environ:
        os.execvpe("unshare", ["unshare", "-n", sys.executable, *sys.argv], {**os.environ, "APART": "1"})
    main()
