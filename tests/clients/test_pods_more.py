"""What a pod's spec can ask of a real node beyond the everyday: confinement, limits of the whole, restart rules."""

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Cluster, needs_root
from tests.clients.test_pods import PHASE, Tree, apply, container, ended, pod, wait

pytestmark = [needs_root, pytest.mark.root]

CREATE_ERROR = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerError"


def waiting(status: Tree) -> str:
    """Why the first container does not start."""
    return str(status["containerStatuses"][0]["state"]["waiting"]["message"])


def cgroup(cluster: Cluster, name: str) -> tuple[int, int]:
    """The CPU quota and the bytes of memory of the pod's own cgroup; 0 for none."""
    folder, root = f"pod{cluster.get('pod', name)['metadata']['uid']}", Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (path,) = root.glob(f"**/{folder}")
        words = [(path / file).read_text().split()[0] for file in ("cpu.max", "memory.max")]
        quota, memory = (0 if word == "max" else int(word) for word in words)
        return quota, memory
    (cpu,), (place,) = root.glob(f"cpu/**/{folder}"), root.glob(f"memory/**/{folder}")
    quota, memory = int((cpu / "cpu.cfs_quota_us").read_text()), int((place / "memory.limit_in_bytes").read_text())
    return max(quota, 0), memory if memory < 1 << 60 else 0


def has_limits(cluster: Cluster, name: str, wanted: tuple[int, int]) -> bool:
    return cgroup(cluster, name) == wanted


def limits(cpu: str, memory: str) -> Tree:
    return {"resources": {"limits": {"cpu": cpu, "memory": memory}}}


def test_mounts_that_are_read_only_with_all_below(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """What is mounted below a read-only mount can be written to, unless the pod says otherwise; its status tells."""
    inner = tmp_path / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inner)], check=True)
    try:
        volumes = [{"name": "h", "hostPath": {"path": str(tmp_path)}}]
        mount: dict[str, Any] = {"name": "h", "mountPath": "/h", "readOnly": True}
        for name, more in (("plain", {}), ("asks", {"recursiveReadOnly": "IfPossible"})):
            one = container("touch /h/inner/new", volumeMounts=[{**mount, **more}])
            apply(cluster, pod(name, one, volumes=volumes))
        must = container("touch /h/inner/new", volumeMounts=[{**mount, "recursiveReadOnly": "Enabled"}])
        apply(cluster, pod("must", must, volumes=volumes))
        found = {"plain": wait(cluster, "plain", PHASE + "Succeeded")}
        found |= {name: wait(cluster, name, PHASE + "Failed") for name in ("asks", "must")}
    finally:
        subprocess.run(["umount", "-l", str(inner)], check=True)
    modes = {name: status["containerStatuses"][0]["volumeMounts"][0] for name, status in found.items()}
    assert {name: mode["recursiveReadOnly"] for name, mode in modes.items()} == {
        "plain": "Disabled",
        "asks": "Enabled",
        "must": "Enabled",
    }


def test_profiles_of_the_node(cluster: Cluster, ns: str) -> None:
    """A seccomp profile below the node's directory is obeyed, also one that comes late."""

    def confined(file: str) -> Tree:
        return {"seccompProfile": {"type": "Localhost", "localhostProfile": file}}

    (node,) = cluster.directory.glob("node-*")
    (node / "seccomp/mine").mkdir(parents=True)
    refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]})
    (node / "seccomp/mine/no-mkdir.json").write_text(profile)
    (node / "seccomp/mine/broken.json").write_text("{")
    script = "mkdir /tmp/x 2>/dev/termination-log"
    apply(
        cluster,
        pod("obeys", container(script, securityContext=confined("mine/no-mkdir.json"))),
        pod("whole", container(script), securityContext=confined("mine/no-mkdir.json")),
        pod("broken", container(script, securityContext=confined("mine/broken.json"))),
        pod("late", container(script, securityContext=confined("late.json"))),
    )
    for name in ("obeys", "whole"):
        assert "Permission denied" in ended(wait(cluster, name, PHASE + "Failed"))["message"]
    assert "decoding seccomp profile failed" in waiting(wait(cluster, "broken", CREATE_ERROR))
    assert f"open {node}/seccomp/late.json: no such file or directory" in waiting(wait(cluster, "late", CREATE_ERROR))
    (node / "seccomp/late.json").write_text(profile)
    assert "Permission denied" in ended(wait(cluster, "late", PHASE + "Failed"))["message"]


