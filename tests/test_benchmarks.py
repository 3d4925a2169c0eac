"""The table of the benchmarks: its rows, what it judges, and how it gets into the document."""

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import soak
from benchmarks.table import __main__ as table
from benchmarks.table.client import check_complete, pod
from benchmarks.table.large import copies
from benchmarks.table.requests import names
from benchmarks.table.rows import BY_KEY, ROWS, Figure, is_reached


def test_every_row_is_measured_by_one_group() -> None:
    """Each is in exactly one group, and each group is a module."""
    measured = [key for keys in table.GROUPS.values() for key in keys]
    assert sorted(measured) == sorted(row.key for row in ROWS)
    assert len(BY_KEY) == len(ROWS)
    assert all(importlib.util.find_spec(f"benchmarks.table.{group}") for group in table.GROUPS)


def test_rows_and_groups_are_chosen_by_name() -> None:
    """A row brings its group; without a name there are all."""
    assert table.groups(["get", "placing"]) == ["requests", "placing"]
    assert table.groups([]) == list(table.GROUPS)


@pytest.mark.parametrize(
    ("key", "value", "bare", "reached"),
    [
        ("get", 700, 1000, True),
        ("get", 600, 1000, False),
        ("get", 20_000, 0, True),
        ("deployment", 873, 0, False),
        ("start", 0.9, 0, True),
        ("start", 1.1, 0, False),
        ("list-50000", 1, 0, None),
        ("watch-1000-p99", 90, 100, True),
        ("watch-1000-p99", 110, 100, False),
    ],
)
def test_a_target_is_judged(key: str, value: float, bare: float, reached: bool | None) -> None:
    """By the ratio to the bare server where there is one, else by the figure; less is better where that is so."""
    assert is_reached(BY_KEY[key], Figure(key, value, bare)) is reached


def test_the_table_takes_its_place() -> None:
    """What is around the marks stays, and a second table takes the place of the first."""
    document = f"before\n\n{table.BEGIN}\nold\n{table.END}\n\nafter\n"
    once = table.between_marks(document, "new")
    assert once == f"before\n\n{table.BEGIN}\nnew\n{table.END}\n\nafter\n"
    assert table.between_marks(once, "new") == once


def test_a_row_of_the_table() -> None:
    """What was measured, its ratio, what it took, and the target beside it."""
    shown = table.cells(BY_KEY["get"], Figure("get", 8000, 10_000, 0.1, 0.05, 99.6))
    assert shown[1:5] == ("8,000 /s", "0.80", "0.10 (0.05)", "100")
    assert shown[6:] == ("10,935 /s (0.68 of bare)", "yes")


def test_incomplete_pods_do_not_count() -> None:
    """A pod as a client sends it is refused, by what it lacks."""
    with pytest.raises(RuntimeError, match=r"metadata.managedFields, .*status.qosClass, status.phase is missing"):
        check_complete(pod("web"))


def test_copies_are_objects_of_their_own() -> None:
    """Each has a name, a namespace and a uid of its own, and no resourceVersion; all else is the first's."""
    uid = "0f0e0d0c-0b0a-4908-8706-050403020100"
    metadata = {"resourceVersion": "7", "name": "first", "namespace": "bench", "uid": uid, "labels": {"a": "first"}}
    one = orjson.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": metadata})
    found = dict(copies("pods", one, "other", 3))
    assert list(found) == [f"/registry/core/pods/other/c00000{n}" for n in range(3)]
    trees: list[dict[str, Any]] = [orjson.loads(each)["metadata"] for each in found.values()]
    assert [each["name"] for each in trees] == ["c000000", "c000001", "c000002"]
    assert {each["namespace"] for each in trees} == {"other"}
    assert len({each["uid"] for each in trees} | {uid}) == 4
    assert all("resourceVersion" not in each and each["labels"] == {"a": "first"} for each in trees)


def test_whom_a_watch_is_about() -> None:
    """Whole lines only: the rest comes with the next bytes."""
    line = b'{"type":"ADDED","object":{"metadata":{"name":"w-0-%d"}}}\n'
    assert list(names(line % 1 + line % 2 + (line % 3)[:-1])) == [b"w-0-1", b"w-0-2"]


