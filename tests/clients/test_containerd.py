"""A cluster whose containers a containerd runs: what a user does with pods there is the same, and nothing stays behind."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import NAME, Cluster, busybox_image, needs_root
from tests.clients.pods import FOREVER, READY, SUCCEEDED, container, create, events, mount, pod, status, thing, wait
from tests.clients.test_port_forward import forwarding, get
from tests.node.runtime import containerd as containerds
from tests.node.runtime.containerd import Containerd
from tests.ports import free_port

pytestmark = [needs_root, pytest.mark.root]

USER, WORD = "someone", "pass:word"
HASH = "$2b$04$2E2K2oW4CpMRL3D9gYElXOpSPVcWdM0ZUy69dZuSthXtvLdA/wYjC"
SERVE = "mkdir /www; echo hello from $NAME > /www/index.html; echo up; exec httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def server() -> Iterator[Containerd]:
    """A containerd of these tests' own."""
    with containerds.running() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(server: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on it; afterwards the runtime has nothing of it."""
    directory = tmp_path_factory.mktemp("cluster")
    made = Cluster(directory / "data", directory / "kubeconfig", f"{NAME}-cri")
    try:
        made.sampan("up", "--kubeconfig", str(made.kubeconfig), "--yes", "--runtime", server.endpoint)
        busybox_image(made, directory)
        yield made
    finally:
        made.sampan("down", "--purge", check=False)
    assert (server.ctr("containers", "ls", "-q"), server.ctr("images", "ls", "-q")) == ([], [])
    assert [path.name for name in ("bin", "net.d") for path in (server.folder / name).iterdir()] == []
    assert not made.directory.exists()


def test_a_pods_life(cluster: Cluster) -> None:
    """It becomes ready, is reached by its service's name and by port-forward, answers exec, logs, and is gone at last."""
    probe = {"exec": {"command": ["cat", "/www/index.html"]}, "periodSeconds": 1, "timeoutSeconds": 30}
    env = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    main = container(SERVE, env=env, readinessProbe=probe, volumeMounts=[mount("told", "/told")])
    web = pod("web", main, volumes=[{"name": "told", "configMap": {"name": "told"}}])
    service = thing("Service", "web", spec={"selector": {"run": "web"}, "ports": [{"port": 80, "targetPort": 8080}]})
    create(cluster, thing("ConfigMap", "told", data={"key": "value"}), service, web)
    wait(cluster, READY, "web")
    found = status(cluster, "web")
    assert found["containerStatuses"][0]["containerID"].startswith("containerd://")
    assert cluster.kubectl("logs", "web") == "up\n"
    assert cluster.kubectl("exec", "web", "--", "cat", "/told/key") == "value"
    assert cluster.kubectl("exec", "-i", "web", "--", "sh", "-c", "cat; hostname", stdin="in\n") == "in\nweb\n"
    assert cluster.run("kubectl", "exec", "web", "--", "sh", "-c", "exit 3", check=False).returncode == 3
    assert 'exec: "nope": executable file not found in $PATH' in cluster.refused("exec", "web", "--", "nope")
    script = "until wget -qO- http://web; do sleep 0.1; done; ip -o -4 address show dev eth0"
    create(cluster, pod("client", container(script)))
    wait(cluster, SUCCEEDED, "client")
    first, second = cluster.kubectl("logs", "client").splitlines()
    assert (first, status(cluster, "client")["podIP"] in second) == ("hello from web", True)
    with forwarding(cluster, "pod/web", ":8080") as (port,):
        assert get(port) == b"hello from web\n"
    node = cluster.get("nodes")["items"][0]
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://1.")
    cluster.kubectl("delete", "pod", "web", "client", "--timeout=60s")


def test_what_is_built_anew_is_rolled_out(cluster: Cluster, tmp_path: Path) -> None:
    """A folder is built and deployed, and after a change the pods are made of the new image."""
    site = tmp_path / "site"
    site.mkdir()
    for word in ("one", "two"):
        (site / "index.html").write_text(word)
        start = 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]'
        file = f"FROM busybox:1.36\nCOPY index.html /www/\nEXPOSE 8080\nSTOPSIGNAL SIGKILL\n{start}\n"
        (site / "Containerfile").write_text(file)
        url = cluster.sampan("deploy", str(site)).splitlines()[-1].rpartition(" ")[2]
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        ask = ("curl", "-s", "--max-time", "2", f"http://{host}:{port}/")
        cluster.until("the page", lambda ask=ask, word=word: cluster.run(*ask, check=False).stdout == word)
    cluster.sampan("deploy", str(site), "--remove")
    cluster.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/instance=site", "--timeout=60s")


