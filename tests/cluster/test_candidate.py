"""The name of a control plane where leaders are elected: its own after a restart, another one in a copy."""

import shutil
from pathlib import Path

import pytest

from sampan.cluster import candidate
from sampan.kit.ids import SeededIds


def test_the_same_directory_has_the_same_name(tmp_path: Path) -> None:
    """So that a restart need not wait for its own lease."""
    ids = SeededIds(1)
    assert candidate.name(tmp_path, ids) == candidate.name(tmp_path, ids)


def test_a_copy_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Else two would lead at once."""
    ids, first = SeededIds(1), tmp_path / "a"
    first.mkdir()
    name = candidate.name(first, ids)
    shutil.copytree(first, tmp_path / "b")
    assert candidate.name(tmp_path / "b", ids) != name
    assert candidate.name(first, ids) == name


def test_another_boot_or_host_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that can't be told, every start has."""
    ids, boot = SeededIds(1), tmp_path / "boot"
    boot.write_text("first\n")
    monkeypatch.setattr(candidate, "BOOT", boot)
    name = candidate.name(tmp_path, ids)
    assert candidate.name(tmp_path, ids) == name
    boot.write_text("second\n")
    assert candidate.name(tmp_path, ids) != name
    boot.unlink()
    assert candidate.name(tmp_path, ids) != candidate.name(tmp_path, ids)


def test_a_damaged_note_is_written_anew(tmp_path: Path) -> None:
    """As if there were none."""
    (tmp_path / candidate.NOTED).write_text("nonsense")
    ids = SeededIds(1)
    assert candidate.name(tmp_path, ids) == candidate.name(tmp_path, ids)
