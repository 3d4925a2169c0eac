"""Sizes of terminals are read as Go's clients and servers read them."""

import pytest

from sampan.node.terminal_sizes import MAX_BYTES, TerminalSizes


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ([b'{"Width":80,"Height":25}'], [(80, 25)]),
        ([b'{"height":25,"width":80}'], [(80, 25)]),
        ([b'{"Width":80,', b'"Height":25}\n{"Width":81,"Height":25}\n'], [(80, 25), (81, 25)]),
        ([b'{"Width":80}', b'{"Width":null,"Height":25}', b"null", b'{"Width":1,"Height":2}'], [(1, 2)]),
        ([b'{"Width":"80","Height":25}', b'{"Width":80,"Height":25}'], []),
        ([b'{"Width":80,"Height":65536}', b'{"Width":80,"Height":25}'], []),
        ([b'{"Width":true,"Height":25}', b'{"Width":80,"Height":25}'], []),
        ([b"[80, 25]", b'{"Width":80,"Height":25}'], []),
        ([b"x" * (MAX_BYTES + 1), b'{"Width":80,"Height":25}'], []),
        ([b"\xff{", b'{"Width":80,"Height":25}'], []),
        ([b"[" * MAX_BYTES, b'{"Width":80,"Height":25}'], []),
    ],
)
def test_sizes(said: list[bytes], heard: list[tuple[int, int]]) -> None:
    """Documents in any pieces, names in any case; a side of 0 changes nothing, and nonsense ends them."""
    sizes = TerminalSizes()
    assert [size for data in said for size in sizes.heard(data)] == heard


def test_what_says_nothing_is_not_kept() -> None:
    """However much of it there is."""
    sizes = TerminalSizes()
    for _ in range(9):
        assert sizes.heard(b" " * MAX_BYTES + b"\n") == []
    assert sizes._rest == ""
