"""Real containers share what their pod shares, have users of their own, and run under the runtime that is named."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtime import host, id_ranges
from sampan.node.runtime.protocol import Mount, RuntimeFailure, Sandbox
from tests.kernel import HAS_CPUSETS, needs_users
from tests.node.runtime.conftest import until

pytestmark = [pytest.mark.root, pytest.mark.slow]


def needs(program: str) -> pytest.MarkDecorator:
    path = shutil.which(program)
    runs = path is not None and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0
    return pytest.mark.skipif(not runs, reason=f"needs {program}")


async def test_a_process_namespace_for_the_whole_pod(world: Any) -> None:
    """One is the other's process; orphans are cleared away; it outlives each container, and the agent; not the pod."""
    script = "(sh -c 'sleep 0.1 & echo $! > /dev/shm/orphan' &); while :; do sleep 0.05; done"
    shared = {"shares_processes": True, "shares_ipc": True}
    first = await world.runtime.start(world.config(script, name="first", **shared))
    look = "until test -s /dev/shm/orphan; do sleep 0.05; done; O=$(cat /dev/shm/orphan);"
    look += " while test -e /proc/$O; do sleep 0.05; done; cat /proc/1/cmdline; echo; busybox ps; busybox kill -TERM 1 2>&1; true"
    config = world.config(look, name="second", capabilities_add=("SYS_PTRACE",), **shared)
    assert (await world.ended(config)).exit_code == 0
    said = "\n".join(world.log("second"))
    assert "/pause" in said.splitlines()[0]
    assert "while :; do sleep 0.05" in said
    await world.crash()
    again = await world.agent()
    assert again.pods() == {"uid-1"}
    assert (await world.ended(world.config("cat /proc/1/cmdline", name="third", **shared))).exit_code == 0
    assert "/pause" in world.log("third")[0]
    await again.stop(first.id, "", 0.0)
    await until(lambda: host.processes(f"{world.parent}/burstable/poduid-1/{first.id}") == [])
    await again.release("uid-1")
    assert again.pods() == set()
    assert not any("pause-uid-1" in str(path) for path in world.cgroups("burstable/poduid-1"))


async def test_ipc_is_the_pods(world: Any) -> None:
    """Semaphores and /dev/shm are common to those that share, and to no others."""
    show = "readlink /proc/self/ns/ipc; echo x >> /dev/shm/seen; busybox wc -l < /dev/shm/seen"
    for name, shares in (("a", True), ("b", True), ("c", False)):
        await world.ended(world.config(show, name=name, shares_ipc=shares))
    a, b, c = (world.log(name) for name in "abc")
    assert a[0] == b[0] != c[0]
    assert [each[1].split()[-1] for each in (a, b, c)] == ["1", "2", "1"]


@needs_users
async def test_users_of_its_own(world: Any) -> None:
    """Root in the pod is nobody on the host; its image and volumes are as if they were root's, on disk too."""
    data = world.folder / "data"
    data.mkdir()
    (data / "given").write_text("kept\n")
    netns = await world.runtime.prepare(Sandbox("uid-1", own_users=True))
    assert await world.runtime.prepare(Sandbox("uid-1", own_users=True)) == netns
    mounts = (Mount(str(data), "/data"), Mount(str(data / "given"), "/one", read_only=True))
    script = (
        "id -u; cat /proc/self/uid_map; cat /data/given /one; echo new > /data/new; echo x > /etc/own;"
        " busybox stat -c %u:%g /bin/busybox /data/given /dev/shm; echo mine > /dev/shm/x; echo x > /proc/sys/kernel/core_pattern;"
        " busybox mount -t tmpfs none /etc && echo mounted; echo y > /one"
    )
    wanted = {"own_users": True, "netns": netns, "mounts": mounts, "capabilities_add": ("SYS_ADMIN",)}
    running = await world.runtime.start(world.config(f"{script}; sleep 100", unmasked_proc=True, **wanted))
    await until(lambda: any("/one" in line for line in world.log()))
    said = [line.partition(" F ")[2] for line in world.log()]
    first = int(said[1].split()[1])
    assert (said[0], said[1].split()) == ("0", ["0", str(first), "65536"])
    assert first % id_ranges.LENGTH == 0
    assert first >= id_ranges.FIRST * id_ranges.LENGTH
    assert said[2:7] == ["kept", "kept", "0:0", "0:0", "0:0"]
    assert "mounted" in said
    assert "/core_pattern: Permission denied" in "\n".join(world.log())
    assert "/one: Read-only file system" in "\n".join(world.log())
    assert os.stat(f"/proc/{running.pid}").st_uid == first
    assert (os.stat(data / "new").st_uid, os.stat(data / "new").st_gid) == (0, 0)
    assert os.stat(world.folder / "node/c" / running.id / "upper/etc/own").st_uid == first
    code, output = await world.runtime.exec_sync(running.id, ("id", "-u"), 60)
    assert (code, output.splitlines()[0]) == (0, b"0")

    other = await world.runtime.prepare(Sandbox("uid-2", own_users=True))
    config = world.config("cat /proc/self/uid_map", name="other", **{**wanted, "netns": other, "mounts": ()})
    await world.ended(replace(config, pod_uid="uid-2"))
    assert str(first) not in world.log("other")[0].split()
    await world.crash()
    await world.agent()
    assert world.runtime.pods() == {"uid-1", "uid-2"}
    assert await world.runtime.prepare(Sandbox("uid-1", own_users=True)) == netns
    await world.ended(world.config("cat /proc/self/uid_map", name="later", **wanted))
    assert str(first) in world.log("later")[0].split()
    for state in await world.runtime.containers():
        await world.runtime.remove(state.id)
    for uid in ("uid-1", "uid-2"):
        await world.runtime.release(uid)
    assert os.listdir(f"{world.run_root}/ids") == []


