"""The disk that tests lay out after a kill or a loss of power keeps what real ones keep, and no more."""

import random
from pathlib import Path

from tests.store.disk import Disk, Files
from tests.store.tape import Call

OLD, NEW = b"o" * 1500, b"n" * 1500


def states(disk: Disk, count: int = 300) -> list[Files]:
    return [disk.unpowered(random.Random(seed)) for seed in range(count)]


def played(*calls: Call, before: Files | None = None) -> Disk:
    disk = Disk(before or {})
    for call in calls:
        disk.play(call)
    return disk


def test_what_was_synced_is_there_and_nothing_else_is_sure() -> None:
    """Of a later write there may be all, some sectors, or none; after the sync there is all."""
    disk = played(Call("write", "a", 0, 0, NEW, 0), before={"a": OLD})
    found = {state["a"] for state in states(disk)}
    assert {OLD, NEW} <= found
    torn = found - {OLD, NEW}
    assert torn
    assert all(set(data) <= set(b"on") and len(data) == 1500 for data in torn)
    disk.play(Call("sync", "a", 1, 1))
    assert {state["a"] for state in states(disk)} == {NEW}


def test_a_sync_covers_what_was_done_before_it_began() -> None:
    """A write of another thread that came meanwhile is not on the disk for it."""
    disk = played(
        Call("create", "a", 0, 0), Call("write", "a", 1, 1, b"early", 0), Call("write", "a", 3, 3, b"late!", 0),
        Call("sync", "a", 2, 4), Call("sync folder", "", 5, 5),
    )  # fmt: skip
    assert {state["a"] for state in states(disk)} == {b"early", b"late!"}


def test_names_are_as_sure_as_their_folder() -> None:
    """A rename may be lost until the folder is synced; the name always stands for one of both."""
    disk = played(
        Call("create", "a.new", 0, 0), Call("write", "a.new", 1, 1, NEW, -1), Call("sync", "a.new", 2, 2),
        Call("rename", "a.new", 3, 3, target="a"), before={"a": OLD},
    )  # fmt: skip
    assert {state["a"] for state in states(disk)} == {OLD, NEW}
    disk.play(Call("sync folder", "", 4, 4))
    assert {tuple(state.items()) for state in states(disk)} == {(("a", NEW),)}


def test_a_kill_leaves_all_that_was_done(tmp_path: Path) -> None:
    """Synced or not; amid a long write there may be its first pages."""
    call = Call("write", "a", 2, 2, b"n" * 8192, 0)
    disk = played(Call("create", "a", 0, 0), Call("write", "a", 1, 1, b"o" * 8192, 0))
    assert disk.killed() == {"a": b"o" * 8192}
    assert disk.killed(call) == {"a": b"n" * 4096 + b"o" * 4096}
