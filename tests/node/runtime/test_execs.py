"""Line ends of a terminal come with exactly one carriage return, wherever the output was cut."""

import pytest

from sampan.node.runtime.execs import _LineEnds


@pytest.mark.parametrize(
    "pieces",
    [[b"a\nb\r\nc\n"], [b"a", b"\nb\r", b"\nc", b"\n"], [b"a\nb", b"\r\n", b"c\n"]],
)
def test_line_ends(pieces: list[bytes]) -> None:
    """Each line ends with one carriage return and one line feed."""
    ends = _LineEnds()
    assert b"".join(ends.mend(piece) for piece in pieces) == b"a\r\nb\r\nc\r\n"
