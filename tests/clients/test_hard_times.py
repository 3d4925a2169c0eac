"""A disk that fills up, a clock that jumps, years that pass: pods go on, what was acknowledged is there, and all goes on."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clients import later, leaks, pods
from tests.clients.conftest import CLIENTS, NAME, TRUSTING, Cluster, busybox_image, needs_root

pytestmark = [needs_root, pytest.mark.root]

MEBIBYTES = 96
NEVER_EVICT = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
evictionHard: {}
"""
"""Of a full disk its node would make room, rightly, where the test is slower than ten seconds."""
MADE_UP_CLOCK = CLIENTS / "libfaketimeMT.so.1"


@dataclass
class Machine:
    """A disk of its own, and a clock that shows the right time plus what a file says."""

    disk: Path
    offset: Path

    def set_clock(self, offset: str) -> None:
        fresh = self.offset.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(self.offset)

    @property
    def faked(self) -> list[str]:
        """What `env` is told for a process that is to see that clock."""
        words = [f"LD_PRELOAD={MADE_UP_CLOCK}", f"FAKETIME_TIMESTAMP_FILE={self.offset}"]
        return [*words, "FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]

    def fill(self) -> None:
        """Nothing fits any more."""
        with contextlib.suppress(OSError), open(self.disk / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        (self.disk / "filler").unlink()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("machine")
    made = Machine(directory / "disk", directory / "offset")
    made.disk.mkdir()
    made.set_clock("+0")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "small", made.disk], check=True)
    yield made
    subprocess.run(["umount", made.disk], check=True)


