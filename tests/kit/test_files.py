"""Small files under several writers, beside what killed ones have left, and on poor file systems."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from sampan.kit import files


def test_of_several_writers_of_one_name_none_fails(tmp_path: Path) -> None:
    """The content is one's, whole, and nothing is left beside it."""
    path, failed = tmp_path / "file", []
    contents = [bytes([number]) * 5000 for number in range(8)]
    begin = threading.Barrier(len(contents))

    def write(data: bytes) -> None:
        begin.wait()
        try:
            for _ in range(10):
                files.write_whole(path, data)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_its_mode_is_what_was_asked_for(tmp_path: Path) -> None:
    """Less what the process gives nobody."""
    before = os.umask(0o027)
    try:
        files.write_whole(tmp_path / "file", b"", 0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("says", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EIO])
def test_where_folders_cannot_be_put_onto_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: int) -> None:
    """The file is written all the same; another error is told."""

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(says, os.strerror(says))

    monkeypatch.setattr(os, "fsync", no_folders)
    if says == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(says)):
            files.write_whole(tmp_path / "file", b"new")
    else:
        files.write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_what_killed_writers_left_goes(tmp_path: Path) -> None:
    """With a later writing once it is old; at once where a file is removed. Another file's stays."""
    files.write_whole(tmp_path / "file", b"")
    old, fresh, other = (tmp_path / f".{name}-{digit}0.new" for name, digit in (("file", 1), ("file", 2), ("else", 3)))
    for path in (old, fresh, other):
        path.touch()
        assert files.is_unfinished(path)
    for path in (old, other):
        os.utime(path, (0, 0))
    files.write_whole(tmp_path / "file", b"")
    assert not old.exists() and fresh.exists()
    files.remove(tmp_path / "file")
    files.remove(tmp_path / "none" / "file")
    assert list(tmp_path.iterdir()) == [other]


def test_of_several_files_none_comes_before_all_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have the modes that were asked for; when there is no room for the last one, the old ones stay."""
    files.write_together(tmp_path, {"a": (b"1", 0o600), "b": (b"2", 0o644)})
    assert {path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()} == {
        "a": (b"1", 0o600),
        "b": (b"2", 0o644),
    }
    synced = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_together(tmp_path, {"a": (b"3", 0o600), "b": (b"4", 0o644)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}
