"""Patterns of a schema, matched in time linear in the text: RE2's language, which Go's regexp is.

Python's own `re` backtracks, so that one small pattern could hold the server for hours.

https://github.com/google/re2/wiki/Syntax
"""

from functools import lru_cache

from sampan.cel import regex
from sampan.cel.values import EvaluationError
from sampan.kit.texts import LONGEST


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text. False for a pattern that is none, or that would take minutes."""
    return (_matches if len(text) <= LONGEST else _matches.__wrapped__)(pattern, text)


@lru_cache(maxsize=1024)
def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.compiled_or_error(pattern).search(text)
    except (ValueError, EvaluationError):
        return False


def fault(pattern: str) -> str:
    """What is wrong with a pattern, as Go's regexp says it; "" when nothing is."""
    try:
        regex.compiled_or_error(pattern)
    except ValueError as error:
        return str(error)
    return ""
