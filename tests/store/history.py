"""What a store promises, checked on a log of what its users began, were told and saw, and on what is left.

An acknowledged transaction is there, one that was not is wholly there or not at all, revisions grow and are never
given out twice, compares and reads are those of one order (that of revisions, which agrees with real time), and
watches see all of it without a gap.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from sampan.store.sqlite import SqliteStore

Line = dict[str, Any]
Version = tuple[int, str | None]
"""A revision, and a key's value from then on (None: deleted)."""


@dataclass
class Order:
    """All that is known of what was written: by revision, and for each key its versions in that order."""

    by_revision: dict[int, Line] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)

    def put(self, revision: int, txn: Line) -> None:
        assert revision not in self.by_revision, f"revision {revision} was given out twice"
        self.by_revision[revision] = txn

    def settle(self) -> None:
        for revision in sorted(self.by_revision):
            for key, value in self.by_revision[revision]["writes"]:
                versions = self.versions.setdefault(key, [])
                if value is not None or (versions and versions[-1][1] is not None):
                    versions.append((revision, value))

    def at(self, key: str, revision: int) -> Version | None:
        """The version of a key that could be read at a revision."""
        found = [version for version in self.versions.get(key, []) if version[0] <= revision]
        return found[-1] if found and found[-1][1] is not None else None


async def check(path: Path, lines: list[Line]) -> None:
    """Raises AssertionError with what is wrong. What is left is told too, for the check after the next life."""
    db = apsw.Connection(str(path))
    assert db.pragma("integrity_check") == "ok"
    db.close()
    store = SqliteStore.open(path)
    try:
        page = await store.list("")
        left: dict[str, Version] = {r.key: (r.mod_revision, r.value.decode()) for r in page.records}
        given = {key: left.pop(key, None) for key in list(left) if key.startswith("old/")}
        judge(lines, left, page.revision)
        lines.append({"op": "left", "records": left})
        for line in lines:
            if line["op"] == "given":
                assert given == {key: tuple(version) for key, version in line["records"].items()}, (
                    "old records are lost"
                )
            if line["op"] == "copy":
                _check_copy(path.with_name(line["path"]), line["revision"], lines)
    finally:
        await store.close()


def judge(lines: list[Line], left: dict[str, Version], revision: int) -> None:
    """What was told, and what is left at this revision, are of one order. AssertionError."""
    began = {line["id"]: line for line in lines if line["op"] == "begin"}
    order = Order()
    for line in _ends(lines):
        order.put(line["revision"], began[line["id"]])
    _find_unacknowledged(order, lines, began, left)
    order.settle()
    assert revision >= max(order.by_revision, default=1), "the revision went back"
    for key, versions in order.versions.items():
        last = versions[-1]
        expected = None if last[1] is None else last
        assert left.get(key) == expected, f"{key} is {_short(left.get(key))} and should be {_short(expected)}"
    assert set(left) <= set(order.versions)
    _check_compares(order, lines, began)
    _check_real_time(lines)
    _check_reads(order, lines)
    _check_watches(order, lines)


def _short(version: Version | None) -> str:
    return "not there" if version is None else f"at revision {version[0]}: {(version[1] or '')[:20]}"


def _ends(lines: Iterable[Line]) -> list[Line]:
    """Acknowledged transactions that have a revision of their own (each of the child's writes changes something)."""
    return [line for line in lines if line["op"] == "end" and line["ok"]]


