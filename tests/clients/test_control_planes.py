"""Two control planes and real containers: one is killed, and nodes, pods and whoever asks the API go on with the other."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import pods
from tests.clients.conftest import NAME, TRUSTING, Cluster, busybox_image, needs_root
from tests.store.etcd import Etcd, program

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(180)]
QUICK = (
    "--leader-elect-lease-duration", "4s", "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "1s",
)  # fmt: skip


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[tuple[Cluster, Cluster]]:
    """The first has two nodes, each in a network namespace of its own; the second is a further control plane of it."""
    program()
    pytest.importorskip("grpc")
    etcd = Etcd(tmp_path / "etcd")
    etcd.start()
    first, second = (Cluster(tmp_path / name, tmp_path / f"{name}.conf", f"{NAME}-{name}") for name in "ab")
    try:
        common = ("--kubeconfig", str(first.kubeconfig), "--yes")
        first.sampan("up", *common, *TRUSTING, "--nodes", "2", "--store", etcd.url, *QUICK)
        busybox_image(first, tmp_path)
        shutil.rmtree(tmp_path / "busybox")
        second.sampan("up", "--kubeconfig", str(second.kubeconfig), "--control-plane-of", str(first.directory))
        yield first, second
    finally:
        second.sampan("down", "--purge", check=False)
        first.sampan("down", "--purge", check=False)
        etcd.stop()


def test_one_is_killed(clusters: tuple[Cluster, Cluster]) -> None:
    """The nodes stay Ready, a new pod starts by the other one, and pods reach only that one at kubernetes.default."""
    first, second = clusters
    pods.create(first, pods.pod("steady", pods.container()))
    pods.wait(first, pods.READY, "steady")
    os.kill(first.pid("control-plane"), signal.SIGKILL)
    pods.create(second, pods.pod("after", pods.container("echo made; " + pods.FOREVER)))
    pods.wait(second, pods.READY, "after")
    assert second.kubectl("logs", "after") == "made\n"
    second.until("the dead one is taken out", lambda: ports(second) == [api_port(second)])
    asking = "for n in 1 2 3 4 5 6 7 8; do nc -w 5 kubernetes.default 443 </dev/null || exit 1; done; echo all"
    assert second.kubectl("exec", "steady", "--", "sh", "-c", asking) == "all\n"
    second.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=1s")
    assert not any(node["spec"].get("taints") for node in second.get("nodes")["items"])


def ports(cluster: Cluster) -> list[int]:
    """Of the API servers behind the Service kubernetes."""
    found = cluster.get("endpoints", "kubernetes")
    return sorted(port["port"] for subset in found["subsets"] for port in subset["ports"])


def api_port(cluster: Cluster) -> int:
    server = cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    return int(server.rpartition(":")[2])
