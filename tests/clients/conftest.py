"""A real cluster with real containers for real clients, and a witness that nothing of it stays behind."""

import contextlib
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients import leaks

BIN = Path(sys.executable).parent
CLIENTS = BIN.parent / "clients"  # helm and kubectl 1.35, by scripts/fetch-clients
NAME = os.environ.get("SAMPAN_TEST_CLUSTER", "e2e")  # another name: two runs on one machine
RUNTIME = os.environ.get("SAMPAN_TEST_RUNTIME", "auto")  # unix:///...: the same tests with a CRI runtime
NODES = os.environ.get("SAMPAN_TEST_NODES", "1")  # 3: the same tests on three nodes
WAIT_SECONDS = 60.0
IDLE = "trap 'exit 0' TERM; sleep 1000 & wait"  # a script that ends at once when it is told to
TRUSTING = ("--allow-vulnerable-runtime",)  # Debian's runc is such a one; the images here are our own

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")


@dataclass
class Cluster:
    """The commands of a user: `sampan` and `kubectl`, bound to one cluster."""

    directory: Path
    kubeconfig: Path
    name: str = NAME

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{BIN}:{CLIENTS}:{os.environ['PATH']}"}

    def run(self, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, input=stdin, text=True, capture_output=True, env=self.environment, timeout=120, check=False
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.run("kubectl", *arguments, stdin=stdin).stdout

    def helm(self, *arguments: str, check: bool = True) -> str:
        """helm in the current namespace, with its own files beside the kubeconfig."""
        homes = [f"HELM_{name}_HOME={self.kubeconfig.parent}/helm" for name in ("CACHE", "CONFIG", "DATA")]
        return self.run("env", *homes, "helm", *arguments, check=check).stdout

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """The error text of a kubectl that must fail."""
        done = self.run("kubectl", *arguments, stdin=stdin, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def sampan(self, command: str, *arguments: str, check: bool = True) -> str:
        where = ("--name", self.name, "--data-dir", str(self.directory)) if command != "ls" else ()
        return self.run("sampan", command, *where, *arguments, check=check).stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def pid(self, process: str) -> int:
        return int((self.directory / "run" / f"{process}.pid").read_text().split()[0])

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        """Waits for a condition that no client command can wait for."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {WAIT_SECONDS:.0f} s: {what}")


def busybox_image(cluster: Cluster, directory: Path) -> None:
    """Makes the image busybox:1.36 of the static busybox."""
    root = directory / "busybox"
    for name in ("bin", "etc", "tmp", "root", "var", "home"):
        (root / name).mkdir(parents=True, exist_ok=True)
    binary = shutil.which("busybox") or "/bin/busybox"
    shutil.copy2(binary, root / "bin/busybox")
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnobody:x:65534:\n")
    cluster.sampan("image", "import", str(root), "--tag", "busybox:1.36", "--cmd", "sh")


def traces() -> dict[str, set[str]]:
    """What a cluster could leave on this host."""

    def lines(*command: str) -> set[str]:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    links = {line.split(":")[1].strip().split("@")[0] for line in lines("ip", "-o", "link")}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    processes = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"PYTEST_XDIST_WORKER=" in environment and "PYTEST_XDIST_WORKER" not in os.environ:
                continue  # of a simulated cluster of the unit tests, which run beside these: it has nothing else
            if any(word in command for word in ("conmon", "sampan.cluster", "sampan.node", "runc")):
                processes.add(command)
    cgroups = {  # os.walk passes over what goes away meanwhile
        os.path.join(root, name) for root, names, _ in os.walk("/sys/fs/cgroup") for name in names if "sampan" in name
    }
    old, claims = sysctls()
    return {
        "links": links,
        "mounts": mounts,
        "processes": processes,
        "cgroups": cgroups,
        "tables": lines("nft", "list", "tables"),
        "routes": lines("ip", "route", "show", "table", "all"),
        "forwarding": {old.get("net.ipv4.ip_forward") or Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()},
        "claims": claims,
        "run": {str(p) for p in Path("/run").glob("sampan*")},
    }


def sysctls() -> tuple[dict[str, str], set[str]]:
    """Of the host's settings that nodes have changed: the values from before, and who needs them changed.

    A run that is broken off with all its processes leaves its claims. The next cluster of that name takes them over, and
    in the end puts back what was there before both.
    """
    old, claims = {}, set()
    for file in Path("/run/sampan").glob("sysctl-*.json"):
        with contextlib.suppress(FileNotFoundError):
            found = json.loads(file.read_bytes())
            old[found["name"]] = found["old"]
            claims |= {f"{found['name']} for {owner}" for owner in found["owners"]}
    return old, claims


def last_words(directory: Path) -> str:
    """Of each process of the cluster that has ended though nobody asked it to: the end of its log."""
    said = []
    for file in sorted((directory / "run").glob("*.pid")):
        if not Path("/proc", file.read_text().split()[0]).exists():
            log = directory / "logs" / f"{file.stem}.log"
            said.append(f"{file.stem} has died: {log.read_text()[-3000:] if log.exists() else 'no log'}")
    return "\n".join(said)


@contextlib.contextmanager
def running(directory: Path, name: str, *options: str) -> Iterator[Cluster]:
    """A cluster while it is needed; afterwards the host must be as before."""
    before = traces()
    made = Cluster(directory / "data", directory / "kubeconfig", name)
    try:
        made.sampan("up", "--kubeconfig", str(made.kubeconfig), "--yes", "--runtime", RUNTIME, *TRUSTING, *options)
        index = json.loads((made.directory / "cluster.json").read_text())["index"]
        busybox_image(made, directory)
        yield made
    finally:
        died = last_words(made.directory)
        made.sampan("down", "--purge", check=False)
        gc.collect()  # what client libraries left open is complained of here, and not amid the end of the session
    left = {name: sorted(found - before[name]) for name, found in traces().items()}
    if before["processes"]:  # another cluster runs here and changes things too: look at what names ours only
        marks = (str(directory), f"sampan-{name}", f"sampan{index}n", f"sampan{index}lan", f"sampan-{index}-")
        left = {name: [line for line in lines if any(mark in line for mark in marks)] for name, lines in left.items()}
    assert not died, died
    assert left == {name: [] for name in left}
    assert not made.directory.exists()
    assert not made.kubeconfig.exists()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all client tests."""
    with running(tmp_path_factory.mktemp("cluster"), NAME, "--nodes", NODES) as made:
        yield made


@pytest.fixture
def ns(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of its own, gone afterwards with all that its pods had on the host."""
    before = leaks.of_pods(cluster.directory, cluster.name)
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")[:50].rstrip("-")
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("config", "set-context", "--current", "--namespace", name)
    yield name
    cluster.kubectl("config", "set-context", "--current", "--namespace", "default")
    cluster.kubectl("delete", "namespace", name, "--timeout=60s")
    # A pod that was deleted by force is gone from the API before the node has ended it.
    cluster.until("all is gone that its pods had", lambda: leaks.of_pods(cluster.directory, cluster.name) <= before)


def pod(name: str, script: str, extra: str = "") -> str:
    """A pod that runs a shell script once."""
    head = f"""
    apiVersion: v1
    kind: Pod
    metadata: {{name: {name}, labels: {{run: {name}}}}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.36
        command: [sh, -c, {json.dumps(script)}]
    """
    return textwrap.dedent(head) + textwrap.indent(textwrap.dedent(extra), "    ")
