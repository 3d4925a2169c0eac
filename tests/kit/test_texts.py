"""Texts: what was made of a text is remembered, within bounds."""

import tracemalloc

import orjson
import pytest

from sampan.kit.texts import LONGEST, Texts


def test_a_short_text_is_looked_at_once() -> None:
    """So many of them, then it begins anew."""
    asked: list[str] = []
    texts = Texts(lambda text: asked.append(text) or len(text), most=2)
    assert [texts[text] for text in ("a", "bb", "a", "ccc", "a")] == [1, 2, 1, 3, 1]
    assert asked == ["a", "bb", "ccc", "a"]
    assert len(texts) == 2


def test_a_long_text_is_not_kept() -> None:
    """It may be one of megabytes, of which each request brings another."""
    texts = Texts(len, most=2)
    assert (texts["a" * LONGEST], texts["b" * (LONGEST + 1)]) == (LONGEST, LONGEST + 1)
    assert list(texts) == ["a" * LONGEST]


def test_what_is_no_such_text_is_refused_each_time() -> None:
    """Nothing is remembered of it."""
    texts = Texts(int, most=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            texts["x"]
    assert not texts


def test_json_is_kept_in_its_own_length() -> None:
    """And found again by what orjson gives; how long it may be is said."""
    texts = Texts(orjson.loads, most=1000, longest=10)
    tracemalloc.start()
    try:
        for number in range(1000):
            assert texts[orjson.dumps(number)] == number
        assert tracemalloc.get_traced_memory()[0] < 1000 * 300
    finally:
        tracemalloc.stop()
    assert texts[orjson.dumps("a" * 9)] == "a" * 9
    assert len(texts) == 1000
