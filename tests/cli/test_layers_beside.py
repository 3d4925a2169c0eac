"""Every layer as a plain client of a cluster somewhere else: by its API alone, from a home with nothing but a kubeconfig,
and with the rights that `sampan run LAYER --rbac` prints and no others.
"""

import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.gateway import envoy_process
from tests.cli.conftest import User
from tests.ports import free_port

pytestmark = pytest.mark.slow

SECONDS = 60.0
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, userGroups: ["system:serviceaccounts:kube-system"]}]
"""
BUDGET = """
apiVersion: policy.kruise.io/v1alpha1
kind: PodUnavailableBudget
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, maxUnavailable: 0}
"""
CRON = """
apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: CronHorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  jobs: [{name: often, schedule: "*/1 * * * * *", targetSize: 3}]
"""
ROLLOUT = """
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "web:%d"}]}}
  strategy: {canary: {steps: [{setWeight: 50}, {pause: {}}]}}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: sampan, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: outside, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
endpoints: [{addresses: ["ADDRESS"], conditions: {ready: true}}]
ports: [{name: http, port: PORT}]
"""


@pytest.fixture
def beside(user: User, tmp_path: Path) -> User:
    """Somebody who has the kubeconfig of the cluster `tide`, and nothing else of it."""
    policy = tmp_path / "server.yaml"
    policy.write_text(AUDIT)
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()} --server-config {policy}")
    other = User(tmp_path / "elsewhere")
    other.home.mkdir()
    shutil.copy(user.kubeconfig, other.kubeconfig)
    return other


@contextlib.contextmanager
def running(somebody: User, layer: str, *words: str) -> Iterator[None]:
    """`sampan run LAYER`, as soon as it works; it must end in peace, and never ask for what it may not."""
    kubeconfig = with_its_rights(somebody, layer)
    where = ("--kubeconfig", str(kubeconfig), "--data-dir", str(somebody.home / layer))
    command = ["sampan", "run", layer, *where, *words]
    process = subprocess.Popen(command, env=somebody.environment, cwd=somebody.home, text=True, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = []
    late = threading.Timer(SECONDS, process.kill)
    late.start()
    try:
        for line in process.stderr:
            said.append(line)
            if f"{layer} works for https://" in line:
                break
        else:
            pytest.fail(f"{layer} does not work: {''.join(said)}; not allowed: {refused(somebody, layer)}")
        late.cancel()
        yield
    finally:
        late.cancel()
        process.send_signal(signal.SIGTERM)
        said.append(process.communicate(timeout=60)[1])
        print("".join(said))
    assert process.returncode == 0, "".join(said)
    assert not list(somebody.clusters.glob("*/cluster.json"))
    assert refused(somebody, layer) == []


def with_its_rights(somebody: User, layer: str) -> Path:
    """A kubeconfig of who may do what the layer says that it needs; made by who may do all."""
    apply(somebody, somebody.sampan(f"run {layer} --rbac"))
    config = yaml.safe_load(somebody.kubeconfig.read_text())
    (context,) = (each["context"] for each in config["contexts"] if each["name"] == config["current-context"])
    token = somebody.kubectl(f"create token sampan-{layer} --namespace kube-system").strip()
    (somebody.home / "its-token").write_text(token)
    its = {"tokenFile": str(somebody.home / "its-token")}
    config["users"], context["user"] = [{"name": layer, "user": its}], layer
    kubeconfig = somebody.home / "its-kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return kubeconfig


def refused(somebody: User, layer: str) -> list[str]:
    """What it was not allowed, as the cluster has written it down."""
    log = somebody.home.parent / "share" / "sampan" / "tide" / "audit.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    asked = [each for each in lines if each["user"]["username"] == f"system:serviceaccount:kube-system:sampan-{layer}"]
    assert asked
    return [f"{each['verb']} {each['requestURI']}" for each in asked if each["responseStatus"].get("code") == 403]


def until(what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {SECONDS:.0f} s: {what}")


def apply(somebody: User, text: str) -> None:
    file = somebody.home / "objects.yaml"
    file.write_text(text)
    somebody.kubectl(f"apply -f {file}")


def get(somebody: User, what: str) -> Any:
    return json.loads(somebody.kubectl(f"get {what} -o json"))


def test_elastic(beside: User) -> None:
    """Its schedules scale there, and the cluster's own API shows its metrics."""
    beside.kubectl("create deployment web --image=web")
    with running(beside, "elastic"):
        apply(beside, CRON)
        beside.kubectl("wait deployment/web --for=jsonpath={.spec.replicas}=3 --timeout=60s")
        beside.kubectl("wait apiservice/v1beta1.external.metrics.k8s.io --for=create --timeout=60s")
        beside.kubectl("wait apiservice/v1beta1.external.metrics.k8s.io --for=condition=Available --timeout=60s")
        served = json.loads(beside.kubectl("get --raw /apis/external.metrics.k8s.io/v1beta1"))
        assert "sls_ingress_qps" in {each["name"] for each in served["resources"]}
    assert "external.metrics" not in beside.kubectl("get apiservices -o name")


