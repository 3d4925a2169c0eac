"""What a container is asked of a CRI runtime says what its configuration does, and comes back with its state."""

from typing import Any

import pytest

from sampan.node.images.model import Image, ImageConfig
from sampan.node.runtime import spec
from sampan.node.runtime.cri import api, link, requests
from sampan.node.runtime.protocol import ContainerConfig, Device, Mount, Resources, RuntimeFailure, RuntimeUnusable

HOST = spec.Host(is_cgroup_v2=True, capabilities=frozenset(spec.CAPABILITIES), lowest_oom_score_adj=100)
IMAGE = Image("sha256:0", ("docker.io/library/web:1",), ("docker.io/library/web@sha256:1",))


def config(**changes: Any) -> ContainerConfig:
    defaults: dict[str, Any] = {"cgroup_parent": "a/b/podx", "log_path": "/logs/main/2.log", "image": IMAGE}
    return ContainerConfig("uid", "default", "web", "main", attempt=2, **(defaults | changes))


def security(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = requests.container(config(**changes), "/node", HOST)["linux"]["security_context"]
    return found


def wired(message: str, tree: dict[str, Any]) -> dict[str, Any]:
    """As the other side reads it."""
    return api.MESSAGES[message].read(api.MESSAGES[message].write(tree))


def test_a_container() -> None:
    """Command, variables, mounts, devices, limits; the least score for the out-of-memory killer is the machine's."""
    asked = config(
        command=("c",),
        args=("d",),
        env=(("A", "1"),),
        mounts=(Mount("/host", "/there", read_only=True, propagation="rslave"),),
        devices=(Device("/dev/kvm", "/dev/v", "r"),),
        resources=Resources(cpu_shares=1, cpu_quota=5000, memory_limit=64, huge_pages=(("2MB", 1024),)),
        oom_score_adj=-997,
        tty=True,
    )
    found = wired("ContainerConfig", requests.container(asked, "/node", HOST))
    assert found["metadata"] == {"name": "main", "attempt": 2}
    assert (found["image"]["image"], found["command"], found["args"]) == ("sha256:0", ["c"], ["d"])
    assert (found["envs"], found["log_path"], found["tty"]) == ([{"key": "A", "value": "1"}], "2.log", True)
    (mount,) = found["mounts"]
    assert (mount["host_path"], mount["container_path"], mount["readonly"]) == ("/host", "/there", True)
    assert mount["propagation"] == api.TO_CONTAINER
    assert found["devices"] == [{"container_path": "/dev/v", "host_path": "/dev/kvm", "permissions": "r"}]
    limits = found["linux"]["resources"]
    assert (limits["cpu_shares"], limits["cpu_quota"], limits["memory_limit_in_bytes"]) == (2, 5000, 64)
    assert limits["hugepage_limits"] == [{"page_size": "2MB", "limit": 1024}]
    assert limits["oom_score_adj"] == 100
    assert requests.changed_resources(Resources()) == {
        "cpu_quota": -1, "cpu_period": 100_000, "memory_limit_in_bytes": -1, "cpu_shares": 2
    }  # fmt: skip


def test_what_is_hidden() -> None:
    """An ordinary container sees less of /proc than one that is privileged, or asks to see it."""
    assert security()["masked_paths"] == spec.MASKED_PATHS
    assert "masked_paths" not in security(privileged=True)
    assert "masked_paths" not in security(unmasked_proc=True)


@pytest.mark.parametrize(
    ("changes", "network", "pid", "ipc"),
    [
        ({"netns": "/run/x"}, api.POD, api.CONTAINER, api.POD),
        ({"host_pid": True, "host_ipc": True}, api.NODE, api.NODE, api.NODE),
        ({"netns": "/run/x", "shares_processes": True}, api.POD, api.POD, api.POD),
        ({"netns": "/run/x", "pid_of": "other"}, api.POD, api.TARGET, api.POD),
    ],
)
def test_namespaces(changes: dict[str, Any], network: int, pid: int, ipc: int) -> None:
    """The pod's, the container's own, the host's, or another container's."""
    found = wired("NamespaceOption", security(**changes)["namespace_options"])
    assert (found["network"], found["pid"], found["ipc"]) == (network, pid, ipc)


@pytest.mark.parametrize(
    ("changes", "of_image", "expected"),
    [
        ({}, "web:web", {}),
        ({"user": 5}, "web", {"run_as_user": {"value": 5}}),
        ({"group": 7}, "web:web", {"run_as_username": "web", "run_as_group": {"value": 7}}),
        ({"group": 7}, "33", {"run_as_user": {"value": 33}, "run_as_group": {"value": 7}}),
        ({"group": 7}, "", {"run_as_user": {"value": 0}, "run_as_group": {"value": 7}}),
        ({"run_as_non_root": True, "user": 5}, "", {"run_as_user": {"value": 5}}),
        ({"run_as_non_root": True}, "33", {}),
        ({"run_as_non_root": True}, "", "image will run as root"),
        ({"run_as_non_root": True}, "web", "non-numeric user (web)"),
        ({"run_as_non_root": True, "user": 0}, "33", "breaks non-root policy"),
    ],
)
def test_users(changes: dict[str, Any], of_image: str, expected: Any) -> None:
    """The pod's user, or the image's; and root where nobody may be root is refused."""
    changes["image"] = Image("sha256:0", config=ImageConfig(user=of_image))
    try:
        found = security(**changes)
    except RuntimeFailure as failure:
        assert failure.reason == "CreateContainerConfigError"
        assert expected in failure.message
    else:
        assert {key: value for key, value in found.items() if key.startswith("run_as")} == expected


def test_a_sandbox() -> None:
    """It has the pod's cgroup, sysctls and log folder; in the host's network it has no name of its own."""
    asked = config(netns="/run/x", hostname="web", sysctls=(("kernel.x", "1"),), pod_privileged=True)
    found = wired("SandboxConfig", requests.sandbox(asked, "/node", 3))
    assert found["metadata"] == {"name": "web", "uid": "uid", "namespace": "default", "attempt": 3}
    assert (found["hostname"], found["log_directory"]) == ("web", "/logs/main")
    assert (found["linux"]["cgroup_parent"], found["linux"]["sysctls"]) == ("/a/b/podx", {"kernel.x": "1"})
    assert found["linux"]["security_context"]["privileged"]
    assert requests.sandbox(config(hostname="node"), "/node", 0)["hostname"] == ""


def test_the_way_back() -> None:
    """State, times and reason are the runtime's; names, log and labels are what this node left with the container."""
    asked = requests.container(config(labels=(("k", "v"),)), "/node", HOST)
    told = {"id": "c1", "metadata": asked["metadata"], "labels": asked["labels"], "annotations": asked["annotations"]}
    told |= {"state": api.EXITED, "created_at": 1_500_000_000, "started_at": 2_000_000_000, "exit_code": 137}
    told |= {"finished_at": 3_000_000_000, "reason": "OOMKilled"}
    found = requests.state(wired("ContainerStatus", told))
    assert (found.pod_uid, found.pod_namespace, found.pod_name, found.name) == ("uid", "default", "web", "main")
    assert (found.attempt, found.state, found.exit_code, found.oom_killed) == (2, "exited", 137, True)
    assert (found.created_at, found.started_at, found.finished_at) == (1.5, 2.0, 3.0)
    assert (found.image_ref, found.image_id) == ("docker.io/library/web:1", "docker.io/library/web@sha256:1")
    assert (found.log_path, found.labels) == ("/logs/main/2.log", (("k", "v"),))
    failed = requests.state(wired("ContainerStatus", told | {"reason": "StartError"}))
    assert failed.started_at == 0.0


@pytest.mark.parametrize(
    ("name", "version", "settings", "words"),
    [
        ("containerd", "1.6.20~ds1", {}, ""),
        ("cri-o", "1.2.3", {}, ""),
        ("containerd", "1.5.9", {}, "is older than 1.6: install a newer one"),
        (
            "containerd",
            "2.1.0",
            {"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": True}}}}},
            "set SystemdCgroup = false",
        ),
    ],
)
def test_which_runtime_will_do(name: str, version: str, settings: dict[str, Any], words: str) -> None:
    """One that is too old, or has cgroups that aren't ours to name, is refused with the mend."""
    facts = link.Facts(name, version, True, settings, {}, {})
    if not words:
        link._check(facts, "unix:///x")
        return
    with pytest.raises(RuntimeUnusable, match=words):
        link._check(facts, "unix:///x")
