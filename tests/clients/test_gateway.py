"""The gateway before real pods: weights, an Ingress, roll-outs under load; enabled here, and run beside the cluster."""

import http.client
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pytest
import yaml

from sampan.cluster import processes
from sampan.gateway import kinds
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import container
from tests.kernel import require_envoy

pytestmark = [needs_root, pytest.mark.root]

HOST = "shop.example"


def objects(ns: str) -> list[dict[str, Any]]:
    """Two Deployments with their Services, and a Gateway, a route and an Ingress before them."""
    made: list[dict[str, Any]] = []
    for name in ("stable", "canary"):
        serve = f"mkdir -p /www; echo {name} > /www/index.html; exec httpd -f -p 8080 -h /www"
        probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
        spec = {"terminationGracePeriodSeconds": 1, "containers": [container(serve, readinessProbe=probe)]}
        template = {"metadata": {"labels": {"app": name}}, "spec": spec}
        workload = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
        made.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": workload})
        ports = [{"port": 80, "targetPort": 8080}]
        service = {"selector": {"app": name}, "ports": ports}
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service})
    api = kinds.GATEWAY.api_version
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    gateway = {"gatewayClassName": "sampan", "listeners": [listener]}
    made.append({"apiVersion": api, "kind": "Gateway", "metadata": {"name": "web"}, "spec": gateway})
    shares = [{"name": "stable", "port": 80, "weight": 90}, {"name": "canary", "port": 80, "weight": 10}]
    route = {"parentRefs": [{"name": "web"}], "hostnames": [HOST], "rules": [{"backendRefs": shares}]}
    made.append({"apiVersion": api, "kind": "HTTPRoute", "metadata": {"name": "web"}, "spec": route})
    backend = {"service": {"name": "canary", "port": {"number": 80}}}
    ingress = {"ingressClassName": "sampan", "defaultBackend": backend}
    made.append({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": ingress})
    return made


@pytest.fixture
def enabled(cluster: Cluster) -> Iterator[None]:
    """The layer, which leaves nothing behind."""
    require_envoy()
    cluster.sampan("enable", "gateway")
    names = [definition["metadata"]["name"] for definition in kinds.DEFINITIONS]
    cluster.until(
        "its definitions are there", lambda: not cluster.run("kubectl", "get", "crd", *names, check=False).returncode
    )
    yield
    cluster.sampan("disable", "gateway")
    cluster.kubectl("delete", "crd", *names, "--timeout=60s")
    cluster.kubectl("delete", "ingressclass", "sampan")
    cluster.kubectl("delete", "service", "-n", "kube-system", "sampan-gateway", "sampan-ingress", "--ignore-not-found")


class Load:
    """Asks again and again until stopped; counts who answers with which code."""

    def __init__(self, address: str) -> None:
        self.found: Counter[tuple[int, str]] = Counter()
        self._address = address
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stopped.wait(0.005):
            self.found[ask(self._address)] += 1


def ask(address: str) -> tuple[int, str]:
    link = http.client.HTTPConnection(address, timeout=60)
    try:
        link.request("GET", "/", headers={"Host": HOST})
        answer = link.getresponse()
        return answer.status, answer.read().decode().strip()
    except OSError as error:
        return 0, repr(error)
    finally:
        link.close()


def test_the_gateway_serves_real_pods(cluster: Cluster, enabled: None, ns: str) -> None:
    """No request is lost while pods and weights change; the same layer run as a plain client does the same."""
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects(ns)))
    cluster.kubectl("wait", "--for=condition=Programmed", "gateway/web", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
    address = cluster.get("gateway", "web")["status"]["addresses"][0]["value"]
    cluster.until("it serves", lambda: ask(address)[0] == 200)
    with Load(address) as load:
        cluster.kubectl("rollout", "restart", "deployment/stable")
        cluster.kubectl("rollout", "status", "deployment/stable", "--timeout=60s")
        cluster.until("both are asked", lambda: {who for _, who in load.found} >= {"stable", "canary"})
    assert set(load.found) == {(200, "stable"), (200, "canary")}
    assert load.found[200, "stable"] > load.found[200, "canary"]
    ingress = cluster.until(
        "the Ingress has an address", lambda: cluster.get("ingress", "web")["status"]["loadBalancer"].get("ingress")
    )
    cluster.until("it serves", lambda: ask(ingress[0]["ip"]) == (200, "canary"))
    cluster.kubectl("delete", "ingress", "web")
    cluster.until(
        "its Service is gone", lambda: "sampan-ingress" not in cluster.kubectl("get", "service", "-n", "kube-system")
    )
    cluster.sampan("disable", "gateway")
    cluster.until("nobody serves", lambda: ask(address)[0] != 200)
    own = cluster.directory.parent / "beside"
    command = ["sampan", "run", "gateway", "--kubeconfig", str(cluster.kubeconfig), "--data-dir", str(own)]
    beside = subprocess.Popen(command, env=cluster.environment, stderr=subprocess.DEVNULL)
    try:
        cluster.until("it serves again", lambda: ask(address)[0] == 200)
    finally:
        beside.send_signal(signal.SIGINT)
        beside.wait(20)
    assert not (own / "gateway" / "envoy.pid").exists()


def test_a_control_plane_that_comes_back_cuts_no_traffic(cluster: Cluster, enabled: None, ns: str) -> None:
    """Stopped in peace or killed, and started anew, it finds Envoy as it was, and goes on with changes."""
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects(ns)))
    cluster.kubectl("wait", "--for=condition=Programmed", "gateway/web", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
    address = cluster.get("gateway", "web")["status"]["addresses"][0]["value"]
    cluster.until("it serves", lambda: ask(address)[0] == 200)
    file = cluster.directory / "gateway" / "envoy.pid"
    before = file.read_text()
    with Load(address) as load:
        for number, weights, only in ((signal.SIGTERM, (0, 1), "canary"), (signal.SIGKILL, (1, 0), "stable")):
            restart(cluster, number)
            changes = [
                {"op": "replace", "path": f"/spec/rules/0/backendRefs/{place}/weight", "value": weight}
                for place, weight in enumerate(weights)
            ]
            cluster.kubectl("patch", "httproute", "web", "--type=json", "-p", json.dumps(changes))
            said = {(200, only)}
            cluster.until("the change is there", lambda said=said: {ask(address) for _ in range(30)} == said)
    assert {code for code, _ in load.found} == {200}
    assert file.read_text() == before


def restart(cluster: Cluster, number: int) -> None:
    """Of the control plane alone."""
    plane = cluster.pid("control-plane")
    os.kill(plane, number)
    cluster.until("it has ended", lambda: not processes.start_time(plane))
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
