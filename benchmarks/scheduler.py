"""The scheduler alone: how many pods a second it places, on how many nodes, by kinds of pods; and through the API.

    python benchmarks/scheduler.py [NODES ...]

Decisions and bookkeeping only, in one process, without a server; the last lines are whole simulated clusters in which
every pod is written, decided, bound and told of. Ratios are to plain pods on as many nodes.
"""

import sys
import time
from typing import Any

from sampan.scheduling import cycle, demand
from sampan.scheduling.snapshot import Snapshot
from sampan.testing import Cluster

PODS = 2000
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SELF = {"matchLabels": {"app": "web"}}


def cluster(nodes: int) -> Snapshot:
    made = Snapshot()
    for n in range(nodes):
        labels = {HOST: f"n{n}", ZONE: f"z{n % 3}"}
        allocatable = {"cpu": "32", "memory": "128Gi", "pods": "110"}
        metadata = {"name": f"n{n}", "labels": labels}
        made.set_node({"metadata": metadata, "spec": {}, "status": {"allocatable": allocatable}})
    return made


def pod(n: int, owner: str = "", priority: int = 0, cpu: str = "100m", **spec: Any) -> Any:
    metadata = {"name": f"p{n}", "namespace": "default", "uid": f"u{n}", "labels": {"app": "web"}}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "kind": "ReplicaSet", "controller": True}]
    container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu, "memory": "200Mi"}}}
    return {"metadata": metadata, "spec": {"containers": [container], "priority": priority, **spec}}


def term(key: str) -> dict[str, Any]:
    return {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": SELF}]}


def constraint(key: str) -> dict[str, Any]:
    return {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELF}


KINDS: dict[str, Any] = {
    "plain": lambda n: pod(n),
    "of one ReplicaSet": lambda n: pod(n, "rs"),
    "of 100 ReplicaSets": lambda n: pod(n, f"rs-{n % 100}"),
    "spread over zones and hosts": lambda n: pod(n, topologySpreadConstraints=[constraint(ZONE), constraint(HOST)]),
    "near one another, in a zone": lambda n: pod(n, affinity={"podAffinity": term(ZONE)}),
    "one on a host": lambda n: pod(n, affinity={"podAntiAffinity": term(HOST)}),
}


def per_second(nodes: int, kind: Any) -> float:
    snapshot, placed = cluster(nodes), 0
    began = time.perf_counter()
    for n in range(PODS):
        asked = demand.of(kind(n))
        decision = cycle.decide(asked, snapshot)
        if decision.node:
            snapshot.place(asked, decision.node)
            placed += 1
    return PODS / (time.perf_counter() - began)


def preemption(nodes: int) -> float:
    """Milliseconds to find out whom to push out where every node is full."""
    snapshot = cluster(nodes)
    for n in range(nodes):
        for at in range(16):
            snapshot.place(demand.of(pod(16 * n + at, cpu="2")), f"n{n}")
    asked = demand.of(pod(-1, priority=10, cpu="4"))
    cycle.decide(demand.of(pod(-2, cpu="4")), snapshot)
    began = time.perf_counter()
    assert cycle.decide(asked, snapshot).outcome.victims
    return 1000 * (time.perf_counter() - began)


def through_the_api(nodes: int, pods: int) -> float:
    """Pods a second of a simulated cluster whose nodes run them, from the write to the binding."""
    with Cluster(nodes=nodes) as made:
        container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": "100m"}}}
        began = time.perf_counter()
        for n in range(pods):
            metadata = {"name": f"p{n}", "labels": {"app": "web"}}
            made.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
        made.run_until(lambda: all(p["spec"].get("nodeName") for p in made.list("pod")))
        return pods / (time.perf_counter() - began)


def main() -> None:
    for nodes in [int(each) for each in sys.argv[1:]] or [1000, 5000]:
        plain = 0.0
        for name, kind in KINDS.items():
            found = per_second(nodes, kind)
            plain = plain or found
            print(f"{nodes:>6} nodes, pods {name:<32}{found:>9.0f} a second{found / plain:>8.2f}", flush=True)
        print(f"{nodes:>6} nodes, one search for victims{'':<15}{preemption(nodes):>9.1f} ms")
    print(f"    10 nodes, through the API{'':<20}{through_the_api(10, 500):>9.0f} a second")


if __name__ == "__main__":
    main()
