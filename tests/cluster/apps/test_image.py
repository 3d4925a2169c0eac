"""An image by itself becomes a Deployment, and a Service if it has ports; how far it has come is told from its status."""

from typing import Any

import pytest

from sampan.cluster.apps import image, rollout
from sampan.cluster.apps.objects import CONTENT, Application

APP = Application("web", "default")


def made(config: dict[str, Any] | None = None, **wish: Any) -> dict[str, Any]:
    return {obj["kind"]: obj for obj in image.translate(APP, image.Wish("web@sha256:1", **wish), config or {})}


def test_what_the_image_says() -> None:
    """Its ports are published, and its health check is the readiness probe."""
    found = made({
        "ExposedPorts": {"8080/tcp": {}, "443/tcp": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5 * 10**9, "Retries": 2},
    })  # fmt: skip
    assert found["Service"]["spec"]["type"] == "LoadBalancer"
    assert [port["port"] for port in found["Service"]["spec"]["ports"]] == [443, 8080]
    container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["readinessProbe"] == {
        "exec": {"command": ["/bin/sh", "-c", "curl x"]},
        "periodSeconds": 5,
        "timeoutSeconds": 30,
        "failureThreshold": 2,
    }
    assert "replicas" not in found["Deployment"]["spec"]


def test_what_is_asked_for() -> None:
    """Goes before what the image says; without ports there is no Service."""
    found = made({"ExposedPorts": {"1/tcp": {}}}, ports=["80:8000"], replicas=3, environment=[("A", "b")], revision="r")
    assert [(port["port"], port["targetPort"]) for port in found["Service"]["spec"]["ports"][:1]] == [(80, 8000)]
    assert found["Deployment"]["spec"]["replicas"] == 3
    template = found["Deployment"]["spec"]["template"]
    assert template["metadata"]["annotations"] == {CONTENT: "r"}
    assert template["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    assert list(made()) == ["Deployment"]
    with pytest.raises(ValueError, match="'x' is not a port"):
        made(ports=["x"])


def deployment(**status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("status", "is_done", "text"),
    [
        ({}, False, "0 of 2 ready"),
        ({"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}, True, "2 of 2 ready"),
        ({"updatedReplicas": 2, "availableReplicas": 2, "replicas": 3}, False, "2 of 2 ready"),
        ({"updatedReplicas": 1, "availableReplicas": 2, "replicas": 3}, False, "1 of 2 ready"),
        ({"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2, "observedGeneration": 1}, False, "0 of 2 ready"),
    ],
)
def test_deployments(status: dict[str, Any], is_done: bool, text: str) -> None:
    """Up when all pods are of the newest template and available, and none is left of another."""
    state = rollout.of_deployment(deployment(**status))
    assert (state.is_done, state.text) == (is_done, text)


def test_failures() -> None:
    """A deadline, a failed Job, a container that is told not to be tried again."""
    stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    assert rollout.of_deployment(deployment(conditions=[stuck])).failure
    job = {"status": {"conditions": [{"type": "Failed", "status": "True", "message": "no more"}]}}
    assert rollout.of_job(job).failure == "no more"
    assert rollout.of_job({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}).is_done
    assert not rollout.of_job({}).is_done


def pod(reason: str, restarts: int = 0, **state: Any) -> dict[str, Any]:
    waiting = {"state": {"waiting": {"reason": reason, "message": "a  text"}}, "restartCount": restarts, **state}
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [waiting]}}


def test_troubles() -> None:
    """Each once, with what the container waits for; only some never pass."""
    pods = [pod("ErrImagePull"), pod("ErrImagePull"), pod("ContainerCreating")]
    assert rollout.troubles(pods) == ["ErrImagePull: a text"]
    assert rollout.hopeless(pods) == ""
    looping = pod("CrashLoopBackOff", 3, lastState={"terminated": {"exitCode": 7}})
    assert rollout.hopeless([looping]) == "CrashLoopBackOff: it ended with exit code 7; see: kubectl logs --previous p"
    assert rollout.hopeless([pod("CrashLoopBackOff", 1)]) == ""
    assert rollout.hopeless([pod("InvalidImageName")]) == "InvalidImageName: a text"


def test_pods_of_another_template_do_not_count() -> None:
    """A broken version that is being replaced is no trouble of the new one."""
    template = {"metadata": {"annotations": {"a": "1"}}, "spec": {"containers": [{"image": "i", "env": []}]}}
    same = {
        "metadata": {"annotations": {"a": "1", "b": "2"}},
        "spec": {"containers": [{"image": "i", "env": [], "x": 1}]},
    }
    other = {"metadata": {"annotations": {"a": "1"}}, "spec": {"containers": [{"image": "j", "env": []}]}}
    assert rollout.is_current(same, template)
    assert not rollout.is_current(other, template)
    assert not rollout.is_current({**same, "metadata": {}}, template)


def test_addresses() -> None:
    """The balancer's, else the node's port; none for what is inside only."""
    ports = [{"port": 80, "nodePort": 30080}, {"port": 8080, "nodePort": 30081}, {"port": 53, "protocol": "UDP"}]
    ports.append({"port": 9, "targetPort": 80})  # the same one of the pods
    service: dict[str, Any] = {"spec": {"type": "LoadBalancer", "ports": ports}}
    assert rollout.addresses(service) == ["http://127.0.0.1:30080/", "http://127.0.0.1:30081/"]
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "10.32.0.1"}]}}
    assert rollout.addresses(service) == ["http://10.32.0.1/", "http://10.32.0.1:8080/", "udp://10.32.0.1:53"]
    assert rollout.addresses({"spec": {"type": "ClusterIP", "ports": ports}}) == []
