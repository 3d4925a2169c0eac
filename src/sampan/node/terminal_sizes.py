"""The sizes of a caller's terminal, as its channel for them says: JSON documents one after another, wherever messages end.

They are read as Go reads them: names in any case, what is not told is 0. What is no size ends them for good; one with a
side of 0 changes nothing.
"""

import json

MAX_BYTES = 4096
"""Of a document that is not whole yet."""
MAX_SIDE = 65535
_DECODER = json.JSONDecoder()


class TerminalSizes:
    """What was said so far."""

    def __init__(self) -> None:
        self._rest = ""
        self._is_over = False

    def heard(self, data: bytes) -> list[tuple[int, int]]:
        """The sizes, as (width, height), that are whole now."""
        if self._is_over:
            return []
        found = []
        self._rest = (self._rest + data.decode("latin-1")).lstrip()
        while text := self._rest:
            try:
                document, end = _DECODER.raw_decode(text)
                size = _size(document)
            except json.JSONDecodeError:
                self._is_over = len(text) > MAX_BYTES
                break
            except (RecursionError, TypeError, ValueError):
                self._is_over = True
                break
            self._rest = text[end:].lstrip()
            if all(size):
                found.append(size)
        return found


def _size(document: object) -> tuple[int, int]:
    """Width and height. Raises TypeError or ValueError for what is none."""
    if not isinstance(document, dict | None):
        raise TypeError("no object")
    told = {name.lower(): value for name, value in (document or {}).items() if value is not None}
    sides = told.get("width", 0), told.get("height", 0)
    for side in sides:
        if type(side) is not int or not 0 <= side <= MAX_SIDE:
            raise ValueError("no side of a terminal")
    return sides