@pytest.fixture(scope="module")
def cluster(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose processes have that disk, and see that clock; time that passes is the machine's own."""
    directory = tmp_path_factory.mktemp("cluster")
    made = Cluster(machine.disk / "data", directory / "kubeconfig", f"{NAME}-hard")
    assert MADE_UP_CLOCK.exists() or not os.environ.get("CI")
    words = machine.faked if MADE_UP_CLOCK.exists() else []
    where = ("--name", made.name, "--data-dir", str(made.directory), "--kubeconfig", str(made.kubeconfig))
    made.directory.mkdir(mode=0o700)
    (made.directory / "kubelet.yaml").write_text(NEVER_EVICT)
    try:
        made.run("env", *words, "sampan", "up", *where, "--yes", *TRUSTING)
        busybox_image(made, directory)
        shutil.rmtree(directory / "busybox")
        yield made
    finally:
        made.sampan("down", "--purge", check=False)
    assert leaks.of_pods(made.directory, made.name) == set()


def life(cluster: Cluster, name: str) -> tuple[str, int]:
    """Which container runs, and the how many-th it is."""
    (found,) = pods.status(cluster, name)["containerStatuses"]
    assert "running" in found["state"]
    return found["containerID"], found["restartCount"]


def test_a_full_disk(cluster: Cluster, machine: Machine) -> None:
    """Creations are refused with the reason; reads, deletions and pods go on. Once there is room everything works without help."""
    pods.create(
        cluster,
        pods.thing("ConfigMap", "kept"),
        pods.thing("ConfigMap", "unneeded"),
        pods.pod("steady", pods.container()),
    )
    pods.wait(cluster, pods.READY, "steady")
    before = life(cluster, "steady")
    machine.fill()
    refused = cluster.refused("create", "configmap", "lost")
    assert "no space is left where the store is" in refused
    assert "no space is left where the store is" in cluster.refused("run", "lost", "--image=busybox:1.36")
    cluster.kubectl("delete", "configmap", "unneeded")
    assert cluster.get("configmap", "kept")["metadata"]["name"] == "kept"
    assert life(cluster, "steady") == before
    machine.free()
    cluster.until("a write", lambda: cluster.run("kubectl", "create", "configmap", "late", check=False).returncode == 0)
    pods.create(cluster, pods.pod("after", pods.container()))
    pods.wait(cluster, pods.READY, "after")
    assert cluster.kubectl("exec", "steady", "--", "echo", "there") == "there\n"
    assert life(cluster, "steady") == before
    names = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
    assert {"kept", "late"} <= names and "lost" not in names
    cluster.kubectl("delete", "pod", "steady", "after")


needs_clock = pytest.mark.skipif(
    not MADE_UP_CLOCK.exists() and not os.environ.get("CI"), reason="needs libfaketime (scripts/test)"
)


@needs_clock
def test_a_clock_that_jumps(cluster: Cluster, machine: Machine) -> None:
    """Two hours ahead and back again: the node stays Ready, no container is started anew, new pods run."""
    pods.create(cluster, pods.pod("steady", pods.container()))
    pods.wait(cluster, pods.READY, "steady")
    before, begun = life(cluster, "steady"), made_at(cluster, "pod/steady")
    machine.set_clock("+2h")
    cluster.until("the clock has jumped", lambda: made_later(cluster, "ahead", begun))
    new_pod(cluster, "in-the-future")
    machine.set_clock("+0")
    cluster.until("the clock is back", lambda: not made_later(cluster, "back", begun))
    new_pod(cluster, "back-again")
    assert life(cluster, "steady") == before
    wait_node(cluster)
    assert not cluster.get("nodes")["items"][0]["spec"].get("taints")
    cluster.kubectl("delete", "pod", "steady", "in-the-future", "back-again")


def wait_node(cluster: Cluster) -> None:
    """Kubectl's own limits are those of a clock that may just have been set."""

    def is_ready() -> bool:
        (node,) = cluster.get("nodes")["items"]
        return "True" in [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]

    cluster.until("the node is Ready", is_ready)


def new_pod(cluster: Cluster, name: str) -> None:
    """One that gets a token, and a volume with it."""
    pods.create(cluster, pods.pod(name, pods.container("test -s /var/run/secrets/kubernetes.io/serviceaccount/token")))
    pods.wait(cluster, pods.SUCCEEDED, name)


def made_at(cluster: Cluster, name: str) -> str:
    return str(cluster.get(name)["metadata"]["creationTimestamp"])


def made_later(cluster: Cluster, prefix: str, than: str) -> bool:
    """Whether something that is made now is later than that by an hour or so."""
    output = cluster.kubectl("create", "configmap", prefix, "--dry-run=server", "-o", "json")
    found = str(json.loads(output)["metadata"]["creationTimestamp"])
    return datetime.fromisoformat(found) - datetime.fromisoformat(than) > timedelta(hours=1)


@needs_clock
def test_a_machine_that_slept_for_a_year(cluster: Cluster, machine: Machine) -> None:
    """Every certificate has ended. The same kubeconfig leads to the API again, nodes, new pods, logs and pods' tokens go on.

    So they do when the clock is set back, to before what was made meanwhile.
    """
    token = "while sleep 0.2; do md5sum < /var/run/secrets/kubernetes.io/serviceaccount/token; done"
    pods.create(cluster, pods.pod("steady", pods.container(f"trap 'exit 0' TERM; {token}")))
    pods.wait(cluster, pods.READY, "steady")
    cluster.until("it has a token", lambda: cluster.kubectl("logs", "steady", "--tail=1"))
    before, its_token = life(cluster, "steady"), cluster.kubectl("logs", "steady", "--tail=1")
    machine.set_clock("+400d")

    def ask(method: str, path: str, body: Any = None) -> str:
        command = (sys.executable, later.__file__, str(cluster.kubeconfig), method, path)
        done = cluster.run("env", *machine.faked, *command, stdin=json.dumps(body) if body else "", check=False)
        return done.stdout

    pods_path, made = "/api/v1/namespaces/default/pods", pods.pod("a-year-later", pods.container("echo made"))
    cluster.until("the API answers", lambda: ask("GET", "/api/v1/nodes"))
    ask("POST", pods_path, made)
    cluster.until("a pod has run", lambda: ask("GET", f"{pods_path}/a-year-later/log") == "made\n")
    cluster.until("a new token", lambda: ask("GET", f"{pods_path}/steady/log?tailLines=1") not in ("", its_token))
    (node,) = json.loads(ask("GET", "/api/v1/nodes"))["items"]
    assert "True" in [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert not node["spec"].get("taints")
    machine.set_clock("+0")
    cluster.until("the API answers again", lambda: ask("GET", "/api/v1/nodes"))
    cluster.until("kubectl is answered", lambda: cluster.run("kubectl", "get", "nodes", check=False).returncode == 0)
    new_pod(cluster, "back-in-the-present")
    assert cluster.kubectl("logs", "a-year-later") == "made\n"
    assert life(cluster, "steady") == before
    wait_node(cluster)
    cluster.kubectl("delete", "pod", "steady", "a-year-later", "back-in-the-present")
