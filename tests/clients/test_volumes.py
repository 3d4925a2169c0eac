"""A claim and its folder on a real node: what a pod wrote, the next one reads; and what is deleted is gone."""

from pathlib import Path

import pytest

from tests.clients.conftest import Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""
MOUNT = "volumeMounts: [{name: d, mountPath: /d}]"
VOLUMES = "\n  volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]\n"
SUCCEEDED = "--for=jsonpath={.status.phase}=Succeeded"


def test_what_was_written_is_there_for_the_next_pod(cluster: Cluster, ns: str) -> None:
    """The claim waits for its pod; its folder outlives pods, and goes with the claim."""
    cluster.kubectl("apply", "-f", "-", stdin=CLAIM)
    cluster.until("a reason", lambda: "WaitForFirstConsumer" in cluster.kubectl("describe", "pvc", "data"))
    assert "standard (default)" in cluster.kubectl("get", "storageclass")
    cluster.kubectl("apply", "-f", "-", stdin=pod("first", "echo kept > /d/f", MOUNT) + VOLUMES)
    cluster.kubectl("wait", "pod/first", SUCCEEDED, "--timeout=60s")
    cluster.kubectl("delete", "pod", "first")
    name = cluster.get("pvc", "data")["spec"]["volumeName"]
    folder = Path(cluster.get("pv", name)["spec"]["local"]["path"])
    assert (folder / "f").read_text() == "kept\n"
    fixed = VOLUMES.replace("claimName: data", "claimName: data, readOnly: true")
    script = "cat /d/f; echo more 2>&1 > /d/g || echo fixed"
    cluster.kubectl("apply", "-f", "-", stdin=pod("second", script, MOUNT) + fixed)
    cluster.kubectl("wait", "pod/second", SUCCEEDED, "--timeout=60s")
    lines = cluster.kubectl("logs", "second").splitlines()
    assert (lines[0], lines[-1]) == ("kept", "fixed")
    cluster.kubectl("delete", "pod", "second")
    cluster.kubectl("delete", "pvc", "data", "--timeout=60s")
    cluster.until("the volume is gone", lambda: not cluster.get("pv")["items"])
    assert not folder.exists()


def test_a_block_volume_of_the_default_class(cluster: Cluster, ns: str) -> None:
    """A device of the size that was asked for; what is on it is there for the next pod, and its file goes with the claim."""
    claim = CLAIM.replace("accessModes", "volumeMode: Block\n  accessModes").replace("1Gi", "8Mi")
    devices = "volumeDevices: [{name: d, devicePath: /dev/d}]"
    writing = "blockdev --getsize64 /dev/d; echo kept > /dev/d"
    cluster.kubectl("apply", "-f", "-", stdin=claim + "\n---\n" + pod("first", writing, devices) + VOLUMES)
    cluster.kubectl("wait", "pod/first", SUCCEEDED, "--timeout=60s")
    assert cluster.kubectl("logs", "first").split() == [str(8 << 20)]
    cluster.kubectl("delete", "pod", "first")
    file = Path(cluster.get("pv", cluster.get("pvc", "data")["spec"]["volumeName"])["spec"]["local"]["path"])
    loops = [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert (file.read_bytes()[:5], str(file) in loops) == (b"kept\n", False)
    cluster.kubectl("apply", "-f", "-", stdin=pod("second", "head -c 5 /dev/d", devices) + VOLUMES)
    cluster.kubectl("wait", "pod/second", SUCCEEDED, "--timeout=60s")
    assert cluster.kubectl("logs", "second") == "kept\n"
    cluster.kubectl("delete", "pod", "second")
    cluster.kubectl("delete", "pvc", "data", "--timeout=60s")
    cluster.until("the volume is gone", lambda: not cluster.get("pv")["items"])
    assert not file.exists()
