"""Real containers without root: an ordinary user's cluster in a user namespace."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import ordinary, pods
from tests.clients.conftest import NAME, TRUSTING, Cluster, busybox_image, needs_root, traces
from tests.clients.ordinary import User
from tests.clients.test_building import until_page

pytestmark = [needs_root, pytest.mark.root]

SERVE = "mkdir -p /tmp/w; echo $WHO > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
ASK = "until wget -qO- http://web.default.svc.cluster.local 2>/dev/null; do sleep 0.1; done; cat /told/key; echo $LIMIT"


class RootlessCluster(Cluster):
    """The same commands, by that user."""

    user: User

    def run(self, *command: str, stdin: str = "", check: bool = True) -> "ordinary.subprocess.CompletedProcess[str]":
        return self.user.run(*command, stdin=stdin, check=check)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RootlessCluster]:
    """Up as the user says it; afterwards nothing is left, in the user's home or on the host."""
    before = traces()
    with ordinary.user() as user:
        made = RootlessCluster(user.home / "data", user.home / "kubeconfig", f"{NAME}-own")
        made.user = user
        where = ("--kubeconfig", str(made.kubeconfig), "--yes", *TRUSTING)
        said = made.run("sampan", "doctor").stdout
        assert "real containers without root: sampan up --rootless" in said
        assert "limits of CPU, memory and processes are not enforced" in said
        try:
            made.sampan("up", "--rootless", *where)
            busybox_image(made, user.folder)
            yield made
        finally:
            made.sampan("down", "--purge", check=False)
        assert user.processes() == []
        assert not made.directory.exists()
    left = traces()
    assert [sorted(left[name] - before[name]) for name in ("mounts", "links", "tables", "cgroups")] == [[], [], [], []]


def test_pods_of_an_ordinary_user(cluster: RootlessCluster) -> None:
    """They run, answer by their service's name, have volumes and their users; exec, logs and port-forward reach them."""
    web = pods.container(SERVE, env=[{"name": "WHO", "value": "web"}], readinessProbe={"tcpSocket": {"port": 8080}})
    limits = {"limits": {"cpu": "100m", "memory": "32Mi"}}
    limit = {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}
    asking = pods.container(ASK, env=[limit], resources=limits, volumeMounts=[pods.mount("told", "/told")])
    service = {"type": "NodePort", "selector": {"run": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    told = [{"name": "told", "configMap": {"name": "told"}}]
    pods.create(
        cluster,
        pods.thing("ConfigMap", "told", data={"key": "value\n"}),
        pods.thing("Service", "web", spec=service),
        pods.pod("web", web),
        pods.pod(
            "asking", asking, volumes=told, securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000}
        ),
    )
    pods.wait(cluster, pods.READY, "web")
    pods.wait(cluster, pods.SUCCEEDED, "asking")
    assert cluster.kubectl("logs", "asking").splitlines() == ["web", "value", str(32 << 20)]
    assert cluster.kubectl("exec", "web", "--", "id", "-u") == "0\n"
    assert cluster.kubectl("exec", "-i", "web", "--", "cat", stdin="through") == "through"
    port = cluster.get("service", "web")["spec"]["ports"][0]["nodePort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:  # from the host
        assert page.read() == b"web\n"
    cluster.kubectl("patch", "service", "web", "-p", '{"spec": {"type": "ClusterIP"}}')
    cluster.until("the port is closed again", lambda: not connects(port))
    answer = cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/web:8080/proxy/index.html")
    assert answer == "web\n"
    assert cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/services/web/proxy/index.html") == "web\n"
    resolver = cluster.kubectl("exec", "web", "--", "cat", "/etc/resolv.conf")
    assert "svc.cluster.local" in resolver


def test_building_and_deploying(cluster: RootlessCluster) -> None:
    """An ordinary user's folder is built by that user's own root, and answers at a port of this machine."""
    folder = cluster.user.home / "site"
    text = (
        "FROM busybox:1.36\nWORKDIR /www\nCOPY index.html .\nRUN id -u >> index.html && rm -r /home && mkdir /home\nEXPOSE 8000\n"
        'STOPSIGNAL SIGKILL\nCMD ["httpd", "-f", "-p", "8000"]\n'
    )
    cluster.run("mkdir", "-p", str(folder))
    for name, content in (("Containerfile", text), ("index.html", "own\n")):
        cluster.run("tee", str(folder / name), stdin=content)
    said = cluster.sampan("deploy", str(folder))
    until_page(cluster, said.strip().rpartition(" ")[2], "own\n0\n")
    cluster.sampan("deploy", str(folder), "--remove")


def test_what_is_killed_comes_back(cluster: RootlessCluster) -> None:
    """A new agent finds its containers; with the sandbox all of them end, and are started anew in the next one."""
    main = {"restartPolicy": "Always"}
    pods.create(cluster, pods.pod("steady", pods.container(), **main))
    pods.wait(cluster, pods.READY, "steady")
    before = pods.status(cluster, "steady")["containerStatuses"][0]
    again = ("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    os.kill(cluster.pid(f"node-sampan-{cluster.name}"), signal.SIGKILL)
    cluster.sampan(*again)
    assert pods.status(cluster, "steady")["containerStatuses"][0]["containerID"] == before["containerID"]
    assert cluster.kubectl("exec", "steady", "--", "echo", "here") == "here\n"
    os.kill(cluster.pid("sandbox"), signal.SIGKILL)
    holder = json.loads(Path(cluster.directory, "run/sandbox.json").read_bytes())["pid"]
    cluster.until("the sandbox is gone", lambda: not alive(holder) and not network_of(cluster))
    cluster.sampan(*again)

    def is_new() -> bool:
        (found,) = pods.status(cluster, "steady")["containerStatuses"]
        return bool(found["ready"] and found["containerID"] != before["containerID"])

    cluster.until("the container was started anew", is_new)
    assert cluster.kubectl("exec", "steady", "--", "echo", "again") == "again\n"


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def network_of(cluster: RootlessCluster) -> list[str]:
    return [command for command in cluster.user.processes() if "slirp4netns" in command]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_root_and_mistakes_are_told(cluster: RootlessCluster) -> None:
    """Each with its mend."""
    done = cluster.user.run("sampan", "up", "--rootless", "--runtime", "simulated", "--name", "other", check=False)
    assert done.returncode == 1 and "--rootless is for containers of our own" in done.stderr
    (cluster.user.folder / "etc/subuid").write_text("")
    done = cluster.user.run("sampan", "up", "--rootless", "--yes", "--name", "other", *TRUSTING, check=False)
    (cluster.user.folder / "etc/subuid").write_text(ordinary.FILES["subuid"])
    assert done.returncode == 1 and "usermod --add-subuids" in done.stderr
