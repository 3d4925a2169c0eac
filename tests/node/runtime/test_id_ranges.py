"""Ranges of user ids: no two owners have one in common, whoever asks, and what is given back can be had again."""

from pathlib import Path

import pytest

from sampan.node.runtime import id_ranges


def test_no_two_owners_share_a_range(tmp_path: Path) -> None:
    """Each has one of its own, and the same one when it asks again."""
    folder = str(tmp_path / "ids")
    firsts = [id_ranges.take(folder, f"pod-{number}") for number in range(5)]
    assert len({first // id_ranges.LENGTH for first in firsts}) == 5
    assert all(first % id_ranges.LENGTH == 0 for first in firsts)
    assert [id_ranges.take(folder, f"pod-{number}") for number in range(5)] == firsts
    id_ranges.give_back(folder, "pod-2")
    id_ranges.give_back(folder, "pod-2")
    assert id_ranges.take(folder, "another") == firsts[2]
    assert sorted(path.name for path in (tmp_path / "ids").iterdir()) == sorted(map(str, firsts))


def test_one_who_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that another agent takes between our look and our hold stays the other's."""
    folder, other = str(tmp_path), id_ranges._is_made
    first = id_ranges.FIRST * id_ranges.LENGTH

    def beaten(folder: str, name: str, owner: str) -> bool:
        if name == str(first):
            Path(folder, name).write_text("theirs")
        return other(folder, name, owner)

    monkeypatch.setattr(id_ranges, "_is_made", beaten)
    assert id_ranges.take(folder, "ours") == first + id_ranges.LENGTH
    assert Path(folder, str(first)).read_text() == "theirs"


def test_all_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said."""
    monkeypatch.setattr(id_ranges, "LAST", id_ranges.FIRST)
    id_ranges.take(str(tmp_path), "one")
    with pytest.raises(id_ranges.NoRangeLeft, match="all 1 ranges"):
        id_ranges.take(str(tmp_path), "two")
