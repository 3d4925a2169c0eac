"""Marks say which layers containers are made of, as long as the containers are there."""

import fcntl
import os
from pathlib import Path

import pytest

from sampan.node.images import holders


def test_marks(tmp_path: Path) -> None:
    """Several containers, those of one layer among them; a mark without its container is forgotten."""
    store, folders = tmp_path / "images", [tmp_path / name for name in "abc"]
    layers = [str(store / "l" / name) for name in ("one", "two", "three")]
    assert holders.held(store) == set()
    for layer in layers:
        os.makedirs(layer)
    for folder, number in zip(folders, (1, 2, 3), strict=True):
        folder.mkdir()
        holders.hold(holders.place(layers, folder.name), layers[:number], str(folder))
    assert holders.held(store) == {"one", "two", "three"}
    holders.let_go(holders.place(layers, "b"))
    holders.let_go(holders.place(layers, "b"))
    folders[2].rmdir()
    assert holders.held(store) == {"one"}
    assert [mark.name for mark in (store / "used").iterdir()] == ["a"]


def test_no_layers(tmp_path: Path) -> None:
    """An image without layers needs no mark."""
    mark = holders.place((), "a")
    holders.hold(mark, (), str(tmp_path))
    holders.let_go(mark)
    assert list(tmp_path.iterdir()) == []


def test_what_is_half_made_is_forgotten(tmp_path: Path) -> None:
    """A mark of one who was killed at making it."""
    marks = tmp_path / "used"
    marks.mkdir()
    (marks / "a").touch()
    (marks / ".b").write_text(f"{tmp_path}\none")
    with holders.settled(tmp_path):
        assert holders.held(tmp_path) == set()
    assert list(marks.iterdir()) == []


def test_a_mark_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees it empty, and nobody deletes layers while it is made."""
    layer = tmp_path / "l" / "one"
    layer.mkdir(parents=True)
    mark = holders.place([str(layer)], "a")
    write = Path.write_text

    def seen(path: Path, text: str) -> int:
        done = write(path, text)
        assert not os.path.exists(mark)
        with pytest.raises(BlockingIOError):
            _lock_at_once(tmp_path / "used")
        return done

    monkeypatch.setattr(Path, "write_text", seen)
    holders.hold(mark, [str(layer)], str(tmp_path))
    assert holders.held(tmp_path) == {"one"}
    _lock_at_once(tmp_path / "used")


def test_layers_that_are_gone_are_not_held(tmp_path: Path) -> None:
    """Somebody removed the image after the container had found it."""
    layers = [str(tmp_path / "l" / "one")]
    with pytest.raises(FileNotFoundError, match="a layer of the image was removed"):
        holders.hold(holders.place(layers, "a"), layers, str(tmp_path))
    assert holders.held(tmp_path) == set()


def test_a_folder_that_may_not_be_seen_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a container that is known to be gone uses nothing."""
    layer = tmp_path / "l" / "one"
    layer.mkdir(parents=True)
    holders.hold(holders.place([str(layer)], "a"), [str(layer)], "/secret/a")
    look = os.stat

    def refuse(path: str | Path, **options: bool) -> os.stat_result:
        if str(path) == "/secret/a":
            raise PermissionError
        return look(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert holders.held(tmp_path) == {"one"}


def _lock_at_once(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
