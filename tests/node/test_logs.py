"""Reading CRI logs."""

import asyncio
import errno
import os

import pytest

from sampan.node import logs
from sampan.node.logs import Options

TEXT = b"""2026-01-01T00:00:01.5Z stdout F one
2026-01-01T00:00:02Z stderr F err
2026-01-01T00:00:03Z stdout P par
2026-01-01T00:00:03Z stdout F tial
2026-01-01T00:00:04Z stdout F
2026-01-01T00:00:05Z stdout F last one
"""


def write(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(TEXT)
    return str(path)


def test_tail(tmp_path):
    """Whole text, last lines, streams, times."""
    path = write(tmp_path)
    assert logs.tail(path, Options()) == b"one\nerr\npartial\n\nlast one\n"
    assert logs.tail(path, Options(tail_lines=3)) == b"partial\n\nlast one\n"
    assert logs.tail(path, Options(tail_lines=0)) == b""
    assert logs.tail(path, Options(stream="Stderr")) == b"err\n"
    assert logs.tail(path, Options(since=1767225604.0)) == b"\nlast one\n"
    assert logs.tail(path, Options(timestamps=True, tail_lines=1)) == b"2026-01-01T00:00:05Z last one\n"


def test_links_are_not_followed(tmp_path):
    """A log that is a link is not read."""
    (tmp_path / "secret").write_bytes(TEXT)
    (tmp_path / "0.log").symlink_to(tmp_path / "secret")
    assert logs.tail(str(tmp_path / "0.log"), Options()) == b""


async def collect(path, options, is_over):
    return b"".join([chunk async for chunk in logs.read(path, options, is_over)])


async def test_limit(tmp_path):
    """limitBytes cuts."""
    assert await collect(write(tmp_path), Options(limit_bytes=5), lambda: True) == b"one\ne"


async def test_follow(tmp_path):
    """Following sees what is appended, through a rotation, until the container has ended."""
    path = tmp_path / "0.log"
    path.write_bytes(b"2026-01-01T00:00:01Z stdout F one\n")
    over = False
    reading = asyncio.ensure_future(collect(str(path), Options(follow=True), lambda: over))
    await asyncio.sleep(0.05)
    with path.open("ab") as file:
        file.write(b"2026-01-01T00:00:02Z stdout F two\n")
    path.rename(tmp_path / "0.log.1")
    over = True
    path.write_bytes(b"2026-01-01T00:00:03Z stdout F three\n")
    assert await asyncio.wait_for(reading, 60) == b"one\ntwo\nthree\n"


def test_a_rotated_file_is_part_of_the_log(tmp_path):
    """The newest of them; a rotation takes nothing away that was just said."""
    path = write(tmp_path)
    (tmp_path / "0.log.20251231-000000").write_bytes(b"2025-12-31T00:00:00Z stdout F oldest\n")
    (tmp_path / "0.log.20260101-000000").write_bytes(b"2026-01-01T00:00:00Z stdout F before\n")
    assert logs.tail(path, Options()) == b"before\none\nerr\npartial\n\nlast one\n"
    assert logs.tail(path, Options(tail_lines=1)) == b"last one\n"


def test_too_many_open_files(tmp_path, monkeypatch):
    """It is an error before anything is answered, and no empty log."""

    def refuse(*arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    path = write(tmp_path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        logs.read(path, Options(), lambda: True)
