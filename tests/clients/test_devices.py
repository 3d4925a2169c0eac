"""Drivers of devices on a real node: programs of their own, and pods that get what they have."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sampan.node.plugins.pod_resources_api import LISTER
from sampan.node.rpc.client import Client
from tests.clients import pods
from tests.clients.conftest import NAME as CLUSTER
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, mount, pod

pytestmark = [needs_root, pytest.mark.root]

ROOT = Path(__file__).parents[2]
RESOURCE, DRIVER = "example.com/dev", "gpu.example.com"
CDI_FILE = Path(f"/var/run/cdi/sampan-test-{CLUSTER}.json")
KIND = f"example.com/gpu-{CLUSTER}"


@contextmanager
def driver(kind: str, folder: Path, options: Tree) -> Iterator[None]:
    """A driver's process."""
    command = [sys.executable, "-m", "tests.node.plugins.drivers", kind, str(folder), json.dumps(options)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=60)


def node_of(cluster: Cluster) -> tuple[str, Path]:
    """The node's name and its directory."""
    [node] = cluster.get("nodes")["items"]
    name = node["metadata"]["name"]
    return name, cluster.directory / f"node-{name}"


def amounts(cluster: Cluster) -> tuple[str | None, str | None]:
    [node] = cluster.get("nodes")["items"]
    return node["status"]["capacity"].get(RESOURCE), node["status"]["allocatable"].get(RESOURCE)


def kill_agent(cluster: Cluster, name: str) -> None:
    os.kill(cluster.pid(f"node-{name}"), signal.SIGKILL)


def up(cluster: Cluster, ns: str) -> None:
    """Starts the agent again; the context is written anew, without the namespace."""
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    cluster.kubectl("config", "set-context", "--current", "--namespace", ns)


def with_devices(name: str, amount: int, script: str, **spec: Any) -> Tree:
    return pod(name, container(script, resources={"limits": {RESOURCE: str(amount)}}), **spec)


def test_a_device_plugin(cluster: Cluster, ns: str) -> None:
    """The node has its devices, a container gets them, nobody gets them twice, also when the agent was killed."""
    name, root = node_of(cluster)
    response = {
        "devices": [{"container_path": "/dev/thing", "host_path": "/dev/zero", "permissions": "rw"}],
        "mounts": [{"container_path": "/given", "host_path": "/etc", "read_only": True}],
    }
    options = {"resource": RESOURCE, "devices": dict.fromkeys("ab", "Healthy"), "response": response}
    look = "head -c 3 /dev/thing | wc -c; stat -c %F /dev/thing; echo $DEVICES; touch /given/x || echo fixed; "
    with driver("device", root / "device-plugins", options):
        cluster.until("the node has devices", lambda: amounts(cluster) == ("2", "2"))
        user = with_devices("user", 1, look + pods.FOREVER)
        placed = with_devices("placed", 2, "true", nodeName=name)
        create(cluster, user)
        pods.wait(cluster, pods.RUNNING, "user")
        cluster.until("it says so", lambda: "fixed" in cluster.kubectl("logs", "user"))
        assert cluster.kubectl("logs", "user").splitlines()[:3] == ["3", "character special file", "a"]
        where = "jsonpath={.status.containerStatuses[0].allocatedResourcesStatus}"
        given = '[{"name":"example.com/dev","resources":[{"health":"Healthy","resourceID":"a"}]}]'
        assert cluster.kubectl("get", "pod", "user", "-o", where) == given
        where = r"jsonpath={.items[0].status.allocatable.example\.com/dev}"
        assert cluster.kubectl("get", "nodes", "-o", where) == "2"

        kill_agent(cluster, name)
        up(cluster, ns)
        cluster.until("the plugin is there again", lambda: amounts(cluster) == ("2", "2"))
        create(cluster, placed)
        pods.wait(cluster, "jsonpath={.status.phase}=Failed", "placed")
        why = (
            f"Allocate failed due to requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1"
        )
        refused = pods.status(cluster, "placed")
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert refused["message"] == f"Pod was rejected: {why}, which is unexpected"
        assert pods.events(cluster, "placed", "UnexpectedAdmissionError") == [f"{why}, which is unexpected"]
        assert pods.status(cluster, "user")["containerStatuses"][0]["restartCount"] == 0
        told = asyncio.run(who_has_what(root))
        assert told["user"] == [{"resource_name": RESOURCE, "device_ids": ["a"], "topology": None}]

        cluster.kubectl("delete", "pod", "user", "placed")
        create(cluster, with_devices("both", 2, "echo $DEVICES"))
        pods.wait(cluster, pods.SUCCEEDED, "both")
        assert cluster.kubectl("logs", "both") == "a,b\n"
    cluster.until("the plugin is missed", lambda: amounts(cluster) == ("2", "0"))


