"""What a user types to look into a running container, and what is said when it cannot be done."""

import base64
import ssl
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest
import websocket
import yaml

from tests.clients.conftest import IDLE, Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

TWO = """
apiVersion: v1
kind: Pod
metadata:
  name: two
  labels: {app: two}
  annotations: {kubectl.kubernetes.io/default-container: b}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: i, image: "busybox:1.36", command: [echo, from-i]}]
  containers:
  - {name: a, image: "busybox:1.36", command: [sh, -c, "echo from-a; exec sleep 1000"]}
  - {name: b, image: "busybox:1.36", command: [sh, -c, "echo from-b; exec sleep 1000"]}
"""


def test_a_command_that_is_not_there_is_told_in_one_line(cluster: Cluster, ns: str) -> None:
    """On the error stream of the WebSocket: no word of SPDY, with and without a terminal."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", IDLE))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    told = cluster.refused("exec", "p", "--", "nope")
    assert told.startswith("error: Internal error occurred: error executing command in container: failed to exec")
    assert told.endswith('exec: "nope": executable file not found in $PATH: unknown\n')
    assert told.count("\n") == 1
    terminal = subprocess.run(
        ["script", "-qec", "kubectl exec -it p -- nope", "/dev/null"],
        env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "executable file not found" in terminal.stdout
    assert terminal.returncode == 1


def test_what_has_ended_cannot_be_entered(cluster: Cluster, ns: str) -> None:
    """A completed pod, and a container that does not run yet."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("done", "true"))
    cluster.kubectl("wait", "pod/done", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "cannot exec into a container in a completed pod" in cluster.refused("exec", "done", "--", "true")
    waiting = pod("waiting", "true").replace("busybox:1.36", "nope:1")
    cluster.kubectl("apply", "-f", "-", stdin=waiting)
    cluster.until("a node", lambda: cluster.get("pod", "waiting")["spec"].get("nodeName"))
    told = cluster.until("the agent", lambda: _answer(cluster, "exec", "waiting", "--", "true"))
    assert told == 'error: Internal error occurred: unable to upgrade connection: container not found ("main")\n'
    told = cluster.refused("logs", "waiting")
    assert 'container "main" in pod "waiting" is waiting to start: ' in told


def _answer(cluster: Cluster, *arguments: str) -> str:
    """The refusal, once the agent knows the pod."""
    told = cluster.refused(*arguments)
    return "" if "pod does not exist" in told else told


def test_clients_that_speak_spdy(cluster: Cluster, ns: str) -> None:
    """kubectl before 1.31, which this one still can: commands with input, outcomes and a terminal, attach, forwards."""
    old = ("env", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false", "kubectl")
    script = "head -c 3000000 /dev/zero > /tmp/big; httpd -p 127.0.0.1:8080 -h /tmp; read line; echo got $line"
    manifest = yaml.safe_load(pod("p", script))
    manifest["spec"]["containers"][0]["stdin"] = True
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    done = cluster.run(
        *old, "-v=8", "exec", "-i", "p", "--", "sh", "-c", "cat; echo no >&2; exit 7", stdin="x" * 99999, check=False
    )
    assert (done.returncode, done.stdout) == (7, "x" * 99999)
    assert "\nno\n" in done.stderr
    assert "SPDY/3.1" in done.stderr
    assert "WebSocket" not in done.stderr
    told = cluster.run(*old, "exec", "p", "--", "nope", check=False)
    assert told.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in told.stderr
    told = cluster.run(*old, "exec", "p", "-c", "other", "--", "true", check=False)
    assert "container other is not valid for pod p" in told.stderr
    terminal = subprocess.run(
        ["script", "-qec", f"stty rows 31 cols 77; {' '.join(old)} exec -it p -- sh -c 'tty; sleep 1; stty size'", "/dev/null"],
        env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "/dev/pts/" in terminal.stdout and "31 77" in terminal.stdout, terminal
    with subprocess.Popen(
        [*old, "port-forward", "--address=127.0.0.1", "p", ":8080"],
        stdout=subprocess.PIPE,
        text=True,
        env=cluster.environment,
    ) as forward:
        try:
            assert forward.stdout is not None
            port = forward.stdout.readline().split(" -> ")[0].rpartition(":")[2]
            for _ in range(3):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/big", timeout=60) as answer:
                    assert len(answer.read()) == 3_000_000
        finally:
            forward.terminate()
    attached = cluster.run(*old, "attach", "-i", "p", stdin="hello\n", check=False)
    assert "got hello" in attached.stdout, attached


def test_run_waits_types_and_cleans_up(cluster: Cluster, ns: str) -> None:
    """kubectl run --rm -i passes input on, gives the exit code back, and leaves no pod."""
    run = ("run", "--image=busybox:1.36", "--restart=Never", "--rm", "-i", "--quiet")
    assert cluster.kubectl(*run, "cat", "--", "cat", stdin="typed\n").startswith("typed\n")
    done = cluster.run("kubectl", *run, "five", "--", "sh", "-c", "cat; exit 5", stdin="x", check=False)
    assert done.returncode == 5, done
    terminal = subprocess.run(
        ["script", "-qec", f"kubectl {' '.join(run)} -t tty -- sh -c 'tty; read line; echo got $line'", "/dev/null"],
        input="hello\n", env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "/dev/pts/" in terminal.stdout and "got hello" in terminal.stdout, terminal
    assert cluster.kubectl("get", "pods", "-o", "name") == ""


def test_attach_follows_the_main_process(cluster: Cluster, ns: str) -> None:
    """Output from now on, until it ends."""
    script = "while ! test -e /tmp/go; do usleep 10000; done; usleep 300000; echo last"
    cluster.kubectl("apply", "-f", "-", stdin=pod("talk", script))
    cluster.kubectl("wait", "pod/talk", "--for=condition=Ready", "--timeout=60s")
    with subprocess.Popen(
        ["kubectl", "attach", "talk"],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as attached:
        assert attached.stderr is not None
        assert attached.stdout is not None
        attached.stderr.readline()
        cluster.kubectl("exec", "talk", "--", "touch", "/tmp/go")
        assert "last" in attached.stdout.read()
        assert attached.wait(30) == 0


def test_files_are_copied_both_ways(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """A folder in, changed there, and out again."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", IDLE))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "big").write_bytes(bytes(range(256)) * 20_000)
    cluster.kubectl("cp", str(tmp_path / "in"), "p:/tmp/here")
    cluster.kubectl("exec", "p", "--", "sh", "-c", "echo more > /tmp/here/deep/small")
    cluster.kubectl("cp", "p:/tmp/here", str(tmp_path / "out"))
    assert (tmp_path / "out/deep/big").read_bytes() == (tmp_path / "in/deep/big").read_bytes()
    assert (tmp_path / "out/deep/small").read_text() == "more\n"


def test_logs_over_a_websocket(cluster: Cluster, ns: str) -> None:
    """As browsers read them: bytes, or texts for clients that ask for base64; errors are plain refusals."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "echo one; sleep 0.1; echo two"))
    cluster.kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")

    def read(protocol: str, query: str) -> list[bytes]:
        server, context = access(cluster)
        url = f"{server.replace('https', 'wss')}/api/v1/namespaces/{ns}/pods/p/log?{query}"
        socket = websocket.create_connection(
            url, sslopt={"context": context}, subprotocols=[protocol] if protocol else []
        )
        try:
            assert socket.subprotocol == (protocol or None)
            found = []
            while True:
                found.append(socket.recv())
        except websocket.WebSocketConnectionClosedException:
            return [piece if isinstance(piece, bytes) else piece.encode() for piece in found]
        finally:
            socket.shutdown()

    for protocol in ("", "binary.k8s.io"):
        found = read(protocol, "container=main&follow=true")
        assert b"".join(found) == b"one\ntwo\n"
    found = read("base64.binary.k8s.io", "tailLines=1")
    assert b"".join(map(base64.b64decode, found)) == b"two\n"
    with pytest.raises(websocket.WebSocketBadStatusException, match="400"):
        read("binary.k8s.io", "container=nobody")


def access(cluster: Cluster) -> tuple[str, ssl.SSLContext]:
    """The server's address, and what a client needs to be let in."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    known, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(known["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return known["server"], context


def test_logs_of_many_containers(cluster: Cluster, ns: str) -> None:
    """The default container's, all, by label with prefixes, with times in UTC."""
    cluster.kubectl("apply", "-f", "-", stdin=TWO)
    cluster.kubectl("wait", "pod/two", "--for=condition=Ready", "--timeout=60s")
    cluster.until("the output", lambda: cluster.kubectl("logs", "two", "-c", "b"))
    assert cluster.kubectl("logs", "two") == "from-b\n"
    everything = cluster.kubectl("logs", "two", "--all-containers").split()
    assert sorted(everything) == ["from-a", "from-b", "from-i"]
    prefixed = cluster.kubectl("logs", "-l", "app=two", "--all-containers", "--prefix", "--tail=1")
    assert sorted(prefixed.splitlines()) == ["[pod/two/a] from-a", "[pod/two/b] from-b", "[pod/two/i] from-i"]
    moment, text = cluster.kubectl("logs", "two", "-c", "i", "--timestamps").split()
    assert text == "from-i"
    assert moment.endswith("Z")
    assert len(moment) == len("2026-01-01T00:00:00.000000000Z")
    assert cluster.kubectl("logs", "two", "-c", "i", f"--since-time={moment[:4]}-01-01T00:00:00Z") == "from-i\n"
    assert cluster.kubectl("logs", "two", "-c", "i", "--since-time=2099-01-01T00:00:00Z") == ""
    assert 'previous terminated container "a" in pod "two" not found' in cluster.refused("logs", "two", "-c", "a", "-p")
