"""The OCI configuration says what the container's configuration asks for, and no more than the host grants."""

import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from sampan.node.images.model import Image, ImageConfig
from sampan.node.images.users import User
from sampan.node.runtime import apparmor, programs, spec
from sampan.node.runtime.container import signal_number
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, ContainerConfig, Mount, Resources

HOST = spec.Host(
    is_cgroup_v2=True, capabilities=frozenset(spec.CAPABILITIES) - {"SYS_RESOURCE"}, lowest_oom_score_adj=0
)
IMAGE = Image("sha256:0", config=ImageConfig(entrypoint=("/entry",), cmd=("arg",), env=(("PATH", "/bin"), ("A", "1"))))


def config(**changes: Any) -> ContainerConfig:
    return ContainerConfig("uid", "default", "web", "main", changes.pop("image", IMAGE), cgroup_parent="a/b", **changes)


def build(**changes: Any) -> dict[str, Any]:
    return spec.build(config(**changes), User(), spec.Place("id", "/merged"), HOST)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["/entry", "arg"]),
        ({"args": ("x",)}, ["/entry", "x"]),
        ({"command": ("/c",)}, ["/c"]),
        ({"command": ("/c",), "args": ("x", "y")}, ["/c", "x", "y"]),
    ],
)
def test_arguments(changes: dict[str, Any], expected: list[str]) -> None:
    """Command replaces entrypoint and cmd, args only cmd."""
    assert build(**changes)["process"]["args"] == expected


def test_environment() -> None:
    """The image's environment comes first, and the last value of a name counts."""
    tree = build(env=(("A", "2"), ("B", "3")), hostname="web")
    assert tree["process"]["env"] == ["PATH=/bin", "HOSTNAME=web", "A=2", "B=3"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"capabilities_drop": ("ALL",)}, []),
        ({"capabilities_drop": ("ALL",), "capabilities_add": ("NET_ADMIN",)}, ["CAP_NET_ADMIN"]),
        ({"capabilities_drop": ("all",), "capabilities_add": ("cap_kill", "SYS_RESOURCE")}, ["CAP_KILL"]),
    ],
)
def test_capabilities(changes: dict[str, Any], expected: list[str]) -> None:
    """Capabilities are dropped and added by name, as far as the host has them."""
    assert spec.capabilities(config(**changes), HOST) == expected


