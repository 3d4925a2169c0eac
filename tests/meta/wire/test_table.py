"""Tables: the server prints, kubectl lays out."""

import pytest

from sampan.kinds.kind import Column
from sampan.meta.wire import table

POD = {"kind": "Pod", "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"n": 2}}
NOW = 1767225600.0 + 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"),
        (600, "10m"), (10799, "179m"), (10800, "3h"), (11000, "3h3m"), (28800, "8h"), (172799, "47h"), (172800, "2d"),
        (180000, "2d2h"), (691200, "8d"), (63071999, "729d"), (63072000, "2y"), (64000000, "2y10d"), (252288000, "8y"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    """As kubectl shows ages."""
    assert table.human_duration(seconds) == text


def test_a_table() -> None:
    """Name comes by itself; paths and functions give the cells."""
    columns = (
        Column("Ready", lambda obj, now: "1/1"),
        Column("N", "status.n", kind="integer"),
        Column("M", "status.m.x", kind="integer", wide=True),
        Column("Age", "metadata.creationTimestamp"),
    )
    made = table.table(columns, [POD], NOW, "Metadata", "7")
    assert [c["name"] for c in made["columnDefinitions"]] == ["Name", "Ready", "N", "M", "Age"]
    assert [c["priority"] for c in made["columnDefinitions"]] == [0, 0, 0, 1, 0]
    assert made["metadata"] == {"resourceVersion": "7"}
    assert made["rows"][0]["cells"] == ["a", "1/1", 2, 0, "3m20s"]
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": POD["metadata"],
    }  # fmt: skip


def test_rows_carry_what_was_asked_for() -> None:
    """includeObject: Object gives the whole, None nothing; without columns there is the creation time."""
    whole = table.table((), [POD], NOW, "Object")
    assert whole["rows"][0] == {"cells": ["a", "2026-01-01T00:00:00Z"], "object": POD}
    assert table.table((), [POD], NOW, "None")["rows"][0]["object"] is None
    assert table.without_columns(whole)["columnDefinitions"] is None
    assert whole["columnDefinitions"] is not None
