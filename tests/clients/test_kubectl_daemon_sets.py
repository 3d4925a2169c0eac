"""What a user does with kubectl to a DaemonSet: follow an update, read its history, go back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.simulated_kubectl import Kubectl, simulated

pytestmark = pytest.mark.slow

DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec:
      containers:
      - name: main
        image: "log:1"
        command: [sh, -c, "log < in > out 2>&1 && true"]
        env: [{name: LEVEL, value: info}]
        resources: {requests: {cpu: 10m}}
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl with a simulated cluster of three nodes."""
    with simulated(tmp_path, nodes=3) as run:
        yield run


def history(kubectl: Kubectl) -> list[list[str]]:
    lines = kubectl("rollout", "history", "daemonset/log").strip().splitlines()
    assert lines[:2] == ["daemonset.apps/log ", "REVISION  CHANGE-CAUSE"]
    return [line.split(maxsplit=1) for line in lines[2:]]


def test_an_update_and_the_way_back(kubectl: Kubectl) -> None:
    """`rollout status`, `history`, `undo`, to the one before, to a number, and to where it is already."""
    assert "Warning" not in kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    done = 'daemon set "log" successfully rolled out'
    assert done in kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    kubectl("set", "image", "daemonset/log", "main=log:2")
    kubectl("annotate", "daemonset/log", "kubernetes.io/change-cause=the third")
    kubectl("set", "image", "daemonset/log", "main=log:3")
    assert done in kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    assert history(kubectl) == [["1", "<none>"], ["2", "<none>"], ["3", "the third"]]
    shown = kubectl("rollout", "history", "daemonset/log", "--revision=2")
    assert "daemonset.apps/log with revision #2" in shown
    assert "log:2" in shown
    assert "daemonset.apps/log rolled back" in kubectl("rollout", "undo", "daemonset/log")
    assert done in kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    assert [number for number, _ in history(kubectl)] == ["1", "3", "4"]
    skipped = "skipped rollback (current template already matches revision 4)"
    assert skipped in kubectl("rollout", "undo", "daemonset/log", "--to-revision=4")
    kubectl("rollout", "undo", "daemonset/log", "--to-revision=1")
    assert done in kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    images = kubectl("get", "pods", "-l", "app=log", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["log:1"] * 3
    kubectl("rollout", "restart", "daemonset/log")
    assert done in kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    assert "unable to find specified revision 99" in kubectl(
        "rollout", "undo", "daemonset/log", "--to-revision=99", code=1
    )


def test_what_is_shown(kubectl: Kubectl) -> None:
    """`get` and `describe` count nodes; `drain` leaves daemon pods alone when it is told to, and refuses else."""
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
    row = kubectl("get", "daemonset", "log", "--no-headers").split()
    assert row[:7] == ["log", "3", "3", "3", "3", "3", "<none>"]
    described = kubectl("describe", "daemonset/log")
    for line in (
        "Desired Number of Nodes Scheduled: 3",
        "Number of Nodes Scheduled with Up-to-date Pods: 3",
        "Number of Nodes Scheduled with Available Pods: 3",
        "Number of Nodes Misscheduled: 0",
        "3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
    ):
        assert line in described
    assert "Normal  SuccessfulCreate" in described
    assert "daemonset-controller" in described
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    refused = kubectl("drain", node, "--timeout=10s", code=1)
    assert "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)" in refused
    assert "drained" in kubectl("drain", node, "--ignore-daemonsets", "--timeout=60s")
    assert kubectl("get", "daemonset", "log", "--no-headers").split()[1:6] == ["3"] * 5
