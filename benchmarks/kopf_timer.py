"""An operator over a virtual day: how long a test takes whose kopf timer fires after 24 hours, from nothing to the end.

    python benchmarks/kopf_timer.py

kopf runs unmodified in a thread, on the cluster's time, over HTTPS; this file is also what it runs. The cluster has one
node. Each figure is the best of several.
"""

import os
import time
from pathlib import Path

import kopf
from kopf.testing import KopfRunner

from sampan.testing import Cluster

TIMES = 7
DAY = 86_400
WHERE = ("example.com", "v1", "booths")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "booths.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "booths", "singular": "booth", "kind": "Booth"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
BOOTH = {"apiVersion": "example.com/v1", "kind": "Booth", "metadata": {"name": "one"}}


@kopf.on.login()
def known(**given: object) -> object:
    return kopf.login_with_kubeconfig(**given)


@kopf.timer(*WHERE, interval=DAY, initial_delay=DAY)
def ticked(patch: kopf.Patch, **_: object) -> None:
    patch.status["ticks"] = 1


def once() -> tuple[float, float]:
    """Wall and processor seconds of one test."""
    began, spent = time.perf_counter(), time.process_time()
    with Cluster() as cluster:
        cluster.apply(DEFINITION)
        cluster.wait_for("crd/booths.example.com", "Established")
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig)
        command = ["run", "--all-namespaces", "--standalone", str(Path(__file__))]
        with cluster.virtual_time(), KopfRunner(command, registry=kopf.OperatorRegistry()):
            cluster.apply(BOOTH)
            cluster.advance(seconds=DAY, minutes=1)
            assert cluster.get("booths/one")["status"]["ticks"] == 1
    return time.perf_counter() - began, time.process_time() - spent


def main() -> None:
    found = [once() for _ in range(TIMES)]
    print(f"a test whose kopf timer fires after 24 hours: {min(wall for wall, _ in found):.2f} s")
    print(f"of processor time: {min(spent for _, spent in found):.2f} s")


if __name__ == "__main__":
    main()
