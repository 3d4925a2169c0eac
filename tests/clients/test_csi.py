"""Storage drivers on a real node: a driver of ours, with the test in the place of its controller and its attacher."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, mount, pod, thing

pytestmark = [needs_root, pytest.mark.root]

NAME = "dir.test"
ROOT = Path(__file__).parents[2]


class Driver:
    """Our driver as a process of the host, and what it was asked for."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        [node] = cluster.get("nodes")["items"]
        self.node, self.directory = node["metadata"]["name"], directory
        self.root = cluster.directory / f"node-{self.node}"
        self.base = directory / "base"
        self.base.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        words = {"name": NAME, "sockets": self.directory, "registry": self.root / "plugins_registry", "base": self.base}
        chosen = [f"--{name}={value}" for name, value in {**words, "node": self.node}.items()]
        command = [sys.executable, "-m", "tests.node.csi.driver", *chosen]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)

    def asked(self, volume: str) -> list[str]:
        """The calls for one volume, in order."""
        lines = (json.loads(line) for line in (self.base / "calls.jsonl").read_text().splitlines())
        return [method.removeprefix("Node") for method, request in lines if request.get("volume_id") == volume]


@pytest.fixture(scope="module")
def driver(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Registered, with its CSIDriver."""
    made = Driver(cluster, tmp_path_factory.mktemp("csi"))
    spec = {
        "attachRequired": True,
        "podInfoOnMount": True,
        "fsGroupPolicy": "File",
        "volumeLifecycleModes": ["Persistent", "Ephemeral"],
        "tokenRequests": [{"audience": "store"}],
    }
    create(cluster, {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": NAME}, "spec": spec})
    yield made
    cluster.kubectl("delete", "csidriver", NAME)
    made.stop()


def volume(name: str, ns: str, **spec: Any) -> tuple[Tree, Tree]:
    """A PersistentVolume and its claim, of the same name."""
    common = {"storageClassName": "", "volumeMode": spec.get("volumeMode", "Filesystem")}
    common["accessModes"] = ["ReadWriteOnce"]
    claim = {"name": name, "namespace": ns}
    full = {**common, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain", "claimRef": claim}
    request = {"resources": {"requests": {"storage": "1Gi"}}, "volumeName": f"{ns}-{name}"}
    return (
        thing("PersistentVolume", f"{ns}-{name}", spec={**full, **spec}),
        thing("PersistentVolumeClaim", name, spec={**common, **request}),
    )


def of_driver(handle: str) -> Tree:
    return {"driver": NAME, "volumeHandle": handle, "volumeAttributes": {"color": "red"}}


def claimed(name: str) -> Tree:
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


def attach(cluster: Cluster, name: str) -> None:
    """What the driver's attacher does."""

    def found() -> str:
        every = cluster.get("volumeattachments")["items"]
        names = [a["metadata"]["name"] for a in every if a["spec"]["source"]["persistentVolumeName"] == name]
        return names[0] if names else ""

    which = cluster.until(f"an attachment of {name}", found)
    patch = json.dumps({"status": {"attached": True, "attachmentMetadata": {"device": "/dev/there"}}})
    cluster.kubectl("patch", "volumeattachment", which, "--subresource=status", "--type=merge", "-p", patch)


def in_use(cluster: Cluster, node: str) -> list[str]:
    found: list[str] = cluster.get("node", node)["status"].get("volumesInUse", [])
    return found


def test_a_volume_through_its_life(cluster: Cluster, ns: str, driver: Driver) -> None:
    """Attached, staged once, published for each pod, grown, kept over the agent's death, and given back."""
    node = cluster.get("node", driver.node)["metadata"]
    assert node["labels"]["topology.dir.test/node"] == driver.node
    assert json.loads(node["annotations"]["csi.volume.kubernetes.io/nodeid"]) == {NAME: driver.node}
    wanted = {
        "name": NAME,
        "nodeID": driver.node,
        "topologyKeys": ["topology.dir.test/node"],
        "allocatable": {"count": 7},
    }
    assert cluster.get("csinode", driver.node)["spec"]["drivers"] == [wanted]

    (driver.base / "vol-1").mkdir()
    conf = thing("ConfigMap", "conf", data={"k": "one"})
    reading = "while ! grep -q two /c/k; do sleep 0.1; done; echo seen > /d/seen; " + pods.FOREVER
    writing = "stat -c '%g %a' /d > /d/mode; id > /d/id; " + reading
    mounts = [mount("data", "/d"), mount("c", "/c")]
    volumes = [claimed("data"), {"name": "c", "configMap": {"name": "conf"}}]
    first = pod("first", container(writing, volumeMounts=mounts), volumes=volumes, securityContext={"fsGroup": 1234})
    create(cluster, *volume("data", ns, csi=of_driver("vol-1")), conf, first)
    attach(cluster, f"{ns}-data")
    pods.wait(cluster, pods.RUNNING, "first")
    folder = driver.base / "vol-1"
    cluster.until("the pod wrote", (folder / "id").exists)
    assert (folder / "mode").read_text() == "1234 2775\n"
    context = json.loads((folder / "context.json").read_text())
    assert (context["color"], context["csi.storage.k8s.io/pod.name"]) == ("red", "first")
    assert json.loads(context["csi.storage.k8s.io/serviceAccount.tokens"])["store"]["token"].count(".") == 2
    device = f"kubernetes.io/csi/{NAME}^vol-1"
    assert in_use(cluster, driver.node) == [device]
    told = [e["reason"] for e in cluster.get("events")["items"] if e["involvedObject"]["name"] == "first"]
    assert "SuccessfulAttachVolume" in told
    assert "FailedMount" not in told

    cluster.kubectl("patch", "configmap", "conf", "-p", '{"data": {"k": "two"}}')
    cluster.until("the change reached the pod", (folder / "seen").exists)

    cluster.kubectl("patch", "pv", f"{ns}-data", "-p", '{"spec": {"capacity": {"storage": "2Gi"}}}')
    os.kill(cluster.pid(f"node-{driver.node}"), signal.SIGKILL)
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    create(cluster, pod("second", container("cat /d/id", volumeMounts=mounts[:1]), volumes=volumes[:1]))
    pods.wait(cluster, pods.SUCCEEDED, "second")
    cluster.until("the claim has grown", lambda: cluster.get("pvc", "data")["status"]["capacity"] == {"storage": "2Gi"})
    assert (folder / "size").read_text() == str(2 << 30)
    assert driver.asked("vol-1").count("StageVolume") == 1

    cluster.kubectl("delete", "pod", "first", "second")
    assert driver.asked("vol-1")[-1] == "UnstageVolume"
    assert driver.asked("vol-1").count("UnpublishVolume") == 2
    cluster.until("nothing is in use", lambda: not in_use(cluster, driver.node))
    cluster.until("it is detached", lambda: not cluster.get("volumeattachments")["items"])
    assert not list((driver.root / "plugins/kubernetes.io/csi").rglob("vol_data.json"))
    cluster.kubectl("delete", "pvc/data", f"pv/{ns}-data")


def test_inline_volumes(cluster: Cluster, ns: str, driver: Driver) -> None:
    """A pod's own volume comes and goes with it; one of an unknown driver says so."""
    own = {"name": "v", "csi": {"driver": NAME, "readOnly": True, "volumeAttributes": {"text": "hello"}}}
    other = {"name": "v", "csi": {"driver": "other.test"}}
    script = "cat /v/hello; touch /v/x 2>/dev/null || echo fixed"
    create(
        cluster,
        pod("own", container(script, volumeMounts=[mount("v", "/v")]), volumes=[own]),
        pod("other", container("true", volumeMounts=[mount("v", "/v")]), volumes=[other]),
    )
    pods.wait(cluster, pods.SUCCEEDED, "own")
    assert cluster.kubectl("logs", "own") == "hellofixed\n"
    text = 'volume mode "Ephemeral" not supported by driver other.test (no CSIDriver object)'
    cluster.until("an event", lambda: text in cluster.kubectl("get", "events", "-o", "jsonpath={.items[*].message}"))
    cluster.kubectl("delete", "pod", "own", "other")


def test_block_volumes(cluster: Cluster, ns: str, driver: Driver, tmp_path: Path) -> None:
    """A driver's and a local one are devices in the container; a local disk with a file system is made and mounted."""
    (driver.base / "vol-2").mkdir()
    disks = [driver.base / "vol-2/disk", tmp_path / "raw", tmp_path / "formatted"]
    for disk in disks:
        with disk.open("wb") as file:
            file.truncate(32 << 20)
    loops = [
        subprocess.run(["losetup", "--show", "-f", disk], capture_output=True, text=True, check=True).stdout.strip()
        for disk in disks[1:]
    ]
    here = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [driver.node]}]}]
    affinity = {"required": {"nodeSelectorTerms": here}}
    script = """
    set -e
    for d in /dev/one /dev/two; do
      echo "$(stat -c %F $d) $(blockdev --getsize64 $d)"; echo written > $d; head -c 7 $d; echo
    done
    head -c 1 /dev/kmsg 2>/dev/null || echo confined
    touch /three/f; grep " /three " /proc/mounts | cut -d" " -f3; stat -c %g /three
    """
    devices = [{"name": "one", "devicePath": "/dev/one"}, {"name": "two", "devicePath": "/dev/two"}]
    used = container(script, volumeDevices=devices, volumeMounts=[mount("three", "/three")])
    try:
        create(
            cluster,
            *volume("one", ns, csi=of_driver("vol-2"), volumeMode="Block"),
            *volume("two", ns, local={"path": loops[0]}, nodeAffinity=affinity, volumeMode="Block"),
            *volume("three", ns, local={"path": loops[1]}, nodeAffinity=affinity),
            pod(
                "user",
                used,
                volumes=[claimed(name) for name in ("one", "two", "three")],
                securityContext={"fsGroup": 77},
            ),
        )
        attach(cluster, f"{ns}-one")
        pods.wait(cluster, pods.SUCCEEDED, "user")
        said = cluster.kubectl("logs", "user").splitlines()
        assert said == ["block special file 33554432", "written"] * 2 + ["confined", "ext4", "77"]
        assert disks[0].read_bytes()[:8] == b"written\n"
        cluster.kubectl("delete", "pod", "user")
        cluster.kubectl("delete", "pvc", "one", "two", "three")
        cluster.kubectl("delete", "pv", *(f"{ns}-{name}" for name in ("one", "two", "three")))
    finally:
        for loop in loops:
            subprocess.run(["losetup", "-d", loop], check=True)
    assert driver.asked("vol-2")[-2:] == ["UnpublishVolume", "UnstageVolume"]


