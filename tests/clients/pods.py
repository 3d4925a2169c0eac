"""Pods of busybox by the dozen: written down, started together, and what they said."""

import json
import re
from collections import defaultdict
from typing import Any

from tests.clients.conftest import Cluster

Tree = dict[str, Any]
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
SUCCEEDED = "jsonpath={.status.phase}=Succeeded"
RUNNING = "jsonpath={.status.phase}=Running"
READY = "condition=Ready"
WAITING = "jsonpath={.status.containerStatuses[0].state.waiting.reason}="


def container(script: str = FOREVER, name: str = "main", **more: Any) -> Tree:
    """A container that runs a shell script."""
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", script], **more}


def template(*containers: Tree, **spec: Any) -> Tree:
    """The spec of a pod that runs once and is given a second to end."""
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}


def pod(name: str, *containers: Tree, **spec: Any) -> Tree:
    return pod_of({}, name, *containers, **spec)


def pod_of(metadata: Tree, name: str, *containers: Tree, **spec: Any) -> Tree:
    """A pod with labels or annotations of its own."""
    labels = {"run": name, **metadata.get("labels", {})}
    found = {**metadata, "name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": found, "spec": template(*containers, **spec)}


def thing(kind: str, name: str, **fields: Any) -> Tree:
    """Any object of the core group."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def job(name: str, script: str, spec: Tree | None = None, **of_pod: Any) -> Tree:
    made = {"template": {"spec": template(container(script), **of_pod)}, **(spec or {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": made}


def text(key: str) -> Tree:
    """A variable whose value is a field of the pod."""
    return {"fieldRef": {"fieldPath": key}}


def variable(name: str, key: str) -> Tree:
    return {"name": name, "valueFrom": text(key)}


def mount(name: str, path: str, **more: Any) -> Tree:
    return {"name": name, "mountPath": path, **more}


def create(cluster: Cluster, *objects: Tree) -> None:
    cluster.kubectl("create", "-f", "-", stdin="\n---\n".join(json.dumps(obj) for obj in objects))


def wait(cluster: Cluster, condition: str, *names: str) -> None:
    """Until the condition holds for all of these."""
    what = [name if "/" in name else f"pod/{name}" for name in names]
    cluster.kubectl("wait", *what, f"--for={condition}", "--timeout=60s")


def when(cluster: Cluster, condition: str, name: str) -> Tree:
    """The pod's status as it was when the condition held: a moment later it may hold no more."""
    found: Tree = json.loads(
        cluster.kubectl("wait", f"pod/{name}", f"--for={condition}", "--timeout=60s", "-o", "json")
    )
    return dict(found["status"])


def status(cluster: Cluster, name: str) -> Tree:
    found: Tree = cluster.get("pod", name)["status"]
    return found


def waits_with(cluster: Cluster, name: str) -> tuple[str, str]:
    """Why its first container does not run: reason and message, once it says so."""

    def why() -> tuple[str, str] | None:
        for each in status(cluster, name).get("containerStatuses", []):
            waiting = each["state"].get("waiting", {})
            if waiting.get("message"):
                return waiting["reason"], waiting["message"]
        return None

    found: tuple[str, str] = cluster.until(f"{name} waits", why)
    return found


def said(cluster: Cluster, *names: str) -> dict[str, list[str]]:
    """The lines of each container of these pods, by pod/container."""
    options = ("--all-containers", "--prefix", "--tail=-1", "--max-log-requests=60")
    found: dict[str, list[str]] = defaultdict(list)
    for line in cluster.kubectl("logs", "-l", f"run in ({','.join(names)})", *options).splitlines():
        match = re.match(r"\[pod/([^]]+)\] (.*)", line)
        assert match, line
        found[match[1]].append(match[2])
    return found


def outputs(cluster: Cluster, *objects: Tree) -> dict[str, list[str]]:
    """Creates all of it, waits until the pods have succeeded, and gives what they said."""
    create(cluster, *objects)
    names = [obj["metadata"]["name"] for obj in objects if obj["kind"] == "Pod"]
    wait(cluster, SUCCEEDED, *names)
    return said(cluster, *names)


def events(cluster: Cluster, name: str, reason: str) -> list[str]:
    found = cluster.get("events", "--field-selector", f"involvedObject.name={name},reason={reason}")["items"]
    return [event["message"] for event in found]
