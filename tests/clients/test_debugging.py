"""Ephemeral containers: `kubectl debug` into a running pod, seeing its processes, more than once."""

import pytest

from tests.clients.conftest import Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

RUNNING = "--for=jsonpath={.status.phase}=Running"


def test_debugging_a_running_pod(cluster: Cluster, ns: str) -> None:
    """The guest sees the target's processes and the pod's network; the pod goes on undisturbed."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "exec sleep 12345"))
    cluster.kubectl("wait", "pod/p", RUNNING, "--timeout=60s")
    debug = ("debug", "p", "--image=busybox:1.36", "--target=main", "--profile=general", "-q")
    cluster.kubectl(*debug, "-c", "first", "--", "sh", "-c", "ps; hostname; sleep 1000")
    started = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}"
    cluster.kubectl("wait", "pod/p", started, "--timeout=60s")
    said = cluster.until("its output", lambda: cluster.kubectl("logs", "p", "-c", "first"))
    assert "sleep 12345" in said
    cluster.until("its host name", lambda: cluster.kubectl("logs", "p", "-c", "first").splitlines()[-1] == "p")
    assert cluster.kubectl("exec", "p", "-c", "first", "--", "echo", "inside") == "inside\n"
    cluster.kubectl(*debug, "-c", "second", "--", "sh", "-c", "exit 3")
    ended = "--for=jsonpath={.status.ephemeralContainerStatuses[1].state.terminated.exitCode}=3"
    cluster.kubectl("wait", "pod/p", ended, "--timeout=60s")
    status = cluster.get("pod", "p")["status"]
    assert [(s["name"], s["ready"], s["restartCount"]) for s in status["ephemeralContainerStatuses"]] == [
        ("first", False, 0),
        ("second", False, 0),
    ]
    assert status["containerStatuses"][0]["restartCount"] == 0
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    described = cluster.kubectl("describe", "pod", "p")
    assert "Ephemeral Containers:" in described
    told = cluster.kubectl("events", "--for", "pod/p", "-o", "json")
    assert "spec.ephemeralContainers{first}" in told
    cluster.kubectl("delete", "pod", "p", "--timeout=60s")


def test_a_guest_that_cannot_be_had(cluster: Cluster, ns: str) -> None:
    """Its image is nowhere: it says so, and the pod stays ready."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "exec sleep 12345"))
    cluster.kubectl("wait", "pod/p", RUNNING, "--timeout=60s")
    cluster.kubectl("debug", "p", "--image=127.0.0.1:1/nothing:v1", "-c", "guest", "-q")
    waiting = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.waiting.reason}=ErrImagePull"
    cluster.kubectl("wait", "pod/p", waiting, "--timeout=60s")
    told = cluster.refused("logs", "p", "-c", "guest")
    assert 'container "guest" in pod "p" is waiting to start: ' in told and "pull" in told
    assert cluster.kubectl("get", "pod", "p", "--no-headers").split()[1:3] == ["1/1", "Running"]