def test_a_driver_in_a_pod(cluster: Cluster, ns: str, driver: Driver, tmp_path: Path) -> None:
    """Registered from within, with the node's directory at the place where every driver has it; its mounts reach others."""
    system = [path for path in ("/usr", "/lib", "/lib64", "/bin", "/sbin") if Path(path).exists()]
    prefixes = [path for path in {sys.prefix, sys.base_prefix} if not path.startswith("/usr")]
    kubelet = {"name": "kubelet", "hostPath": {"path": "/var/lib/kubelet", "type": "Directory"}}
    paths = dict(enumerate([*system, *prefixes, str(ROOT), str(tmp_path)]))
    mounts = [mount(f"host-{number}", path) for number, path in paths.items()]
    mounts.append(mount("kubelet", "/var/lib/kubelet", mountPropagation="Bidirectional"))
    words = {
        "name": "pod.test",
        "sockets": "/var/lib/kubelet/plugins/pod.test",
        "registry": "/var/lib/kubelet/plugins_registry",
        "base": str(tmp_path),
        "node": driver.node,
    }
    command = [sys.executable, "-m", "tests.node.csi.driver", *(f"--{name}={value}" for name, value in words.items())]
    runs = {"name": "main", "image": "busybox:1.36", "command": command, "workingDir": str(ROOT)}
    env = [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}]
    volumes = [{"name": f"host-{number}", "hostPath": {"path": path}} for number, path in paths.items()]
    (tmp_path / "vol-3").mkdir()
    spec = {"attachRequired": False, "volumeLifecycleModes": ["Persistent"]}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "pod.test"}}
    in_pod = {**runs, "env": env, "volumeMounts": mounts, "securityContext": {"privileged": True}}
    source = {"driver": "pod.test", "volumeHandle": "vol-3"}
    create(
        cluster,
        {**kind, "spec": spec},
        pod("driver", in_pod, volumes=[*volumes, kubelet]),
        *volume("data", ns, csi=source),
        pod("user", container("echo kept > /d/f", volumeMounts=[mount("data", "/d")]), volumes=[claimed("data")]),
    )
    pods.wait(cluster, pods.SUCCEEDED, "user")
    assert (tmp_path / "vol-3/f").read_text() == "kept\n"
    assert {d["name"] for d in cluster.get("csinode", driver.node)["spec"]["drivers"]} == {NAME, "pod.test"}
    cluster.kubectl("delete", "pod", "user")
    cluster.kubectl("delete", "pod", "driver")
    drivers = lambda: [d["name"] for d in cluster.get("csinode", driver.node)["spec"]["drivers"]]  # noqa: E731
    cluster.until("it is gone from the CSINode", lambda: drivers() == [NAME])
    cluster.kubectl("delete", "pvc/data", f"pv/{ns}-data", "csidriver/pod.test")
