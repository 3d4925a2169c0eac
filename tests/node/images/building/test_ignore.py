"""What an ignore file leaves out, case by case."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.images.building import ignore

CASES = [
    ("*.md", "a.md", True),
    ("*.md", "d/a.md", False),
    ("**/*.md", "d/e/a.md", True),
    ("**/*.md", "a.md", True),
    ("d", "d/e/a", True),
    ("/d/", "d/a", True),
    ("./d/../e", "e/a", True),
    ("d/*", "d/a/b", True),
    ("d/*", "d", False),
    ("a?c", "abc", True),
    ("a?c", "a/c", False),
    ("[a-c]x", "bx", True),
    ("[^a-c]x", "bx", False),
    ("d/**", "d/e/f", True),
    ("**", "x/y", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("# d\nx", "d", False),
    ("*\n!keep", "keep/x", False),
    ("*\n!keep", "other", True),
    ("d\n!d/keep\nd/keep/no", "d/keep/yes", False),
    ("d\n!d/keep\nd/keep/no", "d/keep/no", True),
    ("!a\na", "a", True),
    ("", "a", False),
]


@pytest.mark.parametrize(("text", "path", "is_out"), CASES)
def test_cases(text: str, path: str, is_out: bool) -> None:
    """The last pattern decides that matches the path or a folder above it."""
    assert ignore.parse(text).leaves_out(path) is is_out


@given(st.text(st.sampled_from("ab*?[]^!-\\/.\n# ")), st.text(st.sampled_from("ab/"), min_size=1))
def test_any_file_is_read_or_refused(text: str, path: str) -> None:
    """Whatever it holds."""
    with contextlib.suppress(ignore.PatternError):
        assert ignore.parse(text).leaves_out(path) in (True, False)
