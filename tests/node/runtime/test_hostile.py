"""Images that try to get out: directories that are file descriptors, programs that are the runtime, links in odd places."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sampan.node.images.model import Image, ImageConfig
from sampan.node.images.store import ImageStore
from sampan.node.runtime.protocol import Mount, RuntimeFailure

pytestmark = [pytest.mark.root, pytest.mark.slow]

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


def image(world: Any, name: str, links: dict[str, str] | None = None, config: ImageConfig | None = None) -> Image:
    """busybox, with links in places where a container's own things are to be."""
    folder = world.folder / f"image-{name}"
    (folder / "bin").mkdir(parents=True)
    shutil.copy2("/bin/busybox", folder / "bin/busybox")
    for applet in ("sh", "cat", "ls", "echo"):
        (folder / "bin" / applet).symlink_to("busybox")
    for path, target in (links or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    return ImageStore(world.folder / "images").import_rootfs(folder, name, config or ImageConfig())


async def tried(world: Any, config: Any) -> str:
    """What came of it: its output, or why it was refused."""
    try:
        await world.ended(config)
    except RuntimeFailure as failure:
        return failure.message
    return "\n".join(world.log(config.name))


@pytest.mark.parametrize("number", range(3, 12))
async def test_a_working_directory_that_is_a_descriptor(world: Any, number: int) -> None:
    """There is none of ours or the runtime's to be in: neither at the start nor in an exec."""
    made = image(world, "cwd", config=ImageConfig(working_dir=f"/proc/self/fd/{number}"))
    look = "echo $(ls -d ../../../../../../../../work ../../../../../../../../root/.bashrc 2>/dev/null | busybox wc -l)"
    said = await tried(world, world.config(look, image=made))
    assert "no such file or directory" in said or "not a directory" in said or "getcwd" in said or said.endswith(" 0")


async def test_descriptors_that_a_container_has(world: Any) -> None:
    """Its three streams and what it opened itself, at the start and in an exec."""
    running = await world.runtime.start(world.config("ls /proc/self/fd | busybox wc -w; exec sleep 100"))
    _, output = await world.runtime.exec_sync(running.id, ("sh", "-c", "ls /proc/self/fd; ls /proc/1/fd"), 60)
    assert output.split() == [b"0", b"1", b"2", b"3", b"0", b"1", b"2"]


async def test_a_program_that_is_the_runtime(world: Any) -> None:
    """`#!/proc/self/exe` runs nothing of the host's, and the runtime stays as it is."""
    runtime = Path(shutil.which("runc") or "/usr/sbin/runc")
    before = hashlib.sha256(runtime.read_bytes()).hexdigest()
    folder = world.folder / "image-self"
    (folder / "bin").mkdir(parents=True)
    shutil.copy2("/bin/busybox", folder / "bin/busybox")
    (folder / "entry").write_text("#!/proc/self/exe\n")
    (folder / "entry").chmod(0o755)
    (folder / "link").symlink_to("/proc/self/exe")
    made = ImageStore(world.folder / "images").import_rootfs(folder, "self", ImageConfig())
    for name in ("entry", "link"):
        await tried(world, world.config(image=made, command=(f"/{name}", "init"), name=name))
    assert hashlib.sha256(runtime.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    "links",
    [
        {"dev": "/"},
        {"dev": "/proc"},
        {"proc": "/"},
        {"proc": "/sys"},
        {"sys": "/proc/sys"},
        {"dev/null": "/proc/sys/kernel/core_pattern"},
        {"dev/pts/0": "/proc/sys/kernel/core_pattern"},
        {"dev/console": "/proc/sys/kernel/core_pattern"},
        {"etc/hosts": "/proc/sys/kernel/core_pattern"},
        {"data": "/proc/sys/kernel"},
        {"data": "../../../../../../../../etc"},
    ],
)
async def test_links_where_the_runtime_mounts(world: Any, links: dict[str, str]) -> None:
    """Whatever they lead to is the container's, or it is not started; the host's own is as before."""
    (world.folder / "volume").mkdir()
    (world.folder / "hosts").write_text("127.0.0.1 localhost\n")
    before, host = CORE_PATTERN.read_text(), sorted(os.listdir("/etc"))
    mounts = (Mount(str(world.folder / "volume"), "/data"), Mount(str(world.folder / "hosts"), "/etc/hosts"))
    script = "echo broken > /proc/sys/kernel/core_pattern; echo b > /dev/null; echo b > /data/made; echo done"
    for tty in (False, True):
        config = world.config(script, image=image(world, f"links-{tty}".lower(), links), mounts=mounts, name=f"t-{tty}")
        await tried(world, replace(config, tty=tty))
        assert CORE_PATTERN.read_text() == before
        assert sorted(os.listdir("/etc")) == host
        assert not Path("/proc/sys/kernel/made").exists()


async def test_a_mount_over_proc(world: Any) -> None:
    """A volume does not get where the kernel's files are."""
    (world.folder / "volume").mkdir()
    before = CORE_PATTERN.read_text()
    mount = Mount(str(world.folder / "volume"), "/proc/sys/kernel")
    said = await tried(world, world.config("echo x > /proc/sys/kernel/core_pattern", mounts=(mount,)))
    assert "cannot be mounted because it is inside /proc" in said or "inside /proc" in said
    assert CORE_PATTERN.read_text() == before


@pytest.mark.parametrize("user", ["4294967296", "-1", "0x0"])
async def test_users_that_are_no_numbers_of_the_kernels(world: Any, user: str) -> None:
    """None of them becomes root."""
    made = image(world, "user", config=ImageConfig(user=user))
    with pytest.raises(RuntimeFailure, match="must be in range|unable to find user"):
        await world.runtime.start(world.config("echo started", image=made))
