"""T4: services with real pods, from pods and from the node; each test names its lines in docs/conformance.md."""

import json
import socket
from typing import Any

import pytest

from sampan.cluster import python_rootfs
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import READY, Tree, container, create, pod, wait

pytestmark = [needs_root, pytest.mark.root]

IMAGE = "answers:v1"
SERVER = """
import socket, threading
name = socket.gethostname().encode()
def serve(port):
    server = socket.create_server(("", port), backlog=64)
    while True:
        client = server.accept()[0]
        client.sendall(name)
        client.close()
for port in (9376, 9377):
    threading.Thread(target=serve, args=(port,)).start()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 9376))
while True:
    datagrams.sendto(name, datagrams.recvfrom(100)[1])
"""
ASK = """
import socket, sys
kind, host, port, times = sys.argv[1:]
for _ in range(int(times)):
    try:
        with socket.socket(socket.AF_INET, getattr(socket, kind)) as client:
            client.settimeout(3)
            client.connect((host, int(port)))
            client.send(b"?") if kind == "SOCK_DGRAM" else None
            print(client.recv(100).decode())
    except OSError as error:
        print(type(error).__name__)
"""
PYTHON = "/usr/bin/python3"
PROBE = {"readinessProbe": {"tcpSocket": {"port": 9377}, "periodSeconds": 1}}
HTTP, MORE = {"name": "http", "port": 80, "targetPort": 9376}, {"name": "more", "port": 81, "targetPort": 9377}
DATAGRAMS = {"name": "datagrams", "port": 80, "targetPort": 9376, "protocol": "UDP"}


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """This Python, with a server that answers with its name."""
    root = tmp_path_factory.mktemp("answers")
    (root / "server.py").write_text(SERVER)
    python_rootfs.build(root / "root", [root / "server.py"])
    cluster.sampan("image", "import", str(root / "root"), "--tag", IMAGE)


def service(name: str, *ports: Tree, **spec: Any) -> Tree:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": list(ports), **spec}}


def servers(cluster: Cluster, *names: str) -> None:
    """Pods that answer with their names, and one that asks."""
    made = [pod(name, container(image=IMAGE, command=[PYTHON, "/app/server.py"], **PROBE)) for name in names]
    for each in made:
        each["metadata"]["labels"]["app"] = "web"
    create(cluster, *made, pod("client", container(image=IMAGE, command=[PYTHON, "-c", "input()"], stdin=True)))
    wait(cluster, READY, *names, "client")


def heard(cluster: Cluster, address: str, port: int, times: int = 16, kind: str = "SOCK_STREAM") -> set[str]:
    """Who answers a pod that asks so many times, or why nobody does."""
    ask = ("exec", "client", "--", PYTHON, "-c", ASK, kind, address, str(port), str(times))
    return set(cluster.kubectl(*ask).split())


def becomes(cluster: Cluster, address: str, port: int, names: set[str]) -> None:
    """Until these are those who answer."""
    cluster.until(f"{names} answer at {address}:{port}", lambda: heard(cluster, address, port) == names)


def sticks(cluster: Cluster, address: str, port: int, *, is_so: bool) -> None:
    """Until a client stays with one, or does not."""
    cluster.until(f"affinity {is_so}", lambda: (len(heard(cluster, address, port)) == 1) == is_so)


def change(cluster: Cluster, name: str, **spec: Any) -> Tree:
    """The spec as it is then."""
    cluster.kubectl("patch", "service", name, "--type=merge", "-p", json.dumps({"spec": spec}))
    found: Tree = cluster.get("service", name)["spec"]
    return found


def node_ip(cluster: Cluster) -> str:
    addresses = cluster.get("nodes")["items"][0]["status"]["addresses"]
    return next(str(a["address"]) for a in addresses if a["type"] == "InternalIP")


def test_a_service_in_all_its_types(cluster: Cluster, ns: str, image: None) -> None:
    """223-229, 233-237: ports and protocols, node ports, load balancers, affinity on and off, and each type after another."""
    servers(cluster, "one", "two")
    create(cluster, service("web", HTTP, MORE, DATAGRAMS, selector={"app": "web"}))
    address = cluster.get("service", "web")["spec"]["clusterIP"]
    both = {"one", "two"}
    becomes(cluster, address, 80, both)
    becomes(cluster, address, 81, both)
    assert heard(cluster, address, 80, kind="SOCK_DGRAM") == both
    change(cluster, "web", sessionAffinity="ClientIP")
    sticks(cluster, address, 80, is_so=True)
    change(cluster, "web", sessionAffinity="None")
    sticks(cluster, address, 80, is_so=False)

    port = change(cluster, "web", type="NodePort", sessionAffinity="ClientIP")["ports"][0]["nodePort"]
    node = node_ip(cluster)
    sticks(cluster, node, port, is_so=True)
    change(cluster, "web", sessionAffinity="None")
    sticks(cluster, node, port, is_so=False)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        assert client.recv(100).decode() in both

    change(cluster, "web", type="LoadBalancer")
    ingress = cluster.until(
        "an address", lambda: cluster.get("service", "web")["status"].get("loadBalancer", {}).get("ingress")
    )
    becomes(cluster, ingress[0]["ip"], 80, both)

    gone = {"clusterIP": None, "clusterIPs": None, "ipFamilies": None, "ipFamilyPolicy": None, "ports": None}
    change(cluster, "web", type="ExternalName", externalName="example.org", **gone)
    becomes(cluster, address, 80, {"ConnectionRefusedError"})
    spec = change(cluster, "web", type="NodePort", externalName=None, ports=[HTTP])
    becomes(cluster, spec["clusterIP"], 80, both)
    becomes(cluster, node, spec["ports"][0]["nodePort"], both)
    change(cluster, "web", type="ExternalName", externalName="example.org", **gone)
    spec = change(cluster, "web", type="ClusterIP", externalName=None, ports=[HTTP])
    becomes(cluster, spec["clusterIP"], 80, both)


def test_a_service_of_several_slices(cluster: Cluster, ns: str, image: None) -> None:
    """203, 204: endpoints, and ports, that somebody has written down in slices of their own."""
    servers(cluster, "one", "two")
    addresses = [cluster.get("pod", name)["status"]["podIP"] for name in ("one", "two")]
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{n}", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": port, "port": number, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ip]}],
        }
        for name, n, ip, port, number in (
            ("places", 0, addresses[0], "http", 9376),
            ("places", 1, addresses[1], "http", 9376),
            ("ports", 0, addresses[0], "http", 9376),
            ("ports", 1, addresses[0], "more", 9377),
        )
    ]
    create(cluster, service("places", HTTP), service("ports", HTTP, MORE), *slices)
    becomes(cluster, cluster.get("service", "places")["spec"]["clusterIP"], 80, {"one", "two"})
    address = cluster.get("service", "ports")["spec"]["clusterIP"]
    becomes(cluster, address, 80, {"one"})
    becomes(cluster, address, 81, {"one"})
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in cluster.kubectl(
        "get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics"
    )
