"""JSON that is kept takes no more memory than it is long."""

import tracemalloc

import orjson

from sampan.kit import compact_json


def test_what_is_kept_is_small() -> None:
    """The text is orjson's, with its options; what orjson gives itself takes pages."""
    tree = {"b": 1, "a": ["x"]}
    assert compact_json.dumps(tree) == b'{"b":1,"a":["x"]}'
    assert compact_json.dumps(tree, orjson.OPT_SORT_KEYS) == b'{"a":["x"],"b":1}'
    tracemalloc.start()
    try:
        kept = [compact_json.dumps(tree) for _ in range(1000)]
        assert tracemalloc.get_traced_memory()[0] < 1000 * 200
    finally:
        tracemalloc.stop()
    assert len(kept) == 1000
