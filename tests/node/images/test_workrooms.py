"""Who works below a store's `builds` is left alone, and what nobody works with goes."""

import fcntl
import os
from pathlib import Path

import pytest

from sampan.node.images import workrooms
from sampan.node.images.building.mounts import Workshop
from sampan.node.images.store import ImageStore


def test_what_pruning_leaves(tmp_path: Path) -> None:
    """Folders that somebody made a file system in and was killed go, and caches unless a build is under way."""
    store = ImageStore(tmp_path / "images")
    with workrooms.locked(store.builds):
        _, build = workrooms.make(store.builds, "work-")
        debian, in_use = workrooms.make(store.builds, "debootstrap-")
    (store.builds / "debootstrap-killed/etc").mkdir(parents=True)
    (store.builds / "cache-1").mkdir()
    key = store.add_step("a", None)
    store.prune()
    assert {path.name for path in store.builds.glob("[cd]*")} == {Path(debian).name, "cache-1"}
    assert store.step("a") == key
    os.close(build)
    store.prune()
    assert [str(path) for path in store.builds.glob("[cd]*")] == [debian]
    assert store.step("a") is None
    os.close(in_use)


def test_builds_that_begin_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one has its folder but not yet the lock on it, no other one sweeps."""
    make, refused = workrooms.make, []

    def watched(parent: Path, prefix: str) -> tuple[str, int]:
        other = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(parent)
        finally:
            os.close(other)
        return make(parent, prefix)

    monkeypatch.setattr(workrooms, "make", watched)
    with Workshop(tmp_path / "builds") as first, Workshop(tmp_path / "builds") as second:
        assert refused == [tmp_path / "builds"] * 2
        assert os.path.isdir(first.folder)
        assert os.path.isdir(second.folder)
    assert list((tmp_path / "builds").iterdir()) == []
