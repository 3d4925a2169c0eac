"""What a user does with kubectl to a StatefulSet: follow an update, read its history, go back, look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.simulated_kubectl import Kubectl, simulated

pytestmark = pytest.mark.slow

STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 3
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1", env: [{name: LEVEL, value: info}], resources: {requests: {cpu: 10m}}}
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl with a simulated cluster."""
    with simulated(tmp_path, nodes=2) as run:
        yield run


def test_an_update_and_the_way_back(kubectl: Kubectl) -> None:
    """`rollout status` counts the pods, waits for a partition too, and `history` and `undo` know the revisions."""
    assert "Warning" not in kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    told = kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    assert "partitioned roll out complete: 3 new pods have been updated..." in told
    rolled = '{"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}'
    kubectl("patch", "statefulset", "web", "-p", rolled)
    kubectl("set", "image", "statefulset/web", "main=web:2")
    told = kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    assert "partitioned roll out complete: 1 new pods have been updated..." in told
    kubectl("patch", "statefulset", "web", "-p", rolled.replace("2", "0"))
    assert "3 new pods" in kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    shown = kubectl("rollout", "history", "statefulset/web").splitlines()
    assert [line.split()[0] for line in shown[2:] if line] == ["1", "2"]
    assert "statefulset.apps/web rolled back" in kubectl("rollout", "undo", "statefulset/web")
    kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    images = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["web:1"] * 3
    listed = kubectl("get", "controllerrevisions", "--no-headers").splitlines()
    assert sorted(line.split()[1:3] for line in listed) == [
        ["statefulset.apps/web", "2"],
        ["statefulset.apps/web", "3"],
    ]
    kubectl("rollout", "restart", "statefulset/web")
    kubectl("rollout", "status", "statefulset/web", "--timeout=60s")


def test_what_is_shown(kubectl: Kubectl) -> None:
    """`get` and `describe` tell how far it is and what was done; `scale` and `delete` do what they say."""
    kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    assert kubectl("get", "statefulset", "web", "--no-headers").split()[:2] == ["web", "3/3"]
    described = kubectl("describe", "statefulset/web")
    for line in (
        "3 desired | 3 total",
        "3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "RollingUpdate",
        "create Pod web-2 in StatefulSet web successful",
    ):
        assert line in described
    kubectl("scale", "statefulset/web", "--replicas=1")
    kubectl("wait", "--for=delete", "pod/web-1", "--timeout=60s")
    assert kubectl("get", "pods", "-o", "name").split() == ["pod/web-0"]
    kubectl("delete", "statefulset", "web", "--cascade=foreground", "--timeout=60s")
    assert "No resources found" in kubectl("get", "pods,statefulsets,controllerrevisions")
