"""The controllers: what large rollouts and deletions cost, in time, in looks that hold the loop, and in memory.

    python benchmarks/controllers.py [NAME ...]

Whole simulated clusters, each in a process of its own: server, store, scheduler, nodes and controllers share it, and
virtual time passes as far as they need it. Times are the processor's. A look is one call of a controller's rule, or one
step of it: as long nobody else has a turn, so none should take more than 10 ms.
"""

import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind
from sampan.meta import objects

HOLD_SECONDS = 0.010
Tree = dict[str, Any]


class Looks:
    """Every call of every controller's rule, timed."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        for worker in cluster.plane.workers.runner.workers:
            worker.rule = self._timed(worker.name, worker.rule)

    def _timed(self, name: str, rule: Any) -> Any:
        times = self.times[name]

        def step(do: Any, *given: Any) -> Any:
            began = time.process_time()
            try:
                return do(*given)
            finally:
                times.append(time.process_time() - began)

        def through(steps: Any) -> Any:
            while True:
                try:
                    step(next, steps)
                except StopIteration as end:
                    return end.value
                yield

        def timed(*given: Any) -> Any:
            found = step(rule, *given)
            return through(found) if hasattr(found, "send") else found

        return timed

    def tell(self) -> None:
        used = [(name, times) for name, times in self.times.items() if times]
        for name, times in sorted(used, key=lambda entry: -sum(entry[1]))[:4]:
            held = sum(each > HOLD_SECONDS for each in times)
            looks, most = f"{len(times)} looks, {sum(times):.2f} s", f"longest {1000 * max(times):.1f} ms"
            print(f"      {name:<36}{looks:<26}{most}{f', {held} of over 10 ms' if held else ''}")


def tree(kind: Kind, name: str, spec: Tree, **metadata: Any) -> Tree:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": spec,
    }


def template(image: str = "web:1", **orders: str) -> Tree:
    annotations = {f"simulated.sampan.dev/{name}": value for name, value in orders.items()}
    metadata = {"labels": {"app": "web"}, "annotations": annotations}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": image}]}}


def workload(kind: Kind, **spec: Any) -> Tree:
    return tree(kind, "web", {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec})


def status(cluster: SimulatedCluster, kind: Kind, field: str) -> Any:
    found = cluster.get(kind, "web", "default")
    return (found or {}).get("status", {}).get(field)


def until(cluster: SimulatedCluster, is_so: Callable[[], bool]) -> None:
    cluster.run_until(is_so, within=36_000)


def deployment_made(cluster: SimulatedCluster) -> int:
    cluster.create(workload(DEPLOYMENT, replicas=1000))
    until(cluster, lambda: status(cluster, DEPLOYMENT, "availableReplicas") == 1000)
    return 1000


def deployment_rolled(cluster: SimulatedCluster) -> int:
    cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"template": template("web:2")}})
    until(cluster, lambda: _is_rolled(cluster) and len(cluster.list(POD)) == 1000)
    return 1000


def _is_rolled(cluster: SimulatedCluster) -> bool:
    found = cluster.get(DEPLOYMENT, "web", "default") or {}
    said = found.get("status", {})
    return said.get("updatedReplicas") == said.get("availableReplicas") == said.get("replicas") == 1000


def owned(cluster: SimulatedCluster) -> None:
    owner = cluster.create(tree(CONFIGMAP, "owner", {}))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": objects.uid(owner)}
    for number in range(10_000):
        cluster.create(tree(CONFIGMAP, f"c{number}", {}, ownerReferences=[reference]))


def collected(cluster: SimulatedCluster) -> int:
    cluster.delete(CONFIGMAP, "owner", "default")
    until(cluster, lambda: len(cluster.list(CONFIGMAP, "default")) <= 1)
    return 10_000


def filled(cluster: SimulatedCluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}})
    for number in range(10_000):
        cluster.create(tree(CONFIGMAP, f"c{number}", {}, namespace="full"))


def emptied(cluster: SimulatedCluster) -> int:
    cluster.delete(NAMESPACE, "full")
    until(cluster, lambda: cluster.get(NAMESPACE, "full") is None)
    return 10_000


def stateful_made(cluster: SimulatedCluster) -> int:
    cluster.create(workload(STATEFULSET, replicas=100, serviceName="web"))
    until(cluster, lambda: status(cluster, STATEFULSET, "availableReplicas") == 100)
    return 100


def stateful_rolled(cluster: SimulatedCluster) -> int:
    cluster.patch(STATEFULSET, "web", "default", {"spec": {"template": template("web:2")}})
    until(cluster, lambda: _is_whole(cluster))
    return 100


def _is_whole(cluster: SimulatedCluster) -> bool:
    found = (cluster.get(STATEFULSET, "web", "default") or {}).get("status", {})
    return found.get("currentRevision") == found.get("updateRevision") and found.get("availableReplicas") == 100


def many_nodes(cluster: SimulatedCluster) -> None:
    for number in range(5000):
        name = f"n{number}"
        heard = {"lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ready = {"type": "Ready", "status": "True", **heard}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        said = {"conditions": [ready], "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"}}
        cluster.create(node | {"status": said})


def daemons_made(cluster: SimulatedCluster) -> int:
    cluster.create(workload(DAEMONSET))
    until(cluster, lambda: len(cluster.list(POD)) == 5000)
    return 5000


def service_made(cluster: SimulatedCluster) -> int:
    service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    cluster.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}} | {"spec": service}
    )
    cluster.create(workload(DEPLOYMENT, replicas=1000))
    until(cluster, lambda: _ready_endpoints(cluster) == 1000)
    return 1000


def _ready_endpoints(cluster: SimulatedCluster) -> int:
    slices = cluster.list(ENDPOINTSLICE, "default")
    return sum(
        e["conditions"]["ready"] for s in slices for e in s["endpoints"] or () if objects.name(s) != "kubernetes"
    )


def job_done(cluster: SimulatedCluster) -> int:
    made = template(**{"run-seconds": "5"})
    made["spec"]["restartPolicy"] = "Never"
    cluster.create(tree(JOB, "web", {"completions": 1000, "parallelism": 100, "template": made}))
    until(cluster, lambda: status(cluster, JOB, "succeeded") == 1000 and bool(status(cluster, JOB, "completionTime")))
    return 1000


Step = Callable[[SimulatedCluster], int | None]
SCENARIOS: dict[str, tuple[int, dict[str, Step]]] = {
    "deployment": (20, {"made, 1,000 replicas": deployment_made, "rolled": deployment_rolled}),
    "collection": (1, {"": owned, "10,000 dependents collected": collected}),
    "namespace": (1, {"": filled, "10,000 objects deleted": emptied}),
    "statefulset": (2, {"made, 100 replicas": stateful_made, "rolled": stateful_rolled}),
    "daemonset": (0, {"": many_nodes, "on 5,000 nodes": daemons_made}),
    "service": (20, {"of 1,000 pods that come": service_made}),
    "job": (4, {"1,000 completions, 100 at once": job_done}),
}
"""By name: how many nodes run pods, and what is done; what has no name is not measured."""


def memory() -> float:
    """What this process uses now, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


def run(name: str) -> None:
    nodes, steps = SCENARIOS[name]
    with SimulatedCluster(seed=1, nodes=nodes) as cluster:
        for what, step in steps.items():
            if not what:
                step(cluster)
                continue
            looks, writes, before, began = Looks(cluster), len(cluster.history), memory(), time.process_time()
            count = step(cluster) or 1
            took = time.process_time() - began
            each = f"{1000 * took / count:.2f} ms each, {(len(cluster.history) - writes) / count:.1f} writes each"
            print(f"{name + ' ' + what:<42}{took:>8.2f} s   {each:<36}{memory() - before:>7.0f} MiB more", flush=True)
            looks.tell()


def main() -> None:
    chosen = sys.argv[1:] or list(SCENARIOS)
    if len(chosen) == 1:
        run(chosen[0])
        return
    for name in chosen:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