@needs_users
async def test_users_of_its_own_with_common_processes(world: Any) -> None:
    """The first process of the pod is one of its users, too."""
    netns = await world.runtime.prepare(Sandbox("uid-1", own_users=True))
    wanted = {"own_users": True, "netns": netns, "shares_processes": True, "tty": True}
    assert (await world.ended(world.config("cat /proc/1/cmdline; cat /proc/1/uid_map", **wanted))).exit_code == 0
    assert "/pause" in world.log()[0]


@needs_users
async def test_what_can_not_have_other_owners(world: Any) -> None:
    """A volume on a file system that can't be mapped is named."""
    netns = await world.runtime.prepare(Sandbox("uid-1", own_users=True))
    config = world.config("true", own_users=True, netns=netns, mounts=(Mount("/proc/sys", "/data"),))
    with pytest.raises(RuntimeFailure, match="failed to set MOUNT_ATTR_IDMAP on /proc/sys: invalid argument"):
        await world.runtime.start(config)


async def test_a_handler_that_is_not_there(world: Any) -> None:
    """It is refused by name, before anything is made."""
    with pytest.raises(RuntimeFailure, match='no runtime for "odd" is configured') as caught:
        await world.runtime.prepare(Sandbox("uid-1", "odd"))
    assert caught.value.reason == "FailedCreatePodSandBox"
    with pytest.raises(RuntimeFailure, match='no runtime for "odd" is configured'):
        await world.runtime.start(world.config("true", handler="odd"))


async def test_a_runtime_of_the_nodes(world: Any) -> None:
    """A file names further ones, with arguments."""
    file = world.folder / "runtimes.yaml"
    runc = shutil.which("runc")
    file.write_text(json.dumps({"handlers": {"mine": {"path": runc, "arguments": ["--debug"]}}}))
    world.settings = replace(world.settings, variants=("/nowhere", str(file)))
    await world.crash()
    await world.agent()
    assert "mine" in world.runtime.handlers
    assert (await world.ended(world.config("exit 3", handler="mine"))).exit_code == 3


@needs("runsc")
@pytest.mark.skipif(not HAS_CPUSETS, reason="gVisor needs the cpuset controller")
async def test_another_kernel(world: Any) -> None:
    """A container under gVisor; what is asked of it goes on as with any other, also after the agent's restart."""
    script = "busybox uname -r; busybox dmesg; trap 'echo asked; exit 9' TERM; while :; do sleep 0.1; done"
    config = world.config(script, handler="runsc")
    running = await world.runtime.start(config)
    await until(lambda: any("gVisor" in line for line in world.log()))
    assert platform.release() not in world.log()[0]
    code, output = await world.runtime.exec_sync(running.id, ("sh", "-c", "busybox dmesg | head -1; exit 7"), 20.0)
    assert (code, b"gVisor" in output) == (7, True)
    await world.crash()
    await world.agent()
    (found,) = await world.runtime.containers()
    assert (found.id, found.state) == (running.id, "running")
    await world.runtime.stop(running.id, "", 10.0)
    (found,) = await world.runtime.containers()
    assert (found.exit_code, world.log()[-1].endswith("asked")) == (9, True)
    with pytest.raises(RuntimeFailure, match="does not support user namespaces"):
        await world.runtime.prepare(Sandbox("uid-1", "runsc", own_users=True))
    with pytest.raises(RuntimeFailure, match="shareProcessNamespace"):
        await world.runtime.start(world.config("true", handler="runsc", shares_processes=True))


@needs("crun")
async def test_crun(world: Any) -> None:
    """It runs containers on cgroup v2 and v1, and says why it does not on a mixture."""
    config = world.config("echo well; exit 4", handler="crun")
    if Path("/sys/fs/cgroup/unified").exists():
        with pytest.raises(RuntimeFailure, match="hybrid") as caught:
            await world.runtime.start(config)
        assert caught.value.reason == "RunContainerError"
    else:
        assert (await world.ended(config)).exit_code == 4