async def who_has_what(root: Path) -> dict[str, list[Tree]]:
    """As the pod-resources service tells it, for first containers."""
    client = Client(root / "pod-resources" / "kubelet.sock")
    try:
        answer = await client.call(LISTER["List"], timeout_seconds=60)
    finally:
        client.close()
    return {each["name"]: each["containers"][0]["devices"] for each in answer["pod_resources"]}


def slice_of(node: str, *devices: str) -> Tree:
    """What a driver publishes."""
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": [{"name": device} for device in devices]}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-gpu"},
        "spec": spec,
    }


def claiming(name: str, *containers: Tree, **spec: Any) -> Tree:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one"}]
    return pod(name, *containers, resourceClaims=claims, **spec)


def test_a_driver_of_dynamic_resources(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """Its claims are prepared for pods, their containers have the devices, and all is given back, whoever dies."""
    node, root = node_of(cluster)
    edits = {"env": ["GPU=zero"], "deviceNodes": [{"path": "/dev/gpu", "hostPath": "/dev/zero"}]}
    described = {"cdiVersion": "0.6.0", "kind": KIND, "devices": [{"name": "0", "containerEdits": edits}]}
    device = {"request_names": ["r"], "pool_name": node, "device_name": "d0", "cdi_device_ids": [f"{KIND}=0"]}
    calls = tmp_path / "calls"
    calls.touch()
    options = {"name": DRIVER, "devices": [device], "calls_file": str(calls), "cdi": [str(CDI_FILE), described]}
    device_class = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": f"gpu-{ns}"},
        "spec": {},
    }
    request = {"name": "r", "exactly": {"deviceClassName": f"gpu-{ns}"}}
    template = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "one"},
        "spec": {"spec": {"devices": {"requests": [request]}}},
    }
    look = "echo $GPU; head -c 4 /dev/gpu | wc -c; "
    user = claiming(
        "user", container(look + pods.FOREVER, resources={"claims": [{"name": "gpu"}]}), container("true", "other")
    )
    create(cluster, device_class, template, slice_of(node, "d0", "d1"), user)
    try:
        missing = (
            f"Failed to prepare dynamic resources: prepare dynamic resources: DRA driver {DRIVER} is not registered"
        )
        reason = "FailedPrepareDynamicResources"
        cluster.until("the driver is missed", lambda: missing in pods.events(cluster, "user", reason))
        with driver("dra", root, options):
            cluster.until("it runs", lambda: pods.status(cluster, "user").get("phase") == "Running")
            cluster.until("it has the device", lambda: "zero\n4\n" in cluster.kubectl("logs", "user", "-c", "main"))
            stuck = claiming("stuck", {**container(), "image": "missing:1", "imagePullPolicy": "Never"})
            create(cluster, stuck)
            cluster.until("both are prepared", lambda: calls.read_text().count("prepare") == 2)
            pods.waits_with(cluster, "stuck")

            kill_agent(cluster, node)
            cluster.kubectl("delete", "pod", "stuck", "--force", "--grace-period=0")
            up(cluster, ns)
            cluster.until("the lost one is given back", lambda: calls.read_text().count("unprepare") == 1)
            cluster.until("old slices are gone", lambda: not cluster.get("resourceslices")["items"])
            assert pods.status(cluster, "user")["containerStatuses"][0]["restartCount"] == 0
            cluster.kubectl("delete", "pod", "user")
            assert calls.read_text().count("unprepare") == 2
            assert [line.split()[0] for line in calls.read_text().splitlines()] == ["prepare"] * 2 + ["unprepare"] * 2
    finally:
        CDI_FILE.unlink(missing_ok=True)
        cluster.kubectl("delete", "resourceslices", "--all")
        cluster.kubectl("delete", "deviceclass", f"gpu-{ns}")


def test_the_nodes_directory_in_a_pod(cluster: Cluster, ns: str) -> None:
    """A driver's pod that mounts /var/lib/kubelet from the host finds the directory of its node."""
    _, root = node_of(cluster)
    folder = {"path": "/var/lib/kubelet/plugins", "type": "Directory"}
    made = pod(
        "driver",
        container("mkdir /k/from-a-pod", volumeMounts=[mount("k", "/k")]),
        volumes=[{"name": "k", "hostPath": folder}],
    )
    create(cluster, made)
    pods.wait(cluster, pods.SUCCEEDED, "driver")
    assert (root / "plugins" / "from-a-pod").is_dir()
    (root / "plugins" / "from-a-pod").rmdir()