@pytest.mark.parametrize(
    ("name", "values", "flat"),
    [
        ("control-plane private MiB", [10, 100, 104, 100, 102, 104, 104, 104], True),
        ("control-plane private MiB", [10, 100, 100, 100, 103, 105, 107, 109], False),
        ("node-a private MiB", [10, 20, 20, 20, 20, 21, 21, 21.5], True),
        ("node-a threads", [4, 4, 4, 4, 5, 6, 7, 8], False),
        ("state.db MiB", [0, 40, 40, 40, 40, 41, 41, 41], True),
    ],
)
def test_a_soak_is_flat_or_not(name: str, values: list[float], flat: bool) -> None:
    """By the medians of its second and last quarter; what fills up at first is not held against it."""
    assert soak.is_flat(name, list(enumerate(values, 1))) is flat


def test_a_soak_that_was_looked_at_seldom() -> None:
    """Quarters are of the time: a machine that was slow for a while does not move them."""
    often = [(float(second), 10.0) for second in range(100)]
    seldom = [(150.0, 20.0), (180.0, 20.0), (310.0, 30.0), (350.0, 40.0), (400.0, 40.0)]
    assert soak.quarters([*often, *seldom]) == (20.0, 40.0)
    assert soak.quarters([*often, (300.0, 30.0), (400.0, 40.0)]) == (30.0, 35.0)


@pytest.mark.parametrize(
    ("minutes", "last", "flat"), [(20, 104, True), (60, 104, False), (60, 102, True), (120, 104, True)]
)
def test_what_memory_rises_in_an_hour(minutes: int, last: float, flat: bool) -> None:
    """After most of an hour it counts too: what is small in half an hour may be a leak."""
    values = [100.0] * (minutes // 2) + [last] * (minutes // 2)
    samples = [(60.0 * number, value) for number, value in enumerate(values, 1)]
    assert soak.is_flat("control-plane private MiB", samples) is flat
    assert soak.is_flat("state.db MiB", samples)


def test_memory_that_others_share_is_shown_and_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """PSS grows when somebody else ends who has mapped the same libraries."""
    samples = soak.Samples({
        "node-a private MiB": [(float(second), 50.0) for second in range(1, 9)],
        "node-a PSS MiB": [(float(second), 60.0 + 9 * (second > 5)) for second in range(1, 9)],
    })  # fmt: skip
    assert samples.progress() == "    8 s  private MiB (PSS): node-a 50.0 (69.0)"
    assert samples.report()
    private, shares = (line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:])
    assert (private, shares) == ("yes", "-")
    samples.rows["node-a private MiB"][-2:] = [(7.0, 59.0), (8.0, 59.0)]
    assert not samples.report()


def test_memory_of_a_process() -> None:
    """By what the kernel says: what it wrote itself, and its share of all that it has mapped."""
    text = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss: 90112 kB\nPss: 65536 kB\nPrivate_Clean: 7168 kB\nPrivate_Dirty: 51200 kB\n"
    assert soak.memory(text) == (50.0, 64.0)
    own, shares = soak.memory(Path("/proc/self/smaps_rollup").read_text())
    assert 0 < own <= shares


def test_a_process_that_ends_while_it_is_looked_at() -> None:
    """Is passed over this time, by whichever way it is gone."""
    assert set(soak.of_process(os.getpid())) == {" private MiB", " PSS MiB", " files", " threads"}
    assert soak.of_process(0) == {}
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert soak.of_process(ended.pid) == {}
    ended.wait()
    assert soak.of_process(ended.pid) == {}


def test_the_pace_of_a_soak() -> None:
    """What was late is made up for, unless the machine was busy for long."""
    assert soak.after(10.0, 10.125, 4) == (10.25, 0.125)
    assert soak.after(10.0, 12.0, 4) == (10.25, 0.0)
    assert soak.after(10.0, 20.0, 4) == (15.0, 0.0)
