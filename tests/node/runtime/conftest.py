"""A runtime with real containers in a directory of its own, whose leftovers are counted."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node.images.model import Image, ImageConfig
from sampan.node.images.store import ImageStore
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.cri.runtime import CriRuntime
from sampan.node.runtime.cri.runtime import Settings as CriSettings
from sampan.node.runtime.oci import OciRuntime, Settings
from sampan.node.runtime.protocol import ContainerConfig, ContainerState
from tests.node.runtime import containerd as containerds
from tests.node.runtime.containerd import Containerd

both = pytest.mark.parametrize("world", ["oci", "cri"], indirect=True)
"""For what every runtime of real containers does alike."""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """busybox alone."""
    folder = tmp_path_factory.mktemp("busybox")
    (folder / "fs/bin").mkdir(parents=True)
    (folder / "fs/etc").mkdir()
    (folder / "fs/etc/passwd").write_text("root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
    (folder / "fs/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "fs/bin/busybox").chmod(0o755)
    for name in ["sh", "ls", "cat", "sleep", "echo", "id", "env", "stty", "true", "head"]:
        (folder / "fs/bin" / name).symlink_to("busybox")
    config = ImageConfig(cmd=("sh", "-c", "echo from image"), env=(("FROM", "image"),))
    return ImageStore(folder / "images").import_rootfs(folder / "fs", "busybox", config)


class World:
    """One node's containers, and agents that come and go."""

    def __init__(self, folder: Path, image: Image) -> None:
        self.image = image
        self.folder = folder
        self.parent = f"sampan-test-{uuid.uuid4().hex[:8]}"
        # Not below pytest's directory: a pod with users of its own may not enter that.
        self.run_root = f"/run/{self.parent}"
        self.settings = Settings(str(folder / "node"), run_root=self.run_root)
        (folder / "logs").mkdir()
        self._tasks: list[Tasks] = []
        self.runtime: OciRuntime | CriRuntime

    async def agent(self) -> OciRuntime | CriRuntime:
        """A (new) agent on the same directory."""
        self._tasks.append(Tasks("test"))
        self.runtime = self._runtime(self._tasks[-1])
        await self.runtime.open()
        return self.runtime

    def _runtime(self, tasks: Tasks) -> OciRuntime | CriRuntime:
        return OciRuntime(self.settings, SystemClock(), tasks, SystemIds())

    async def crash(self) -> None:
        """The agent is gone."""
        await self.runtime.close()
        await self._tasks[-1].close()

    def config(self, script: str = "", **changes: Any) -> ContainerConfig:
        """A container that runs this shell script."""
        name = changes.pop("name", "main")
        defaults: dict[str, Any] = {
            "pod_uid": "uid-1",
            "pod_namespace": "default",
            "pod_name": "web",
            "image": self.image,
            "cgroup_parent": f"{self.parent}/burstable/poduid-1",
            "log_path": str(self.folder / "logs" / f"{name}.log"),
            "command": ("sh", "-c", script) if script else None,
        }
        return ContainerConfig(name=name, **(defaults | changes))

    async def ended(self, config: ContainerConfig) -> ContainerState:
        """Starts a container and waits for its end."""
        started = await self.runtime.start(config)
        async with asyncio.timeout(60):
            async for state in self.runtime.exits():
                if state.id == started.id:
                    return state
        raise AssertionError

    def log(self, name: str = "main") -> list[str]:
        """Each line of a log without its time."""
        lines = (self.folder / "logs" / f"{name}.log").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines]

    def cgroups(self, below: str) -> list[Path]:
        """This world's cgroup directory (or one below it) in each hierarchy that has it."""
        top = Path("/sys/fs/cgroup")
        places = [top, *(path for path in top.iterdir() if path.is_dir())]
        return [path / self.parent / below for path in places if (path / self.parent / below).is_dir()]

    def leftovers(self) -> list[str]:
        """Mounts, cgroups and processes that belong to this world."""
        marks = (str(self.folder), self.run_root)
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        mounts = [line for line in table if any(mark in line for mark in marks)]
        cgroups = [str(path) for path in self.cgroups("")]
        commands = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                try:
                    commands.append(Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace"))
                except OSError:
                    continue
        mine = [command for command in commands if any(mark in command for mark in marks)]
        return mounts + cgroups + mine + [str(path) for path in Path("/run").glob(self.parent)]


class CriWorld(World):
    """The same, whose containers a containerd runs."""

    def __init__(self, folder: Path, image: Image, server: Containerd) -> None:
        super().__init__(folder, image)
        self.server = server
        images = str(Path(image.layer_dirs[0]).parent.parent)
        self.cri = CriSettings(server.socket, str(folder / "node"), images, folder / "run")

    def leftovers(self) -> list[str]:
        """Also of the containerd, which nobody else uses meanwhile."""
        return super().leftovers() + self.server.leftovers()

    def _runtime(self, tasks: Tasks) -> CriRuntime:
        return CriRuntime(self.cri, Link(self.server.socket), SystemClock(), tasks)


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """One for all tests, started for the first that needs it."""
    with containerds.running() as server:
        yield server


@pytest.fixture
async def world(tmp_path: Path, image: Image, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world with an agent; nothing of it may be left in the end."""
    is_cri = getattr(request, "param", "oci") == "cri"
    made = CriWorld(tmp_path, image, request.getfixturevalue("containerd")) if is_cri else World(tmp_path, image)
    await made.agent()
    yield made
    await made.runtime.cleanup_all()
    await made.crash()
    left: list[str] = []

    def is_clean() -> bool:
        left[:] = made.leftovers()
        return not left

    with contextlib.suppress(TimeoutError):
        await until(is_clean)
    assert left == []
    assert not Path(made.settings.root).exists()


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