def _find_unacknowledged(order: Order, lines: list[Line], began: dict[str, Line], left: dict[str, Version]) -> None:
    """Those that were done and not told: their values, of which each is unique, are there, or were seen."""
    ended = {line["id"] for line in lines if line["op"] == "end"}
    seen: dict[str, int] = {value: at for at, value in left.values() if value is not None}
    for line in lines:
        if line["op"] == "seen":
            seen |= {value: at for _, at, value in line["events"] if value is not None}
        if line["op"] == "left":
            seen |= {value: at for at, value in line["records"].values() if value is not None}
        if line["op"] == "got" and line["record"]:
            seen[line["record"][0]] = line["record"][1]
    conflicts = {line["id"] for line in lines if line["op"] == "conflict"}
    for number, txn in began.items():
        revisions = {seen[value] for _, value in txn["writes"] if value in seen}
        assert len(revisions) <= 1, f"{number} is there in parts, at revisions {sorted(revisions)}"
        assert number not in conflicts or not revisions, f"{number} was refused as a conflict, and is there"
        if number not in ended and revisions:
            order.put(revisions.pop(), txn)


def _check_compares(order: Order, lines: list[Line], began: dict[str, Line]) -> None:
    """What was compared was so just before, or, where it was refused, was not."""
    for line in lines:
        if line["op"] != "end":
            continue
        compares = began[line["id"]]["compares"]
        if line["ok"]:
            for key, revision in compares:
                before = order.at(key, line["revision"] - 1)
                assert (before[0] if before else 0) == revision, (
                    f"{line['id']} won over {_short(before)}, not {revision}"
                )
        else:
            now = [order.at(key, line["revision"]) for key, _ in compares]
            assert line["found"] == [version[0] if version else None for version in now]


def _check_real_time(lines: list[Line]) -> None:
    """Who began after somebody was told has a higher revision."""
    told, floor = 1, {}
    for line in lines:
        if line["op"] == "begin":
            floor[line["id"]] = told
        elif line["op"] == "end":
            assert line["revision"] > floor[line["id"]] or not line["ok"], "a revision is older than its time"
            assert line["revision"] >= floor[line["id"]]
            told = max(told, line["revision"])
        elif line["op"] in ("open", "revision"):
            assert line["revision"] >= told, "the revision went back"


def _check_reads(order: Order, lines: list[Line]) -> None:
    """A read finds what was told before it began, or later."""
    asked: dict[str, tuple[str, int]] = {}
    told = 1
    for line in lines:
        if line["op"] == "end":
            told = max(told, line["revision"])
        elif line["op"] == "ask":
            asked[line["id"]] = line["key"], told
        elif line["op"] == "got":
            key, floor = asked[line["id"]]
            versions = [(0, None), *order.versions.get(key, [])]
            oldest = max(index for index, version in enumerate(versions) if version[0] <= floor)
            possible = [None if value is None else [value, at] for at, value in versions[oldest:]]
            assert line["record"] in possible, f"a read of {key} was stale or made up: {line['record']}"


def _check_watches(order: Order, lines: list[Line]) -> None:
    """Each change once, in order, none left out; and nothing of a revision that was reported as past."""
    for line in lines:
        if line["op"] != "seen":
            continue
        revisions = [at for _, at, _ in line["events"]]
        assert revisions == sorted(revisions)
        assert all(line["after"] < at <= line["upto"] for at in revisions), "an event is behind what was reported"
        expected = [
            [key, at, value]
            for at in range(line["after"] + 1, line["upto"] + 1)
            for key, value in order.by_revision.get(at, {"writes": []})["writes"]
            if (at, value) in order.versions.get(key, [])
        ]
        assert line["events"] == expected, f"a watch has a gap between {line['after']} and {line['upto']}"


def _check_copy(path: Path, revision: int, lines: list[Line]) -> None:
    """A copy made meanwhile is there and whole: it has all that was acknowledged before its revision."""
    assert path.exists(), f"{path.name} was made, and is gone"
    db = apsw.Connection(str(path))
    assert db.pragma("integrity_check") == "ok"
    newest = {str(key): int(at) >> 16 for key, at in db.execute("SELECT key, id FROM record WHERE current = 1")}
    db.close()
    began = {each["id"]: each for each in lines if each["op"] == "begin"}
    for end in _ends(lines):
        if end["revision"] <= revision:
            for key, value in began[end["id"]]["writes"]:
                assert value is None or newest.get(key, 1 << 60) >= end["revision"], f"the copy lacks {key}"
