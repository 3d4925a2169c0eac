"""Field sets are written in upstream's order."""

import json

import pytest

from sampan.meta.apply import ordering


@pytest.mark.parametrize(
    "paths",
    [
        [".", "f:image", "f:name", "f:ports"],
        ["f:labels", 'k:{"name":"a"}', 'v:"x"', "i:2", "i:10"],
        [".", 'k:{"port":80,"protocol":"TCP"}', 'k:{"port":80,"protocol":"UDP"}', 'k:{"port":443,"protocol":"TCP"}'],
        [".", 'k:{"port":"80"}', 'k:{"port":"http"}'],
        [".", "v:2", "v:10", 'v:"1"', 'v:"b"', "v:true", "v:null"],
        ["f:a", "i:1", "", "i:x", "k:[]", "v:{"],
    ],
)
def test_paths_have_an_order(paths: list[str]) -> None:
    """Whatever order they were met in; numbers by their size."""
    backwards = {path: {"f:b": {}, "f:a": {".": {}}} for path in reversed(paths)}
    found = ordering.ordered(backwards)
    assert found == backwards
    assert list(found) == paths
    assert json.dumps(found[paths[0]]) == '{"f:a": {".": {}}, "f:b": {}}'
    assert ordering.ordered(found) is found
