"""Services with real pods behind them, as clients of all sorts reach them: proxies, forwarded ports, load, names."""

import datetime as dt
import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.cluster import python_rootfs
from tests.clients.conftest import Cluster, needs_root
from tests.clients.load import Load
from tests.clients.test_port_forward import forwarding

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
PROGRAM = Path(__file__).parent / "porter/porter.py"
IMAGE = "porter:v1"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
DISCOVERY = """
import ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
context = ssl.create_default_context(cafile=account + "ca.crt")
for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
    request = urllib.request.Request("https://kubernetes.default.svc" + path)
    request.add_header("Authorization", "Bearer " + open(account + "token").read())
    print(urllib.request.urlopen(request, context=context, timeout=60).read().decode())
print(open(account + "token").read())
"""


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The porter's image: this Python, the program, and a certificate that nobody knows."""
    root = tmp_path_factory.mktemp("porter")
    python_rootfs.build(root, [PROGRAM])
    (root / "app/tls.pem").write_bytes(certificate())
    cluster.sampan("image", "import", str(root), "--tag", IMAGE)


def certificate() -> bytes:
    """A self-signed one, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "porter")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return key.private_bytes(*form) + signed


def deployment(name: str, replicas: int = 1, role: str = "", **of_pod: Any) -> Tree:
    """Porters, ready as soon as they answer, that go on for a while when they are told to end, as upstream advises."""
    container = {
        "name": "main", "image": IMAGE, "command": ["/usr/bin/python3", "/app/porter.py"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "https", "containerPort": 8443}],
        "env": [
            {"name": "ROLE", "value": role},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 30},
    }  # fmt: skip
    labels, more = {"app": name}, of_pod.pop("container", {})
    pod = {"terminationGracePeriodSeconds": 1, **of_pod, "containers": [{**container, **more}]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    spec["template"]["spec"] = pod
    spec["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str, *ports: Tree, **spec: Any) -> Tree:
    spec = {"selector": {"app": name}, "ports": list(ports), **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def create(cluster: Cluster, *trees: Tree) -> None:
    cluster.kubectl("create", "-f", "-", stdin="\n".join(map(json.dumps, trees)))
    for tree in trees:
        if tree["kind"] == "Deployment":
            cluster.kubectl("rollout", "status", f"deployment/{tree['metadata']['name']}", "--timeout=60s")


@contextmanager
def proxying(cluster: Cluster, *arguments: str) -> Iterator[str]:
    """Runs kubectl proxy; its URL."""
    command = ["kubectl", "proxy", "--port=0", *arguments]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield "http://127.0.0.1:" + process.stdout.readline().rpartition(":")[2].strip()
        process.terminate()


def ask(url: str, method: str = "GET", body: bytes | None = None) -> Tree:
    """What a porter says that it was asked; empty for HEAD."""
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as answer:
        return json.loads(answer.read() or b"{}")


def refusal(url: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url)
    with caught.value as answer:
        return answer.code, json.load(answer)["message"]


PORTS = (
    {"name": "portname1", "port": 80, "targetPort": "http"},
    {"name": "portname2", "port": 81, "targetPort": 8080},
    {"name": "tlsport", "port": 443, "targetPort": "https"},
    {"name": "closed", "port": 82, "targetPort": 9},
)


def test_through_proxies_and_forwarded_ports(cluster: Cluster, ns: str, image: None, tmp_path: Path) -> None:
    """217, 218, 219: every method by every way to say which port; through `kubectl proxy`, beside its other duties."""
    create(cluster, deployment("porter"), service("porter", *PORTS), service("nobody", {"port": 80}))
    [pod] = cluster.get("pods")["items"]
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    (tmp_path / "hello.txt").write_text("hello\n")
    with proxying(cluster, f"--www={tmp_path}", "--www-prefix=/files/") as url:
        at = f"{url}/api/v1/namespaces/{ns}"
        plain = [f"pods/{name}", f"pods/{name}:8080", f"pods/http:{name}:8080", "services/porter:portname1",
                 "services/http:porter:portname2", "services/porter:80", "services/http:porter:81"]  # fmt: skip
        secure = [f"pods/https:{name}:8443", "services/https:porter:tlsport", "services/https:porter:443"]
        for place in (*plain, *secure):
            told = ask(f"{at}/{place}/proxy/some/path?a=1&a=2&b=%2F")
            assert (told["path"], told["who"], told["tls"]) == ("/some/path?a=1&a=2&b=%2F", name, place in secure)
            assert told["uri"] == f"/api/v1/namespaces/{ns}/{place}/proxy/some/path"
        for place in (plain[0], plain[3]):
            for method in METHODS:
                body = b"x" * 4_000_000 if method == "PUT" else None
                told = ask(f"{at}/{place}/proxy/?method={method}", method, body)
                assert (
                    told == {} if method == "HEAD" else (told["method"], told["length"]) == (method, len(body or b""))
                )
            with urllib.request.urlopen(f"{at}/{place}/proxy/page", timeout=60) as answer:
                assert answer.read() == (
                    f'<html><a href="/api/v1/namespaces/{ns}/{place}/proxy/rewriteme">test</a></html>'.encode()
                )
            assert ask(f"{at}/{place}/proxy/redirect")["path"] == "/elsewhere"
            assert ask(f"{at}/{place}/proxy")["path"] == "/"
        closed = f"error trying to reach service: dial tcp {address}:9: connect: connection refused"
        assert refusal(f"{at}/services/porter:closed/proxy/") == (503, closed)
        assert refusal(f"{at}/services/nobody/proxy/") == (503, 'no endpoints available for service "nobody"')
        assert refusal(f"{at}/pods/nobody/proxy/") == (404, 'pods "nobody" not found')
        node = f"{url}/api/v1/nodes/{pod['spec']['nodeName']}"
        for place in (node, f"{node}:10250"):
            with urllib.request.urlopen(f"{place}/proxy/healthz", timeout=60) as answer:
                assert answer.read() == b"ok"
        shouts(url, f"/api/v1/namespaces/{ns}/{plain[0]}/proxy/talk")
        with urllib.request.urlopen(f"{url}/files/hello.txt", timeout=60) as answer:
            assert answer.read() == b"hello\n"
        watches(cluster, f"{at}/configmaps?watch=1&fieldSelector=metadata.name=seen")
    with forwarding(cluster, "service/porter", ":portname1", ":81") as ports:
        assert [ask(f"http://127.0.0.1:{port}/")["who"] for port in ports] == [name, name]
    with forwarding(cluster, "deployment/porter", ":http") as (port,):
        assert ask(f"http://127.0.0.1:{port}/")["who"] == name


def shouts(url: str, path: str) -> None:
    """An upgrade to a protocol of the pod's own, through kubectl and the API server."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection, connection.makefile("rb") as lines:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"
        connection.sendall(head.encode())
        assert lines.readline().split()[1] == b"101"
        while lines.readline() != b"\r\n":
            pass
        for line in (b"hello\n", b"again\n"):
            connection.sendall(line)
            assert lines.readline() == line.upper()


