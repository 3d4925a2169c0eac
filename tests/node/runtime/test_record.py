"""A container's record is found again as it was written last, whatever was there before."""

import dataclasses
import os
from pathlib import Path

import pytest

from sampan.node.runtime import record
from sampan.node.runtime.protocol import CREATED, RUNNING, ContainerState


@pytest.mark.parametrize("size", [0, 3000, 5000])
def test_written_over(tmp_path: Path, size: int) -> None:
    """By a shorter one and by a longer one, within a page and past it."""
    state = ContainerState("id", "uid", "default", "pod", "main", 0, "image", "sha256:1", CREATED)
    for message, now in (("m" * size, CREATED), ("", RUNNING), ("n" * (size + 10), RUNNING)):
        state = dataclasses.replace(state, message=message, state=now, labels=(("a", "b"),))
        written = record.Record(state, "parent", mark="/images/used/id")
        record.save(str(tmp_path), written)
        assert record.load(str(tmp_path)) == written
    assert [path.name for path in tmp_path.iterdir()] == [record.FILE]


def test_damaged(tmp_path: Path) -> None:
    """What makes no sense is no record."""
    (tmp_path / record.FILE).write_text('{"state": {"id"')
    assert record.load(str(tmp_path)) is None


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a part of it could be written."""
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: write(descriptor, data[:20], at))
    with pytest.raises(OSError, match="No space left"):
        record.save(str(tmp_path), record.unknown("id"))
