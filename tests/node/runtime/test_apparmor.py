"""AppArmor profiles: which are known, and, where the kernel has AppArmor, what they do to containers.

`scripts/v2-machine` boots such a kernel.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtime import apparmor, checks, spec
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, RuntimeFailure

TIGHT = "sampan-test-tight"
in_kernel = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not apparmor.is_enabled(), reason="needs root, and AppArmor in the kernel"),
]


@pytest.mark.parametrize("name", ["", "unconfined", APPARMOR_DEFAULT, "mine", "two words"])
def test_loaded_profiles(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the kernel's list, and the names that are no profile's."""
    listed(tmp_path, monkeypatch)
    checks.apparmor_profile(name)


@pytest.mark.parametrize("name", ["theirs", "min", "mine (enforce)", "two"])
def test_a_profile_that_is_not_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named."""
    listed(tmp_path, monkeypatch)
    with pytest.raises(spec.SpecError) as caught:
        checks.apparmor_profile(name)
    assert str(caught.value) == f"apparmor profile not found {name}"


def test_a_list_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the kernel that refuses."""
    monkeypatch.setattr(apparmor, "_LOADED", tmp_path / "none")
    checks.apparmor_profile("theirs")


def test_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a namespace of AppArmor's shows it: then too it is the kernel that refuses."""
    path = tmp_path / "profiles"
    path.write_text("")
    monkeypatch.setattr(apparmor, "_LOADED", path)
    checks.apparmor_profile("theirs")


def listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "profiles"
    path.write_text("mine (enforce)\ntwo words (complain)\n")
    monkeypatch.setattr(apparmor, "_LOADED", path)


class TestInTheKernel:
    """With containers that it confines."""

    pytestmark = in_kernel

    @pytest.mark.parametrize("asked", ["", APPARMOR_DEFAULT])
    async def test_the_default(self, world: Any, asked: str) -> None:
        """Not even who may administer everything mounts, or writes the kernel's settings; what is usual can be done."""
        script = (
            "cat /proc/1/attr/current; busybox mount -t tmpfs x /etc; busybox touch /x && echo made;"
            " cat /proc/sys/kernel/shm_rmid_forced; echo 1 > /proc/sys/kernel/shm_rmid_forced;"
            " cat /proc/sys/kernel/shm_rmid_forced; sleep 100 & kill $! && echo ended"
        )
        config = world.config(script, apparmor=asked, capabilities_add=("SYS_ADMIN",), unmasked_proc=True)
        await world.ended(config)
        assert said(world) == [f"{apparmor.NAME} (enforce)", "made", "0", "0", "ended"]
        complaints = "".join(said(world, stream="stderr"))
        assert "mount: mounting x on /etc failed: Permission denied" in complaints
        assert "can't create /proc/sys/kernel/shm_rmid_forced: Permission denied" in complaints

    async def test_unconfined(self, world: Any) -> None:
        """Who says so may do what the capabilities allow, and so may who is privileged."""
        script = "cat /proc/1/attr/current; busybox mount -t tmpfs x /etc && echo mounted"
        await world.ended(world.config(script, name="open", apparmor="unconfined", capabilities_add=("SYS_ADMIN",)))
        await world.ended(world.config(script, name="free", privileged=True))
        assert said(world, "open") == said(world, "free") == ["unconfined", "mounted"]

    async def test_the_nodes_own(self, world: Any, load: Callable[[str, str], None]) -> None:
        """A profile that was loaded here confines who names it, the processes that join too; it outlives the container."""
        load(TIGHT, "file,\n capability,\n signal,\n deny /etc/passwd r,")
        script = "cat /proc/1/attr/current; cat /etc/passwd; until test -e /go; do sleep 0.1; done"
        started = await world.runtime.start(world.config(script, apparmor=TIGHT))
        command = ("sh", "-c", "cat /proc/self/attr/current; cat /etc/passwd; echo > /go")
        _, output = await world.runtime.exec_sync(started.id, command, 60)
        assert output.decode().splitlines()[0] == f"{TIGHT} (enforce)"
        assert b"Permission denied" in output
        async for state in world.runtime.exits():
            assert state.exit_code == 0
            break
        assert said(world)[0] == f"{TIGHT} (enforce)"
        assert "".join(said(world, stream="stderr")).endswith("Permission denied")
        assert apparmor.is_loaded(TIGHT)

    async def test_one_that_is_not_here(self, world: Any) -> None:
        """The container is not made, and the reason says which it is."""
        with pytest.raises(RuntimeFailure, match="apparmor profile not found sampan-test-none") as caught:
            await world.runtime.start(world.config("true", apparmor="sampan-test-none"))
        assert caught.value.reason == "CreateContainerError"


@pytest.fixture
def load() -> Iterator[Callable[[str, str], None]]:
    """Gives the kernel a profile, until the test is over."""
    given = []

    def parse(option: str, text: str) -> None:
        command = ["apparmor_parser", "--skip-cache", "--quiet", option]
        subprocess.run(command, input=text.encode(), check=True)

    def give(name: str, rules: str) -> None:
        given.append(f"profile {name} flags=(attach_disconnected) {{\n {rules}\n}}\n")
        parse("--replace", given[-1])

    yield give
    for text in given:
        parse("--remove", text)


def said(world: Any, name: str = "main", stream: str = "stdout") -> list[str]:
    """What a container has written to one of its streams; a line that was written in pieces is several."""
    parts = [line.split(" ", 2) for line in world.log(name)]
    return [text for heard, _, text in parts if heard == stream]