def test_limits_of_a_whole_pod(cluster: Cluster, ns: str) -> None:
    """The pod's own limits hold for all its containers together; else their sum, where each has one; a resize moves it."""
    shared = {"resources": {"limits": {"cpu": "1", "memory": "48Mi"}, "requests": {"cpu": "100m", "memory": "48Mi"}}}
    apply(
        cluster,
        pod("own", container(), container("head -c 30000000 /dev/zero | tail", "two"), **shared),
        pod(
            "over",
            container("head -c 40000000 /dev/zero | tail; sleep 1000", "one"),
            container("tail /dev/zero"),
            **shared,
        ),
        pod("sum", container(**limits("100m", "32Mi")), container(name="two", **limits("150m", "16Mi"))),
        pod("open", container(**limits("200m", "32Mi")), container(name="two")),
    )
    for name in ("sum", "open"):
        wait(cluster, name, "--for=condition=Ready")
    wait(cluster, "own", "--for=jsonpath={.status.containerStatuses[1].state.terminated.reason}=Completed")
    assert cgroup(cluster, "own") == (100_000, 48 << 20)
    assert cgroup(cluster, "sum") == (25_000, 48 << 20)
    assert cgroup(cluster, "open") == (0, 0)
    wait(
        cluster,
        "over",
        "--for=jsonpath={.status.containerStatuses[?(@.name=='main')].state.terminated.reason}=OOMKilled",
    )
    for cpu, total in (("250m", 40_000), ("50m", 20_000)):  # a node of one CPU has the room for it
        patch = {
            "spec": {"containers": [{"name": "main", "resources": {n: {"cpu": cpu} for n in ("limits", "requests")}}]}
        }
        cluster.kubectl("patch", "pod", "sum", "--subresource=resize", "-p", json.dumps(patch))
        cluster.until(f"a quota of {total}", partial(has_limits, cluster, "sum", (total, 48 << 20)))


def test_restart_rules(cluster: Cluster, ns: str) -> None:
    """A container's own policy and its rules decide by exit code, whatever the pod's policy is."""
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    script = "test -f /e/{0} && exit {1}; touch /e/{0}; exit 42"
    own: dict[str, Any] = {"volumeMounts": [{"name": "e", "mountPath": "/e"}]}
    one = container(script.format("a", 7), restartPolicy="Never", restartPolicyRules=rules, **own)
    two = container("exit 9", "two", restartPolicy="Never")
    apply(cluster, pod("rules", one, two, container("exit 0", "three"), volumes=[{"name": "e", "emptyDir": {}}]))
    status = wait(cluster, "rules", PHASE + "Failed")
    assert [(c["restartCount"], ended(status, n)["exitCode"]) for n, c in enumerate(status["containerStatuses"])] == [
        (1, 7),
        (0, 9),
        (0, 0),
    ]


def test_a_whole_pod_begins_anew(cluster: Cluster, ns: str) -> None:
    """An exit code has init containers and all others run again, in the same pod with its address and volumes."""
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    own: dict[str, Any] = {"volumeMounts": [{"name": "e", "mountPath": "/e"}]}
    first = container("echo init >> /e/log", "first", **own)
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /e/log"]}}}
    other = container("echo other >> /e/log; trap '' TERM; while :; do sleep 0.1; done", "other", lifecycle=hook, **own)
    script = "while ! grep -q other /e/log; do sleep 0.1; done; test -f /e/again && sleep 1000; touch /e/again; sleep 1; exit 88"
    watcher = container(script, "watcher", restartPolicy="Never", restartPolicyRules=rules, **own)
    more = {"terminationGracePeriodSeconds": 30, "volumes": [{"name": "e", "emptyDir": {}}]}
    apply(cluster, pod("anew", other, watcher, initContainers=[first], **more))
    before = wait(cluster, "anew", "--for=condition=Ready")
    wait(cluster, "anew", "--for=jsonpath={.status.containerStatuses[?(@.name=='watcher')].restartCount}=1")
    after = wait(cluster, "anew", "--for=condition=Ready")
    assert after["podIP"] == before["podIP"]
    assert cluster.kubectl("exec", "anew", "-c", "other", "--", "cat", "/e/log") == "init\nother\ninit\nother\n"
    found = [*after["initContainerStatuses"], *after["containerStatuses"]]
    assert [(c["name"], c["restartCount"]) for c in found] == [("first", 1), ("other", 1), ("watcher", 1)]
    assert {c["lastState"]["terminated"]["reason"] for c in found} == {"RestartingAllContainers"}
    conditions = {c["type"]: c["status"] for c in after["conditions"]}
    assert conditions["AllContainersRestarting"] == "False"
    cluster.kubectl("delete", "pod", "anew", "--grace-period=1")
