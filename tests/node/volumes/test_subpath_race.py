"""subPath against a container that exchanges folders for links while they are looked at."""

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.volumes import aside, mounts, subpath
from sampan.node.volumes.failure import VolumeFailure

EXCHANGE, HERE = 2, -100
TURNS, MOST = 400, 100_000

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Path]:
    """A volume in which `d` is now a folder, now a link out of the volume, changed by another process all the time."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    for folder in (volume / "d/inner", outside / "inner"):
        folder.mkdir(parents=True)
    (volume / "d/inner/mine").touch()
    (outside / "inner/secret").touch()
    (volume / "e").symlink_to(outside)
    pid = os.fork()
    if not pid:
        libc = ctypes.CDLL(None)
        names = [os.fsencode(volume / name) for name in "de"]
        while True:
            libc.renameat2(HERE, names[0], HERE, names[1], EXCHANGE)
    try:
        yield volume
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        mounts.unmount_below(tmp_path)


@pytest.mark.parametrize("path", ["d", "d/inner", "d/inner/new/deep"])
def test_what_is_mounted_is_of_the_volume_or_nothing(attacked: Path, path: str) -> None:
    """Each time either the folder inside, or a refusal; and nothing is made outside."""
    outside, target = attacked.parent / "outside", attacked.parent / "target"
    outcomes = set()
    for turn in range(MOST):
        if turn > TURNS and len(outcomes) == 2:
            break
        try:
            subpath.bind(attacked, path, target, aside.Errand())
        except VolumeFailure:
            outcomes.add("refused")
            continue
        found = {name for _, _, names in os.walk(target) for name in names}
        assert "secret" not in found
        outcomes.add("mounted")
        mounts.unmount_below(target)
    assert outcomes == {"refused", "mounted"}
    assert sorted(p.name for p in outside.rglob("*")) == ["inner", "secret"]
