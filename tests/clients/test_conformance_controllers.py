"""The conformance tests of kubectl with ReplicationControllers and simulated pods, with the program itself.

A number is the test's position in upstream's list of conformance tests.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import BIN
from tests.testing.bridged import bridged

pytestmark = pytest.mark.slow

LABELS = {"app": "agnhost", "role": "primary"}
POD: dict[str, Any] = {"containers": [{"name": "primary", "image": "agnhost:1", "ports": [{"containerPort": 6379}]}]}
CONTROLLER = {
    "apiVersion": "v1",
    "kind": "ReplicationController",
    "metadata": {"name": "agnhost-primary", "labels": LABELS},
    "spec": {"replicas": 1, "selector": LABELS, "template": {"metadata": {"labels": LABELS}, "spec": POD}},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "agnhost-primary", "labels": LABELS},
    "spec": {"selector": LABELS, "ports": [{"port": 6379, "targetPort": 6379}]},
}

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl with a simulated cluster."""
    with bridged(tmp_path) as cluster:
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}

        def run(words: str, stdin: Any = None) -> str:
            command = (str(BIN / "kubectl"), *words.split())
            text = "" if stdin is None else json.dumps(stdin)
            done = subprocess.run(
                command, input=text, text=True, capture_output=True, env=environment, timeout=60, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Warning" not in done.stderr
            return done.stdout

        yield run


def field(shown: str, name: str) -> str:
    """What stands behind a name, such as Labels:, without the spaces between."""
    found = re.search(rf"^\s*{re.escape(name)}:\s*(.*)$", shown, re.MULTILINE)
    assert found, f"{name} not in {shown}"
    return found[1]


def the_pod(kubectl: Kubectl) -> str:
    kubectl("wait --for=jsonpath={.status.readyReplicas}=1 rc/agnhost-primary --timeout=60s")
    return kubectl("get pods -l app=agnhost -o name").strip()


def test_describe_tells_of_a_replication_controller_and_its_pods(kubectl: Kubectl) -> None:
    """173: the controller, its pod, the service with its endpoints, the node and the namespace."""
    kubectl("create -f -", CONTROLLER)
    kubectl("create -f -", SERVICE)
    pod = the_pod(kubectl)
    shown = kubectl(f"describe {pod}")
    assert field(shown, "Controlled By") == "ReplicationController/agnhost-primary"
    assert (field(shown, "Status"), field(shown, "Image")) == ("Running", "agnhost:1")
    shown = kubectl("describe rc agnhost-primary")
    assert (field(shown, "Name"), field(shown, "Namespace")) == ("agnhost-primary", "default")
    assert field(shown, "Selector") == "app=agnhost,role=primary"
    assert field(shown, "Replicas") == "1 current / 1 desired"
    assert field(shown, "Pods Status") == "1 Running / 0 Waiting / 0 Succeeded / 0 Failed"
    assert "SuccessfulCreate" in shown
    assert f"Created pod: {pod.removeprefix('pod/')}" in shown
    shown = kubectl("describe service agnhost-primary")
    assert field(shown, "Selector") == "app=agnhost,role=primary"
    assert re.fullmatch(r"[0-9.]+:6379", field(shown, "Endpoints"))
    assert "RegisteredNode" in kubectl("describe node")
    assert field(kubectl("describe namespace default"), "Status") == "Active"


def test_labels_are_set_and_taken_away(kubectl: Kubectl) -> None:
    """176."""
    kubectl("create -f -", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pause"}, "spec": POD})
    assert kubectl("label pods pause testing-label=testing-label-value") == "pod/pause labeled\n"
    assert "testing-label-value" in kubectl("get pod pause -L testing-label")
    kubectl("label pods pause testing-label-")
    assert "testing-label-value" not in kubectl("get pod pause -L testing-label")


def test_pods_of_a_replication_controller_are_annotated(kubectl: Kubectl) -> None:
    """177."""
    kubectl("create -f -", CONTROLLER)
    pod = the_pod(kubectl)
    kubectl(f"patch {pod} -p " + '{"metadata":{"annotations":{"x":"y"}}}')
    assert kubectl(f"get {pod} -o jsonpath={{.metadata.annotations.x}}") == "y"


def test_a_pods_image_is_replaced(kubectl: Kubectl) -> None:
    """178."""
    kubectl("run e2e-test-httpd-pod --image=httpd:1 --labels=run=e2e-test-httpd-pod")
    kubectl("wait --for=condition=Ready pod/e2e-test-httpd-pod --timeout=60s")
    found = json.loads(kubectl("get pod e2e-test-httpd-pod -o json"))
    found["spec"]["containers"][0]["image"] = "busybox:1"
    assert kubectl("replace -f -", found) == "pod/e2e-test-httpd-pod replaced\n"
    assert kubectl("get pod e2e-test-httpd-pod -o jsonpath={.spec.containers[0].image}") == "busybox:1"