def test_privileged() -> None:
    """A privileged container gets all that the host has, and nothing is masked."""
    tree = build(privileged=True)
    assert "CAP_SYS_ADMIN" in tree["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_RESOURCE" not in tree["process"]["capabilities"]["bounding"]
    assert "maskedPaths" not in tree["linux"]
    assert tree["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_open_files() -> None:
    """As many as the agent was started with, if it has taken more for itself; else nothing is said, and they have its own."""
    assert "rlimits" not in build()["process"]
    tree = spec.build(config(), User(), spec.Place("id", "/merged"), replace(HOST, files=(1024, 4096)))
    assert tree["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]


def test_oom_score() -> None:
    """A score below what the host grants is raised to it; one above is kept."""
    assert build(oom_score_adj=-997)["process"]["oomScoreAdj"] == 0
    assert build(oom_score_adj=1000)["process"]["oomScoreAdj"] == 1000


def test_limits_and_namespaces() -> None:
    """Limits, the cgroup's path and the namespaces are as asked."""
    linux = build(netns="/run/netns/x", host_ipc=True, resources=Resources(2, 100, 200, 300, 400))["linux"]
    assert linux["cgroupsPath"] == "/a/b/id"
    assert linux["resources"]["cpu"] == {"shares": 2, "quota": 100, "period": 200}
    assert linux["resources"]["memory"] == {"limit": 300}
    assert linux["resources"]["pids"] == {"limit": 400}
    assert linux["namespaces"] == [
        {"type": "mount"},
        {"type": "pid"},
        {"type": "network", "path": "/run/netns/x"},
        {"type": "cgroup"},
    ]


@pytest.mark.parametrize("is_cgroup_v2", [False, True])
def test_limits_of_both_hierarchies(is_cgroup_v2: bool) -> None:
    """Both have the same; only on v2 do all of a container's processes go when memory is short, and is there a cgroup namespace."""
    host = replace(HOST, is_cgroup_v2=is_cgroup_v2, huge_pages=("2MB", "1GB"))
    limits = Resources(2, 100, 200, 300, 400, (("2MB", 4096),))
    linux = spec.build(config(resources=limits), User(), spec.Place("id", "/merged"), host)["linux"]
    found = linux["resources"]
    assert found["pids"] == {"limit": 400}
    assert found["memory"] == {"limit": 300}
    assert found["cpu"] == {"shares": 2, "quota": 100, "period": 200}
    assert found["hugepageLimits"] == [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": 0}]
    assert found.get("unified") == ({"memory.oom.group": "1"} if is_cgroup_v2 else None)
    assert ({"type": "cgroup"} in linux["namespaces"]) == is_cgroup_v2


def test_without_cgroups() -> None:
    """Where none may be made, nothing is asked of them."""
    limited = config(resources=Resources(memory_limit=1 << 20, cpu_quota=1000, pids_limit=5))
    tree = spec.build(limited, User(), spec.Place("id", "/merged"), replace(HOST, has_cgroups=False))
    assert not {"cgroupsPath", "resources"} & tree["linux"].keys()
    assert all(mount["type"] != "cgroup" for mount in tree["mounts"])
    assert "cgroupsPath" in build()["linux"] and "/sys/fs/cgroup" in [m["destination"] for m in build()["mounts"]]


def test_what_a_pod_shares() -> None:
    """Namespaces by path, the mapping of the users' ids, one /dev/shm; nothing of /proc is hidden if that was asked for."""
    place = spec.Place("id", "/merged", "/p/pid", "/p/ipc", None, "/p/user", 65536, "/p/shm")
    tree = spec.build(config(unmasked_proc=True), User(), place, HOST)
    linux = tree["linux"]
    for kind in ("pid", "ipc", "user"):
        assert {"type": kind, "path": f"/p/{kind}"} in linux["namespaces"]
    maps = [{"containerID": 0, "hostID": 65536, "size": 65536}]
    assert linux["uidMappings"] == linux["gidMappings"] == maps
    (shm,) = [mount for mount in tree["mounts"] if mount["destination"] == "/dev/shm"]
    assert (shm["type"], shm["source"]) == ("bind", "/p/shm")
    assert not {"maskedPaths", "readonlyPaths"} & linux.keys()
    assert {"maskedPaths", "readonlyPaths"} < build()["linux"].keys()


def test_mounts() -> None:
    """The pod's mounts follow the default ones, outer before inner, and replace those of the same place."""
    own = (Mount("/h/2", "/data/inner/x"), Mount("/h/1", "/data", read_only=True), Mount("", "/dev/shm", kind="tmpfs"))
    targets = [mount["destination"] for mount in build(mounts=own)["mounts"]]
    assert targets[-3:] == ["/data", "/dev/shm", "/data/inner/x"]
    assert len(targets) == len(set(targets))


@pytest.mark.parametrize(
    "changes",
    [
        {"cwd": "x"},
        {"mounts": (Mount("/h", "relative"),)},
        {"mounts": (Mount("/h", "/"),)},
        {"mounts": (Mount("/h", "/a/../.."),)},
        {"command": ("a\0b",)},
        {"env": (("A", "\0"),)},
        {"capabilities_add": ("NOPE",)},
        {"image": Image("sha256:1")},
    ],
)
def test_impossible(changes: dict[str, Any]) -> None:
    """What no container can be is refused."""
    with pytest.raises(spec.SpecError):
        build(**changes)


def test_seccomp() -> None:
    """The default profile refuses what a capability would allow, and only then."""
    refused = build(seccomp="RuntimeDefault")["linux"]["seccomp"]["syscalls"][0]["names"]
    assert {"mount", "bpf", "kexec_load", "keyctl"} <= set(refused)
    allowed = build(seccomp="RuntimeDefault", capabilities_add=("SYS_ADMIN",))["linux"]["seccomp"]["syscalls"]
    assert "mount" not in allowed[0]["names"]
    assert len(allowed) == 1
    assert "seccomp" not in build()["linux"]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (
            b'{"level":"warning","msg":"x"}\n{"level":"error","msg":"runc create failed: a \\"b\\""}\n',
            'runc create failed: a "b"',
        ),
        (b'time="t" level=error msg="exec \\"b\\": no"\n', 'exec "b": no'),
        (b"plain\n", "plain"),
    ],
)
def test_error_text(output: bytes, text: str) -> None:
    """The message is found in runc's output, whatever its form."""
    assert programs.error_text(output) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("SIGNOPE", 15), ("0", 15), ("99999", 15)],
)
def test_signals(text: str, number: int) -> None:
    """Signals are read as Docker reads them."""
    assert signal_number(text) == number


@pytest.mark.parametrize(
    ("asked", "privileged", "loaded", "expected"),
    [
        ("", False, "own", "own"),
        ("", True, "own", ""),
        ("", False, "", ""),
        (APPARMOR_DEFAULT, False, "own", "own"),
        (APPARMOR_DEFAULT, True, "own", "own"),
        ("unconfined", False, "own", "unconfined"),
        ("mine", False, "", "mine"),
    ],
)
def test_apparmor(asked: str, privileged: bool, loaded: str, expected: str) -> None:
    """The host's own profile is for containers that name none, and for those that ask for it."""
    wanted = config(apparmor=asked, privileged=privileged)
    tree = spec.build(wanted, User(), spec.Place("id", "/merged"), replace(HOST, apparmor=loaded))
    assert tree["process"].get("apparmorProfile", "") == expected


def test_apparmor_that_cannot_be_had() -> None:
    """Who asks for the default by name is not run without it."""
    with pytest.raises(spec.SpecError, match="apparmor_parser"):
        build(apparmor=APPARMOR_DEFAULT)


@pytest.mark.skipif(not shutil.which("apparmor_parser"), reason="needs apparmor_parser")
def test_the_profile_is_one() -> None:
    """The parser takes it."""
    command = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--quiet"]
    subprocess.run(command, input=apparmor.PROFILE.encode(), check=True)
