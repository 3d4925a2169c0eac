"""Pods' network with real pods: between pods, between node and pods, ports of the node, rates, both address families."""

import ipaddress
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.cluster import python_rootfs
from tests.clients.conftest import NAME, Cluster, needs_root, running
from tests.clients.pods import pod_of

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
IMAGE = "netserver:v1"
PORT = 31995
SERVER = """
import http.server, os, signal, socket, socketserver, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if sys.argv[1:] == ["idle"]: signal.pause()
name = socket.gethostname().encode()
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(name + b" " + self.client_address[0].encode())
    def log_message(self, *arguments): pass
class Datagrams(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(name + b" " + self.client_address[0].encode(), self.client_address)
threading.Thread(target=socketserver.UDPServer(("", 8081), Datagrams).serve_forever).start()
http.server.ThreadingHTTPServer(("", 8080), Web).serve_forever()
"""
CLIENT = """
import json, socket, sys, urllib.request
said = []
for kind, host, port in json.loads(sys.argv[1]):
    if kind == "http":
        said.append(urllib.request.urlopen(f"http://{host}:{port}", timeout=60).read().decode())
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(60); s.sendto(b"hostname", (host, port)); said.append(s.recv(99).decode())
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """This Python with both programs."""
    root = tmp_path_factory.mktemp("netserver")
    for name, text in (("server.py", SERVER), ("client.py", CLIENT)):
        (root / name).write_text(text)
    python_rootfs.build(root / "root", [root / "server.py", root / "client.py"])
    cluster.sampan("image", "import", str(root / "root"), "--tag", IMAGE)


def python(name: str, *ports: Tree, **spec: Any) -> Tree:
    """A pod of that image that serves, unless it is on the host's network."""
    run = ["/usr/bin/python3", "/app/server.py", *["idle"] * bool(spec.get("hostNetwork"))]
    main: Tree = {"name": "main", "image": IMAGE, "command": run, "ports": list(ports)}
    if not spec.get("hostNetwork"):
        main["readinessProbe"] = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    return pod_of({}, name, main, **spec)


def create(cluster: Cluster, *pods: Tree) -> dict[str, str]:
    """Their addresses, once they are ready."""
    cluster.kubectl("create", "-f", "-", stdin="\n".join(map(json.dumps, pods)))
    cluster.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
    return {p["metadata"]["name"]: p["status"]["podIP"] for p in cluster.get("pods")["items"]}


def seen_as(cluster: Cluster, pod: str, said: list[str]) -> list[str]:
    """What was said, with the name of a pod of the host's network for an address of its node: a pod of the same node sees its gateway's."""
    name = cluster.get("pod", pod)["spec"]["nodeName"]
    node = cluster.get("node", name)
    gateway = str(next(ipaddress.ip_network(node["spec"]["podCIDR"]).hosts()))
    own = {gateway, *(each["address"] for each in node["status"]["addresses"])}
    return [" ".join(pod if word in own else word for word in each.split()) for each in said]


def ask(cluster: Cluster, client: str, *places: tuple[str, str, int]) -> list[str]:
    """What servers say to the pod."""
    said = cluster.kubectl("exec", client, "--", "/usr/bin/python3", "/app/client.py", json.dumps(places))
    found: list[str] = json.loads(said)
    return found


def test_pods_and_node_reach_pods(cluster: Cluster, ns: str, image: None) -> None:
    """213 to 216: from pods and from the host's network, by HTTP and UDP; pods are seen under their own addresses."""
    ips = create(cluster, python("one"), python("two"), python("client"), python("host", hostNetwork=True))
    places = [(kind, ips[name], port) for name in ("one", "two") for kind, port in (("http", 8080), ("udp", 8081))]
    names = ("one", "one", "two", "two")
    assert ask(cluster, "client", *places) == [f"{name} {ips['client']}" for name in names]
    assert seen_as(cluster, "host", ask(cluster, "host", *places)) == [f"{name} host" for name in names]


def test_host_ports_differ_by_address_and_protocol(cluster: Cluster, ns: str, image: None) -> None:
    """210: three pods with one port of the node between them, each reached as it asked; the port is free again after."""
    name, node = next(
        (n["metadata"]["name"], n["status"]["addresses"][0]["address"]) for n in cluster.get("nodes")["items"]
    )
    tcp, udp = {"containerPort": 8080, "hostPort": PORT}, {"containerPort": 8081, "hostPort": PORT, "protocol": "UDP"}
    ips = create(
        cluster,
        python("one", {**tcp, "hostIP": "127.0.0.1"}, nodeName=name),
        python("two", {**tcp, "hostIP": node}, nodeName=name),
        python("three", {**udp, "hostIP": node}, nodeName=name),
        python("host", hostNetwork=True, nodeName=name),
    )
    by_host = ask(cluster, "host", ("http", "127.0.0.1", PORT), ("http", node, PORT), ("udp", node, PORT))
    assert seen_as(cluster, "host", by_host) == [f"{name} host" for name in ("one", "two", "three")]
    by_pod = ask(cluster, "one", ("http", node, PORT), ("udp", node, PORT))
    assert by_pod == [f"two {ips['one']}", f"three {ips['one']}"]
    cluster.kubectl("delete", "pod", "one", "two", "--timeout=60s")
    ips = create(cluster, python("everywhere", tcp, nodeName=name))
    by_host = ask(cluster, "host", ("http", "127.0.0.1", PORT), ("http", node, PORT))
    assert seen_as(cluster, "host", by_host) == ["everywhere host"] * 2
    [own] = seen_as(cluster, "host", ask(cluster, "everywhere", ("http", node, PORT)))
    assert own == "everywhere host"