def test_restarts_and_adoption(cluster: Cluster, server: Containerd) -> None:
    """A container that fails its probe or ends is started again; agent and containerd may be killed, and no pod minds."""
    script = "echo began; sleep 0.5; exit 1"
    failing = pod("failing", container(script), restartPolicy="Always")
    sick_probe = {"exec": {"command": ["test", "-e", "/well"]}, "periodSeconds": 1, "failureThreshold": 1}
    sick = pod("sick", container(FOREVER, livenessProbe=sick_probe), restartPolicy="Always")
    group = {"securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": True}}
    users = pod("users", container(f"id; {FOREVER}", **group), container(FOREVER, "second"), shareProcessNamespace=True)
    create(cluster, failing, sick, users, pod("host", container(FOREVER), hostNetwork=True))
    wait(cluster, READY, "users", "host")
    cluster.until("it was restarted", lambda: status(cluster, "failing")["containerStatuses"][0]["restartCount"])
    cluster.until("it was killed", lambda: status(cluster, "sick")["containerStatuses"][0]["restartCount"])
    assert status(cluster, "failing")["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    assert cluster.kubectl("logs", "failing", "--previous") == "began\n"
    assert "uid=1000 gid=2000" in cluster.kubectl("logs", "users", "-c", "main")
    assert "/pause" in cluster.kubectl("exec", "users", "-c", "second", "--", "cat", "/proc/1/cmdline")
    before = status(cluster, "users")["containerStatuses"]
    os.kill(cluster.pid(f"node-sampan-{cluster.name}"), signal.SIGKILL)
    server.restart()
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    assert cluster.kubectl("exec", "users", "-c", "main", "--", "id", "-u") == "1000\n"
    assert status(cluster, "users")["containerStatuses"] == before
    cluster.kubectl("delete", "pod", "--all", "--timeout=60s")


@pytest.fixture
def registry(tmp_path: Path, cluster: Cluster) -> Iterator[str]:
    """Debian's registry on loopback, with a login."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "here", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    logins = {"auths": {address: {"auth": base64.b64encode(f"{USER}:{WORD}".encode()).decode()}}}
    (tmp_path / "logins.json").write_text(json.dumps(logins))
    with (tmp_path / "log").open("wb") as log:
        command = ["docker-registry", "serve", str(tmp_path / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=cluster.environment)
    try:
        cluster.until("the registry listens", lambda: b"listening on" in (tmp_path / "log").read_bytes())
        yield address
    finally:
        process.kill()
        process.wait()


def test_images(cluster: Cluster, registry: str, tmp_path: Path) -> None:
    """containerd pulls, with the pod's logins; the command line sees and removes what either of them has."""
    name, mine = f"{registry}/team/box:v1", ("--auth-file", str(tmp_path / "logins.json"))
    cluster.sampan("image", "push", "busybox:1.36", name, *mine)
    secret = json.loads((tmp_path / "logins.json").read_text())
    data = {".dockerconfigjson": base64.b64encode(json.dumps(secret).encode()).decode()}
    create(cluster, thing("Secret", "login", type="kubernetes.io/dockerconfigjson", data=data))
    asks = {"image": name, "imagePullPolicy": "Always"}
    denied = pod("denied", container("true", **asks))
    create(cluster, denied, pod("let-in", container("echo got it", **asks), imagePullSecrets=[{"name": "login"}]))
    wait(cluster, SUCCEEDED, "let-in")
    assert cluster.kubectl("logs", "let-in") == "got it\n"
    assert any(text.startswith(f'Successfully pulled image "{name}"') for text in events(cluster, "let-in", "Pulled"))
    (why,) = cluster.until("it was refused", lambda: events(cluster, "denied", "Failed")[:1])
    assert "rpc error: code = " in why
    later = {"image": name, "imagePullPolicy": "IfNotPresent"}  # it is here now, for those who have the login
    create(
        cluster,
        pod("later", container("true", **later)),
        pod("mine", container("true", **later), imagePullSecrets=[{"name": "login"}]),
    )
    cluster.until("it was refused", lambda: events(cluster, "later", "Failed"))
    wait(cluster, SUCCEEDED, "mine")
    assert "already present on machine" in events(cluster, "mine", "Pulled")[0]
    cluster.kubectl("delete", "pod", "--all", "--timeout=60s")
    assert {line.split()[0] for line in cluster.sampan("image", "list").splitlines()} >= {
        name, "docker.io/library/busybox:1.36"
    }  # fmt: skip
    cluster.sampan("image", "rm", name)
    assert name not in cluster.sampan("image", "list")
    cluster.sampan("image", "pull", name, *mine)
    assert name in cluster.sampan("image", "list")
    cluster.sampan("image", "rm", name)
