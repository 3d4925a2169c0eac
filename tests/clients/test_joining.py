"""A second machine joins the cluster: its pods are as reachable as any, and nothing of it stays when it leaves.

That machine is a network and mount namespace with a home of its own, at the other end of a cable. The API, and the
tunnel between the pods, are all that the two have in common.
"""

import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import NAME, RUNTIME, TRUSTING, Cluster, needs_root, running
from tests.clients.pods import container, pod_of, thing

pytestmark = [
    needs_root,
    pytest.mark.root,
    pytest.mark.skipif(RUNTIME != "auto", reason="one containerd can't serve two machines"),
]
SEGMENT = f"198.18.{zlib.crc32(NAME.encode()) % 250}"
HERE, THERE = f"{SEGMENT}.1", f"{SEGMENT}.2"
# Named as ours are: for another's cable the host would go on forwarding.
LINKS = (f"sampanj{os.getpid() % 10000}a", f"sampanj{os.getpid() % 10000}b")
SERVE = "mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w"
PORTS = [{"port": 80, "targetPort": 8080}]
READY = {"readinessProbe": {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1}}


@dataclass
class Machine:
    """Another one, as far as a process can tell: `pid` holds its namespaces."""

    pid: int
    home: Path

    def run(self, *command: str, check: bool = True) -> str:
        """A command there, as its root. What it printed; the error instead where it must fail."""
        environment = {**os.environ, "HOME": str(self.home), "KUBECONFIG": str(self.home / "none")}
        environment.pop("XDG_DATA_HOME", None)
        done = subprocess.run(
            ("nsenter", "-t", str(self.pid), "-n", "-m", *command),
            text=True, capture_output=True, env=environment, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is check, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if check else done.stderr

    def sampan(self, *arguments: str, check: bool = True) -> str:
        return self.run(
            shutil.which("sampan", path=Cluster(Path(), Path()).environment["PATH"]) or "sampan",
            *arguments,
            check=check,
        )

    def network(self) -> set[str]:
        """What it has of links, routes, neighbours and tables."""
        commands = (("ip", "-br", "addr"), ("ip", "route", "show", "table", "all"), ("nft", "list", "tables"))
        found = {line for command in commands for line in self.run(*command).splitlines()}
        return {" ".join(line.split()) for line in found if "fe80" not in line}


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """At the other end of a cable."""
    ip("link", "add", LINKS[0], "type", "veth", "peer", "name", LINKS[1])
    holder = subprocess.Popen(("unshare", "-n", "-m", "--propagation", "private", "sleep", "600"))
    try:
        ip("addr", "add", f"{HERE}/24", "dev", LINKS[0])
        ip("link", "set", LINKS[0], "addrgenmode", "none")  # or its own address comes later, and is taken for a trace
        ip("link", "set", LINKS[0], "up")
        made = Machine(holder.pid, tmp_path / "home")
        made.home.mkdir()
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert holder.poll() is None
        ip("link", "set", LINKS[1], "netns", str(holder.pid))
        Path("/run/sampan").mkdir(exist_ok=True)
        made.run("mount", "-t", "tmpfs", "none", "/run/sampan")  # a machine's own, as /run is
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "addr", "add", f"{THERE}/24", "dev", LINKS[1])
        made.run("ip", "link", "set", LINKS[1], "up")
        made.run("ip", "route", "add", "default", "via", HERE)
        yield made
    finally:
        holder.kill()
        holder.wait()
        subprocess.run(
            ("ip", "link", "delete", LINKS[0]), stderr=subprocess.DEVNULL, check=False
        )  # may be gone with it


def joined(cluster: Cluster, machine: Machine, tmp_path: Path) -> str:
    """What joining printed; afterwards the machine has the image too."""
    command = cluster.sampan("node", "token", "--print-join-command").split()
    taken = machine.sampan(*command[1:], "--name", f"sampan-{cluster.name}", *TRUSTING, check=False)
    assert f"a node sampan-{cluster.name} is in the cluster already" in taken
    said = machine.sampan(*command[1:], "--name", "there", *TRUSTING)
    image = tmp_path / "busybox.tar"
    cluster.sampan("image", "save", "busybox:1.36", "-o", str(image))
    machine.sampan("image", "--name", "node-there", "load", str(image))
    return said


def test_a_machine_joins_and_leaves(machine: Machine, tmp_path: Path) -> None:
    """T5: token, TLS bootstrap, pods that reach each other and services by name over vxlan, logs, exec, leaving."""
    before = machine.network()
    with running(tmp_path / "first", f"{NAME}-j", "--listen", HERE) as cluster:
        assert "node there is Ready" in joined(cluster, machine, tmp_path)
        node = cluster.get("node", "there")
        assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": THERE}
        assert {r["status"]["conditions"][0]["reason"] for r in cluster.get("csr")["items"]} == {"AutoApproved"}
        webs = [
            pod_of({"labels": {"app": "web"}}, name, container(SERVE, **READY), nodeName=where, hostname=name)
            for name, where in (("web-here", f"sampan-{cluster.name}"), ("web-there", "there"))
        ]
        services = [
            thing("Service", f"web-{where}", spec={"selector": {"run": f"web-{where}"}, "ports": PORTS})
            for where in ("here", "there")
        ]
        cluster.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*webs, *services]})
        )
        cluster.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s")
        assert cluster.get("pod", "web-there")["status"]["hostIP"] == THERE
        for asker, other in (("web-here", "web-there"), ("web-there", "web-here")):
            address = cluster.get("pod", other)["status"]["podIP"]
            ask = f"wget -qO- http://{address}:8080 && wget -qO- http://{other}.default.svc.cluster.local"
            assert cluster.kubectl("exec", asker, "--", "sh", "-c", ask).split() == [other, other]
        names = cluster.kubectl("exec", "web-there", "--", "nslookup", "kubernetes.default.svc.cluster.local")
        assert cluster.get("service", "kubernetes")["spec"]["clusterIP"] in names
        reach = "nc kubernetes.default.svc.cluster.local 443 < /dev/null && echo reached"
        assert "reached" in cluster.kubectl("exec", "web-there", "--", "sh", "-c", reach)
        big = "head -c 4000000 /dev/zero > /w/big"  # packets as large as the tunnel lets through
        cluster.kubectl("exec", "web-there", "--", "sh", "-c", big)
        count = "wget -qO- http://web-there/big | wc -c"
        assert cluster.kubectl("exec", "web-here", "--", "sh", "-c", count).strip() == "4000000"
        assert "yes" in machine.sampan("node", "list")
        machine.sampan("down")
        machine.sampan("node", "start")
        cluster.kubectl("wait", "--for=condition=Ready", "node", "there", "--timeout=60s")
        left = machine.sampan("node", "leave")
        assert "nothing of it is on this machine" in left
        cluster.sampan("node", "remove", "there")
        assert [n["metadata"]["name"] for n in cluster.get("nodes")["items"]] == [f"sampan-{cluster.name}"]
        assert machine.network() == before
        assert not (machine.home / ".local/share/sampan").exists()
