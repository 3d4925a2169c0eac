"""Resizing running pods: cgroup values, restarts where the policy asks for one, wishes that must wait, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.conftest import IDLE, Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

RUNNING = "--for=jsonpath={.status.phase}=Running"


def resources(cpu: str, memory: str, limits: tuple[str, str] | None = None) -> dict[str, Any]:
    found = {"requests": {"cpu": cpu, "memory": memory}}
    return {**found, "limits": dict(zip(("cpu", "memory"), limits, strict=True))} if limits else found


def start(cluster: Cluster, name: str, script: str, *containers: dict[str, Any]) -> None:
    manifest = yaml.safe_load(pod(name, script))
    (base,) = manifest["spec"]["containers"]
    manifest["spec"]["containers"] = [{**base, "name": f"c{n}", **each} for n, each in enumerate(containers)]
    manifest["spec"]["restartPolicy"] = "Always"
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")


def resize(cluster: Cluster, name: str, **wanted: dict[str, Any]) -> None:
    patch = {"spec": {"containers": [{"name": n, "resources": r} for n, r in wanted.items()]}}
    cluster.kubectl("patch", "pod", name, "--subresource=resize", "-p", json.dumps(patch))


def statuses(cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
    return {status["name"]: status for status in cluster.get("pod", name)["status"]["containerStatuses"]}


def has(cluster: Cluster, name: str, **wanted: dict[str, Any]) -> None:
    """Waits until the containers run with these resources."""
    found = cluster.until(
        f"{name} runs with {wanted}",
        lambda: (
            all(statuses(cluster, name)[n]["resources"] == r for n, r in wanted.items()) and statuses(cluster, name)
        ),
    )
    for n, r in wanted.items():
        assert found[n]["allocatedResources"] == r["requests"]
        assert cgroup(found[n]) == expected(r)


def cgroup(status: dict[str, Any]) -> dict[str, int]:
    """What the kernel has: quota (0: none) for 100 ms, and bytes of memory (0: no limit)."""
    container, root = status["containerID"].rpartition("/")[2], Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (folder,) = root.glob(f"**/{container}")
        quota, memory = (folder / "cpu.max").read_text().split()[0], (folder / "memory.max").read_text().strip()
        return {"quota": 0 if quota == "max" else int(quota), "memory": 0 if memory == "max" else int(memory)}
    (cpu,), (memory_folder,) = root.glob(f"cpu/**/{container}"), root.glob(f"memory/**/{container}")
    limit = int((memory_folder / "memory.limit_in_bytes").read_text())
    return {
        "quota": max(int((cpu / "cpu.cfs_quota_us").read_text()), 0),
        "memory": limit if limit < 1 << 60 else 0,
    }


def expected(wanted: dict[str, Any]) -> dict[str, int]:
    limits = wanted.get("limits", {})
    cpu, memory = limits.get("cpu", "0m"), limits.get("memory", "0Mi")
    return {"quota": int(cpu.removesuffix("m")) * 100, "memory": int(memory.removesuffix("Mi")) << 20}


def conditions(cluster: Cluster, name: str) -> dict[str, tuple[str, str]]:
    found = cluster.get("pod", name)["status"]["conditions"]
    return {c["type"]: (c.get("reason", ""), c.get("message", "")) for c in found if "Resize" in c["type"]}


def test_containers_are_resized_where_they_run(cluster: Cluster, ns: str) -> None:
    """Up and down, one and several, limits added; nothing restarts."""
    small, large = resources("10m", "20Mi", ("50m", "40Mi")), resources("20m", "30Mi", ("80m", "60Mi"))
    start(
        cluster,
        "p",
        IDLE,
        {"resources": small},
        {"resources": small},
        {"resources": resources("5m", "10Mi")},
    )
    has(cluster, "p", c0=small, c1=small, c2=resources("5m", "10Mi"))
    resize(cluster, "p", c0=large, c2=resources("5m", "10Mi", ("30m", "20Mi")))
    has(cluster, "p", c0=large, c1=small, c2=resources("5m", "10Mi", ("30m", "20Mi")))
    resize(cluster, "p", c0=small, c1=large)
    has(cluster, "p", c0=small, c1=large)
    cluster.until("the resize is over", lambda: not conditions(cluster, "p"))
    assert [status["restartCount"] for status in statuses(cluster, "p").values()] == [0, 0, 0]
    found = cluster.get("pod", "p")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 3
    told = cluster.kubectl("events", "--for", "pod/p")
    assert "Pod resize started: " in told
    assert "Pod resize completed: " in told


def test_a_restart_where_the_policy_asks_for_one(cluster: Cluster, ns: str) -> None:
    """For memory here; a change of the CPU alone does without."""
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    first = resources("10m", "20Mi", ("50m", "40Mi"))
    start(cluster, "p", IDLE, {"resources": first, "resizePolicy": policy})
    only_cpu = resources("10m", "20Mi", ("90m", "40Mi"))
    resize(cluster, "p", c0=only_cpu)
    has(cluster, "p", c0=only_cpu)
    assert statuses(cluster, "p")["c0"]["restartCount"] == 0
    both = resources("10m", "30Mi", ("90m", "60Mi"))
    resize(cluster, "p", c0=both)
    cluster.until("it has restarted", lambda: statuses(cluster, "p")["c0"]["restartCount"] == 1)
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    has(cluster, "p", c0=both)
    assert "Container c0 resize requires restart" in cluster.kubectl("events", "--for", "pod/p")


def test_what_cannot_be_had_now(cluster: Cluster, ns: str) -> None:
    """What others have waits until they leave; less memory than is used fails until it is taken back."""
    capacity = int(cluster.get("nodes")["items"][0]["status"]["allocatable"]["cpu"]) * 1000
    first = resources("10m", "20Mi", ("50m", "200Mi"))
    wanted = capacity // 2 + 100
    large = resources(f"{wanted}m", "20Mi", (f"{capacity - 100}m", "200Mi"))
    script = f"head -c 40000000 /dev/zero > /dev/shm/x; {IDLE}"
    start(cluster, "p", script, {"resources": first})
    start(cluster, "other", IDLE, {"resources": {"requests": {"cpu": f"{capacity // 2}m"}}})
    resize(cluster, "p", c0=large)
    why = cluster.until("it is deferred", lambda: conditions(cluster, "p").get("PodResizePending"))
    assert why[0] == "Deferred"
    assert why[1].startswith(f"Node didn't have enough resource: cpu, requested: {wanted}, used: ")
    assert statuses(cluster, "p")["c0"]["resources"] == first
    assert statuses(cluster, "p")["c0"]["allocatedResources"] == first["requests"]
    cluster.kubectl("delete", "pod", "other", "--timeout=60s")
    has(cluster, "p", c0=large)
    resize(cluster, "p", c0=resources("10m", "5Mi", ("50m", "10Mi")))
    why = cluster.until(
        "it fails", lambda: (found := conditions(cluster, "p").get("PodResizeInProgress", [""]))[0] and found
    )
    assert why[0] == "Error"
    assert why[1].startswith("attempting to set pod memory limit (10485760) below current usage (")
    resize(cluster, "p", c0=first)
    cluster.until("all is well again", lambda: not conditions(cluster, "p"))
    has(cluster, "p", c0=first)
    assert statuses(cluster, "p")["c0"]["restartCount"] == 0


def same(cpu: str, memory: str) -> dict[str, Any]:
    """Limits that are the requests."""
    return resources(cpu, memory, (cpu, memory))


def test_many_containers_at_once(cluster: Cluster, ns: str) -> None:
    """280-285: more, less, added, of Guaranteed and Burstable pods, by patch and by replacement; equal in the kernel."""
    middle, more, less = same("20m", "40Mi"), same("30m", "50Mi"), same("15m", "30Mi")
    one = {"resources": middle}
    for name in ("up", "down", "mixed", "replaced"):
        start(cluster, name, IDLE, one, one, one)
    requested = {"requests": {"cpu": "10m"}}
    start(
        cluster, "six", IDLE, {"resources": resources("10m", "20Mi", ("50m", "40Mi"))},
        {"resources": resources("20m", "30Mi", ("80m", "60Mi"))}, {"resources": resources("5m", "10Mi")},
        {}, {"resources": requested}, one,
    )  # fmt: skip
    start(cluster, "equal", IDLE, {"resources": {"requests": {"cpu": "2m"}, "limits": {"cpu": "10m"}}})
    wishes = {
        "up": {"c0": more, "c1": more, "c2": less},
        "down": {"c0": more, "c1": less, "c2": less},
        "mixed": {"c0": same("30m", "40Mi"), "c1": same("15m", "50Mi"), "c2": same("30m", "50Mi")},
        "six": {
            "c0": resources("20m", "30Mi", ("80m", "60Mi")), "c1": resources("10m", "20Mi", ("50m", "40Mi")),
            "c2": resources("5m", "10Mi", ("30m", "20Mi")), "c3": resources("10m", "20Mi", ("30m", "40Mi")),
            "c4": resources("10m", "20Mi"), "c5": middle,
        },
    }  # fmt: skip
    for name, wish in wishes.items():
        resize(cluster, name, **wish)
    equal: dict[str, Any] = {"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}
    resize(cluster, "equal", c0=equal)
    found = cluster.get("pod", "replaced")
    for each in found["spec"]["containers"]:
        each["resources"] = more
    path = f"/api/v1/namespaces/{ns}/pods/replaced/resize"
    cluster.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(found))
    for name, wish in {**wishes, "replaced": dict.fromkeys(("c0", "c1", "c2"), more)}.items():
        has(cluster, name, **wish)
        assert {status["restartCount"] for status in statuses(cluster, name).values()} == {0}
    cluster.until("the equal is told", lambda: statuses(cluster, "equal")["c0"]["resources"] == equal)
    cluster.until("the resize is over", lambda: not conditions(cluster, "equal"))
    assert statuses(cluster, "equal")["c0"]["restartCount"] == 0
