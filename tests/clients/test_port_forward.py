"""kubectl port-forward: to a server in a pod, to its loopback, many connections at once, big answers, and refusals."""

import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import kubernetes
import kubernetes.stream
import pytest

from tests.clients.conftest import IDLE, Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

WEB = (
    "mkdir /www; echo hello > /www/index.html; head -c 8000000 /dev/zero > /www/big;"
    "httpd -p 127.0.0.1:8081 -h /www; exec httpd -f -p 8080 -h /www"
)


@contextmanager
def forwarding(cluster: Cluster, *arguments: str) -> Iterator[list[int]]:
    """Runs kubectl port-forward; the local ports."""
    command = ["kubectl", "port-forward", "--address=127.0.0.1", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=cluster.environment
    )
    assert process.stdout is not None
    try:
        ports = []
        for _ in arguments[1:]:
            line = process.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
            assert found, line
            ports.append(int(found[1]))
        yield ports
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def get(port: int, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return bytes(answer.read())


def test_a_server_in_a_pod_answers_here(cluster: Cluster, ns: str) -> None:
    """By two ports, one of which listens on the pod's loopback only; also as a service."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("web", WEB))
    cluster.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    with forwarding(cluster, "pod/web", ":8080", ":8081") as (outer, inner):
        cluster.until("it listens", lambda: cluster.kubectl("exec", "web", "--", "netstat", "-lnt").count("808") == 2)
        assert get(outer) == get(inner) == b"hello\n"
        with ThreadPoolExecutor(8) as threads:
            sizes = list(threads.map(lambda _: len(get(outer, "/big")), range(8)))
        assert sizes == [8_000_000] * 8
        assert get(inner) == b"hello\n"
    with forwarding(cluster, "service/web", ":80") as (port,):
        assert get(port) == b"hello\n"


def test_the_python_client(cluster: Cluster, ns: str) -> None:
    """Which speaks of numbered channels: two ports in one connection, one of them with nobody behind it."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("web", WEB))
    cluster.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    cluster.until("it listens", lambda: cluster.kubectl("exec", "web", "--", "netstat", "-lnt").count("808") == 2)
    kubernetes.config.load_kube_config(str(cluster.kubeconfig))
    core = kubernetes.client.CoreV1Api()
    forward = kubernetes.stream.portforward(core.connect_get_namespaced_pod_portforward, "web", ns, ports="8080,81")
    web = forward.socket(8080)
    web.setblocking(True)
    web.sendall(b"GET /big HTTP/1.0\r\n\r\n")
    received = 0
    while piece := web.recv(65536):
        received += len(piece)
    assert received > 8_000_000
    assert forward.error(8080) is None
    closed = forward.socket(81)
    closed.setblocking(True)
    assert closed.recv(1) == b""
    assert "failed to connect to localhost:81 inside namespace: connection refused" in forward.error(81)
    forward.close()
    forward.websocket.shutdown()  # the client leaves it open when the other side ends
    core.api_client.close()


def test_what_cannot_be_reached(cluster: Cluster, ns: str) -> None:
    """A port where nobody listens is said; a pod that has ended is refused."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", IDLE))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    command = ["kubectl", "port-forward", "--address=127.0.0.1", "pod/p", ":81"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=cluster.environment
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().partition(":")[2].partition(" ")[0])
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            with suppress(ConnectionResetError):  # kubectl need not have read what we sent
                connection.sendall(b"x")
                assert connection.recv(10) == b""
        told = process.stdout.readline() + process.stdout.readline()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
    assert "error forwarding port 81: failed to connect to localhost:81 inside namespace: connection refused" in told
    cluster.kubectl("apply", "-f", "-", stdin=pod("ended", "true"))
    cluster.kubectl("wait", "pod/ended", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "unable to forward port because pod is not running" in cluster.refused("port-forward", "ended", ":80")
