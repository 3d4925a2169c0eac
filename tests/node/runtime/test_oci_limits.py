"""Real containers have the mounts, profiles and pod limits that they are asked to have, or are refused by name."""

import json
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest

from sampan.node.runtime.protocol import Mount, Resources, RuntimeFailure
from tests.node.runtime.test_oci import until

pytestmark = [pytest.mark.root, pytest.mark.slow]


def run(*command: str) -> None:
    subprocess.run(command, check=True)


async def test_read_only_with_all_below(world: Any) -> None:
    """A file system below the mount can be written to, unless the mount is recursive."""
    (world.folder / "data/inner").mkdir(parents=True)
    run("mount", "-t", "tmpfs", "tmpfs", str(world.folder / "data/inner"))
    try:
        for recursive in (False, True):
            mount = Mount(str(world.folder / "data"), "/data", read_only=True, recursive=recursive)
            config = world.config("touch /data/inner/new", name=f"recursive-{recursive}", mounts=(mount,))
            assert (await world.ended(config)).exit_code == recursive
    finally:
        run("umount", str(world.folder / "data/inner"))
    assert world.runtime.features.recursive_read_only


async def test_mount_propagation(world: Any) -> None:
    """Only a mount that is shared passes on what is mounted below it; any other is refused by name."""
    (world.folder / "data").mkdir()
    data = str(world.folder / "data")
    run("mount", "-t", "tmpfs", "tmpfs", data)
    try:
        run("mount", "--make-private", data)
        refusals: tuple[tuple[Literal["rslave", "rshared"], str], ...]
        refusals = (("rslave", "shared or slave"), ("rshared", "shared"))
        for propagation, words in refusals:
            with pytest.raises(RuntimeFailure, match=f"{data} is mounted on {data} but it is not a {words} mount"):
                await world.runtime.start(world.config("true", mounts=(Mount(data, "/data", propagation=propagation),)))
        run("mount", "--make-shared", data)
        script = "while ! cat /data/inner/file; do busybox sleep 0.05; done"
        running = await world.runtime.start(world.config(script, mounts=(Mount(data, "/data", propagation="rslave"),)))
        (world.folder / "data/inner").mkdir()
        run("mount", "-t", "tmpfs", "tmpfs", f"{data}/inner")
        (world.folder / "data/inner/file").write_text("seen\n")
        await until(lambda: any("seen" in line for line in world.log()))
        await world.runtime.remove(running.id)
    finally:
        run("umount", "-R", data)


async def test_a_seccomp_profile_of_the_nodes(world: Any) -> None:
    """What it forbids fails; one that is not there, or is none, is named."""
    path = world.folder / "profile.json"
    for text, words in ((None, "open .*: no such file or directory"), ("{", "decoding"), ("[]", "no defaultAction")):
        if text is not None:
            path.write_text(text)
        with pytest.raises(RuntimeFailure, match=words) as caught:
            await world.runtime.start(world.config("true", seccomp="Localhost", seccomp_profile=str(path)))
        assert caught.value.reason == "CreateContainerError"
    refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    script = "busybox mkdir /tmp/x"
    state = await world.ended(world.config(script, seccomp="Localhost", seccomp_profile=str(path)))
    assert state.exit_code == 1
    assert any("Permission denied" in line for line in world.log())


async def test_limits_of_the_whole_pod(world: Any) -> None:
    """Containers share them: both together may not have more memory; they follow the pod up and down."""
    small = Resources(cpu_shares=512, cpu_quota=50_000, memory_limit=24 << 20)
    large = Resources(cpu_shares=1024, cpu_quota=150_000, memory_limit=64 << 20)
    first = await world.runtime.start(world.config("sleep 1234", name="first", pod_resources=small))
    assert pod_numbers(world) == (50_000, 24 << 20)
    eater = world.config("exec busybox tail -c 100000000 /dev/zero", name="eater", pod_resources=small)
    state = await world.ended(eater)
    assert (state.reason, state.oom_killed) == ("OOMKilled", True)
    await world.runtime.update(first.id, large, large)
    assert pod_numbers(world) == (150_000, 64 << 20)
    await world.runtime.update(first.id, small, small)
    assert pod_numbers(world) == (50_000, 24 << 20)
    await world.runtime.update(first.id, Resources(), Resources())
    assert pod_numbers(world) == (0, 0)
    with pytest.raises(RuntimeFailure, match="below current usage"):
        await world.runtime.update(first.id, Resources(), Resources(memory_limit=4096))


def pod_numbers(world: Any) -> tuple[int, int]:
    """The CPU quota and the bytes of memory of the pod's cgroup; 0 for none."""
    root, parent = Path("/sys/fs/cgroup"), f"{world.parent}/burstable/poduid-1"
    if (root / "cgroup.controllers").exists():
        words = [(root / parent / name).read_text().split()[0] for name in ("cpu.max", "memory.max")]
        quota, memory = (0 if word == "max" else int(word) for word in words)
        return quota, memory
    quota = int((root / "cpu" / parent / "cpu.cfs_quota_us").read_text())
    memory = int((root / "memory" / parent / "memory.limit_in_bytes").read_text())
    return max(quota, 0), memory if memory < 1 << 60 else 0