def watches(cluster: Cluster, url: str) -> None:
    """Events come at once."""
    with urllib.request.urlopen(url, timeout=60) as events:
        cluster.kubectl("create", "configmap", "seen")
        assert json.loads(events.readline())["type"] == "ADDED"
        cluster.kubectl("delete", "configmap", "seen")
        assert json.loads(events.readline())["type"] == "DELETED"


def test_no_request_is_lost_in_a_rolling_update(cluster: Cluster, ns: str, image: None) -> None:
    """Under load by cluster IP, node port and load balancer, all pods are replaced; each request is answered."""
    gently = {"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}
    port = {"name": "http", "port": 80, "targetPort": "http"}
    create(
        cluster,
        service("porter", port, type="LoadBalancer"),
        deployment("porter", 2, container=gently, terminationGracePeriodSeconds=30),
    )
    found = cluster.until("it has an address", lambda: balanced(cluster))
    node = next(
        a["address"] for a in cluster.get("nodes")["items"][0]["status"]["addresses"] if a["type"] == "InternalIP"
    )
    outside = found["status"]["loadBalancer"]["ingress"][0]["ip"]
    places = ((found["spec"]["clusterIP"], 80), (node, found["spec"]["ports"][0]["nodePort"]), (outside, 80))
    before = {pod["metadata"]["name"] for pod in cluster.get("pods")["items"]}
    with Load("/who", *places) as load:
        cluster.until("all answer", lambda: load.have_answered(before))
        cluster.kubectl("rollout", "restart", "deployment/porter")
        cluster.kubectl("rollout", "status", "deployment/porter", "--timeout=60s")
        after = {pod["metadata"]["name"] for pod in cluster.get("pods")["items"]} - before
        cluster.until("the new ones answer", lambda: load.have_answered(after))
        cluster.until(
            "the old ones end", lambda: before.isdisjoint(p["metadata"]["name"] for p in cluster.get("pods")["items"])
        )
    assert load.failures == []
    assert len(after) == 2


def balanced(cluster: Cluster) -> Tree | None:
    found: Tree = cluster.get("service", "porter")
    return found if found["status"]["loadBalancer"].get("ingress") else None


def test_a_guestbook_and_the_issuers_keys(cluster: Cluster, ns: str, image: None) -> None:
    """170: several deployments find each other by their services' names. 161: and the API, where its keys are told."""
    port = {"name": "http", "port": 8080}
    roles = {"primary": 1, "replica": 2, "front": 1}
    create(
        cluster,
        *(service(role, port) for role in roles),
        *(deployment(role, count, role=role) for role, count in roles.items()),
    )
    place = f"/api/v1/namespaces/{ns}/services/front:http/proxy/guestbook"
    for value in ("first", "second"):
        cluster.kubectl("get", "--raw", f"{place}?cmd=set&value={value}")
    for _ in range(4):
        assert json.loads(cluster.kubectl("get", "--raw", f"{place}?cmd=get")) == ["first", "second"]
    told, keys, token = cluster.kubectl("exec", "deployment/front", "--", "/usr/bin/python3", "-c", DISCOVERY).split(
        "\n"
    )[:3]
    issuer, known = json.loads(told), json.loads(keys)["keys"]
    assert re.fullmatch(r"https://[^/]+/openid/v1/jwks", issuer["jwks_uri"])
    number = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWK(next(key for key in known if key["kid"] == number))
    claims = jwt.decode(token, key.key, [key.algorithm_name], issuer=issuer["issuer"], options={"verify_aud": False})
    assert claims["kubernetes.io"]["namespace"] == ns
