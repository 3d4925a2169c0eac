"""kubectl top on real containers: the agents' figures, by way of metrics.k8s.io."""

import json

import pytest

from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: works, image: busybox:1.36, command: [sh, -c, "while :; do :; done"], resources: {limits: {cpu: 300m}}}
  - {name: sleeps, image: busybox:1.36, command: [sleep, "1000"]}
"""


def test_top(cluster: Cluster, ns: str) -> None:
    """What works is seen to work, and what sleeps to sleep; the node has figures too."""
    cluster.kubectl("apply", "-f", "-", stdin=POD)
    cluster.kubectl("wait", "pod/busy", "--for=condition=Ready", "--timeout=60s")
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{ns}/pods/busy"

    def figures() -> dict[str, str] | None:
        done = cluster.run("kubectl", "get", "--raw", path, check=False)
        found = json.loads(done.stdout)["containers"] if done.returncode == 0 else []
        return {c["name"]: c["usage"]["cpu"] for c in found} if len(found) == 2 else None

    def is_seen() -> bool:
        """The first figures count the start, which is work too."""
        rows = cluster.kubectl("top", "pod", "busy", "--containers", "--no-headers").splitlines()
        cores = {row.split()[1]: int(row.split()[2].removesuffix("m")) for row in rows}
        return cores["works"] > 100 > cores["sleeps"]

    cluster.until("figures of both containers", figures)
    cluster.until("one works, and one sleeps", is_seen)
    node = cluster.kubectl("top", "node", "--no-headers").split()
    assert int(node[1].removesuffix("m")) > 0
    assert node[3].endswith("Mi")
