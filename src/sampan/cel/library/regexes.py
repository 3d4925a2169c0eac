"""Regular expressions: find and findAll; matches is a standard function.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-regex-library
"""

from sampan.cel import regex
from sampan.cel.functions import Overload
from sampan.cel.library.standard import matches_cost
from sampan.cel.types import INT, STRING, list_of


def _find(text: str, pattern: str) -> str:
    span = regex.compiled(pattern).find(text)
    return "" if span is None else text[span[0] : span[1]]


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    return list(regex.compiled(pattern).find_all(text, limit))


_TEXTS = list_of(STRING)
FUNCTIONS: dict[str, list[Overload]] = {
    "find": [Overload("string_find_string", (STRING, STRING), STRING, _find, True, matches_cost)],
    "findAll": [
        Overload("string_find_all_string", (STRING, STRING), _TEXTS, _find_all, True, matches_cost),
        Overload("string_find_all_string_int", (STRING, STRING, INT), _TEXTS, _find_all, True, matches_cost),
    ],
}