def test_a_rate_that_is_none_is_told(cluster: Cluster, ns: str) -> None:
    """The pod waits, and its event says why, as upstream has it."""
    slow = {"annotations": {"kubernetes.io/ingress-bandwidth": "1"}}
    main = {"name": "main", "image": "busybox:1.36", "command": ["true"]}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod_of(slow, "slow", main)))
    event = ("events", "--field-selector", "reason=FailedCreatePodSandBox")
    [told] = cluster.until("it is said", lambda: cluster.get(*event)["items"])
    why = "reading pod bandwidth annotations: resource is unreasonably small (< 1kbit)"
    assert told["message"] == f"Failed to create pod sandbox: {why}"


@pytest.fixture
def dual(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own, whose pods have addresses of both families."""
    with running(tmp_path, f"{NAME}-dual", "--ip-families", "IPv4,IPv6") as made:
        yield made


def test_both_address_families(dual: Cluster) -> None:
    """Pods, node and services have addresses of each; names, host ports and services work by either."""
    script = "mkdir /w; hostname > /w/index.html; cat /etc/hosts; echo $IPS $HOSTS; exec httpd -f -p [::]:80 -h /w"
    env = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"status.{field}"}}}
        for name, field in (("IPS", "podIPs"), ("HOSTS", "hostIPs"))
    ]
    main = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script], "env": env}
    main |= {"ports": [{"containerPort": 80, "hostPort": PORT}], "readinessProbe": {"tcpSocket": {"port": 80}}}
    ports = [{"port": 80}]
    spec = {"selector": {"run": "web"}, "ipFamilyPolicy": "RequireDualStack", "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    create(dual, pod_of({}, "web", main), service)
    web, node, spec = dual.get("pod", "web"), dual.get("nodes")["items"][0], dual.get("service", "web")["spec"]
    ips, hosts = ([each["ip"] for each in web["status"][name]] for name in ("podIPs", "hostIPs"))
    assert [":" in ip for ip in ips] == [":" in ip for ip in spec["clusterIPs"]] == [False, True]
    assert hosts == [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
    assert len(node["spec"]["podCIDRs"]) == 2
    said = dual.kubectl("logs", "web")
    assert f"{ips[0]}\tweb\n{ips[1]}\tweb\n" in said
    assert f"{','.join(ips)} {','.join(hosts)}" in said
    kinds = {s["addressType"]: s["endpoints"][0]["addresses"] for s in slices(dual, "web")}
    assert kinds == {"IPv4": ips[:1], "IPv6": ips[1:]}
    urls = [f"http://[{ips[1]}]", f"http://[{hosts[1]}]:{PORT}", f"http://{hosts[0]}:{PORT}"]
    urls += [f"http://{spec['clusterIPs'][0]}", f"http://[{spec['clusterIPs'][1]}]"]
    script = "; ".join(f"wget -qO- {url}" for url in urls)
    assert dual.kubectl("exec", "web", "--", "sh", "-c", script).split() == ["web"] * len(urls)
    answer = dual.kubectl("exec", "web", "--", "nslookup", "-type=aaaa", "web.default.svc.cluster.local")
    assert spec["clusterIPs"][1] in answer


def test_both_families_between_nodes(tmp_path: Path) -> None:
    """By IPv6, each of two nodes' pods reaches the other's, a service, and ports of either node; so does the host."""
    script = "mkdir /w; hostname > /w/index.html; exec httpd -f -p [::]:80 -h /w"
    main = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script]}
    main |= {"ports": [{"containerPort": 80, "hostPort": PORT}], "readinessProbe": {"tcpSocket": {"port": 80}}}
    ports = [{"port": 80, "nodePort": PORT - 1}]
    spec = {"selector": {"run": "web"}, "type": "NodePort", "ipFamilies": ["IPv6"], "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    with running(tmp_path, f"{NAME}-two", "--ip-families", "IPv4,IPv6", "--nodes", "2") as two:
        nodes = [node["metadata"]["name"] for node in two.get("nodes")["items"]]
        pods = [pod_of({}, name, main, nodeName=node) for name, node in zip(("one", "two"), nodes, strict=True)]
        for pod in pods:
            pod["metadata"]["labels"] = {"run": "web"}
        create(two, *pods, service)
        found = [two.get("pod", name)["status"] for name in ("one", "two")]
        by_pod = [f"http://[{status['podIPs'][1]['ip']}]" for status in found]
        by_node = [f"http://[{status['hostIPs'][1]['ip']}]:{PORT}" for status in found]
        by_service = [f"http://[{two.get('service', 'web')['spec']['clusterIP']}]"]
        by_service += [f"http://[{status['hostIPs'][1]['ip']}]:{PORT - 1}" for status in found]
        script = "; ".join(f"wget -qO- {url}" for url in (*by_pod, *by_node, *by_service))
        for name in ("one", "two"):
            said = two.kubectl("exec", name, "--", "sh", "-c", script).split()
            assert said[:4] == ["one", "two"] * 2
            assert len(said) == 7 and set(said) == {"one", "two"}
        answers = [urllib.request.urlopen(url, timeout=60).read().decode().strip() for url in (*by_pod, *by_service)]
        assert answers[:2] == ["one", "two"]
        assert len(answers) == 5


def slices(cluster: Cluster, service: str) -> list[Tree]:
    found: list[Tree] = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    return found
