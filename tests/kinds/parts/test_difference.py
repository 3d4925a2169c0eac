"""What an update changed that it may not: as JSON, one field a line."""

from typing import Any

import pytest

from sampan.kinds.parts import difference

Tree = dict[str, Any]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"hostNetwork": True}, {"hostNetwork": False}, ["- hostNetwork: true", "+ hostNetwork: false"]),
        ({}, {"nodeName": "a"}, ["- nodeName: null", '+ nodeName: "a"']),
        (
            {"containers": [{"name": "c", "env": None, "stdin": True}]},
            {"containers": [{"name": "c", "env": [{"name": "X"}], "stdin": True}]},
            ["- containers[0].env: null", '+ containers[0].env: [{"name":"X"}]'],
        ),
        ({"volumes": [{"name": "a"}]}, {"volumes": []}, ['- volumes: [{"name":"a"}]', "+ volumes: []"]),
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": None}}, ["- a.x: 1", "+ a.x: null", "- a.y: 1", "+ a.y: 2"]),
    ],
)
def test_fields_that_differ(before: Tree, after: Tree, lines: list[str]) -> None:
    """Each by its path, with nothing around it."""
    assert difference.text(before, after).split("\n") == lines