def test_rollouts(beside: User) -> None:
    """An update waits at its pause, and goes on when somebody promotes it."""
    with running(beside, "rollouts"):
        apply(beside, ROLLOUT % 1)
        beside.kubectl("wait rollout/web --for=jsonpath={.status.phase}=Healthy --timeout=60s")
        apply(beside, ROLLOUT % 2)
        beside.kubectl("wait rollout/web --for=jsonpath={.status.phase}=Paused --timeout=60s")
        images = [pod["spec"]["containers"][0]["image"] for pod in get(beside, "pods")["items"]]
        assert sorted(images) == ["web:1", "web:2"]
        patch = ("patch", "rollout", "web", "--subresource=status", "--type=merge", "-p")
        beside.run("kubectl", *patch, '{"status":{"pauseConditions":null}}')
        beside.kubectl("wait rollout/web --for=jsonpath={.status.phase}=Healthy --timeout=60s")


def test_protection(beside: User) -> None:
    """Its rules hold as a webhook's, the budget counts with the write, and the cluster asks nobody when it has ended."""
    beside.kubectl("create deployment web --image=web")
    beside.kubectl("create namespace shop")
    beside.kubectl("label namespace shop policy.kruise.io/delete-protection=Always")
    beside.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    with running(beside, "protection", "--webhook-address", f"127.0.0.1:{free_port()}"):
        until("the webhook is there", lambda: "sampan" in beside.kubectl("get validatingwebhookconfigurations -o name"))
        refused = until("it is asked", lambda: forbidden(beside, "delete namespace shop --dry-run=server"))
        assert "forbidden by ResourcesProtectionDeletion" in refused
        apply(beside, BUDGET)
        beside.kubectl("wait podunavailablebudget/web --for=jsonpath={.status.currentAvailable}=1 --timeout=60s")
        assert "pub unavailable allowed is negative" in forbidden(beside, "delete pod -l app=web")
    assert not beside.kubectl("get validatingwebhookconfigurations -o name")
    beside.kubectl("delete namespace shop")


def forbidden(somebody: User, line: str) -> str:
    """The refusal; "" where there is none."""
    done = subprocess.run(
        ["kubectl", *line.split()], env=somebody.environment, capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else ""


def test_why(beside: User) -> None:
    """Asked from anywhere, it says what is wrong there."""
    beside.kubectl("create deployment web --image=web")
    beside.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    asked = ("sampan", "why", "--kubeconfig", str(beside.kubeconfig))
    assert beside.run(*asked).stdout == "everything is healthy in namespace default\n"
    selector = '{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}'
    beside.run("kubectl", "patch", "deployment", "web", "-p", selector)
    beside.kubectl("wait deployment web --for=jsonpath={.status.unavailableReplicas}=1 --timeout=60s")
    said = until("it is stuck", lambda: stuck(beside, *asked, "deployment/web"))
    assert "no=where" in said


def stuck(somebody: User, *command: str) -> str:
    done = subprocess.run(command, env=somebody.environment, capture_output=True, text=True, check=False)
    return done.stdout if "is stuck" in done.stdout else ""


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def backend() -> Iterator[tuple[str, int]]:
    """A server at an address that an endpoint may have."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = str(probe.getsockname()[0])
    with http.server.ThreadingHTTPServer((address, 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address, server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_gateway(beside: User) -> None:
    """Envoy serves what that cluster's routes say, from where the layer runs, tells there what it refuses, and ends with it."""
    try:
        envoy_process.find()
    except envoy_process.EnvoyMissing:
        pytest.skip("there is no Envoy")
    with backend() as (address, port), running(beside, "gateway"):
        apply(beside, GATEWAY.replace("ADDRESS", address).replace("PORT", str(port)))
        beside.kubectl("wait httproute/web --for=jsonpath={.status.parents[0].conditions[0].status}=True --timeout=60s")
        said = get(beside, "gatewayclass sampan")["metadata"]["annotations"]
        ports = get(beside, "service web-sampan")["spec"]["ports"]
        where = said["gateway.sampan.dev/proxy-address"], ports[0]["targetPort"]
        until("it answers", lambda: asked(*where) == b"hello")
        with socket.create_server((where[0], where[1] + 1)):
            apply(beside, GATEWAY.partition("---")[0].replace("name: web", "name: second"))
            reason = 'status.listeners[0].conditions[?(@.type=="Programmed")].reason'
            beside.kubectl(f"wait gateway/second --for=jsonpath={{.{reason}}}=Invalid --timeout=60s")
            (listener,) = get(beside, "gateway second")["status"]["listeners"]
            said = {each["type"]: each["message"] for each in listener["conditions"]}["Programmed"]
            assert said.startswith("Envoy refuses it: cannot bind ")
            assert said.endswith("Address already in use")
            assert asked(*where) == b"hello"
        beside.kubectl("delete gateway second")
        pid = int((beside.home / "gateway" / "gateway" / "envoy.pid").read_text().split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def asked(host: str, port: int) -> bytes:
    link = http.client.HTTPConnection(host, port, timeout=5)
    try:
        link.request("GET", "/")
        return link.getresponse().read()
    except OSError:
        return b""
    finally:
        link.close()
