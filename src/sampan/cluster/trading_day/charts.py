"""Charts: numbers over a day as lines of text, of blocks or, where there are none, of plain letters. Pure."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
Point = tuple[float, float]
"""A share of the day, and a value."""


def columns(points: Sequence[Point], width: int) -> list[float | None]:
    """The highest value in each of so many equal parts of the day; what lies between two points is as at the first."""
    found: list[float | None] = [None] * width
    for share, value in points:
        index = min(max(int(share * width), 0), width - 1)
        found[index] = max(found[index] or 0.0, value)
    last = max((index for index, value in enumerate(found) if value is not None), default=-1)
    for index in range(1, last):
        found[index] = found[index - 1] if found[index] is None else found[index]
    return found


def area(values: Sequence[float | None], top: float, height: int) -> list[str]:
    """Lines from the top down, filled up to the values."""
    steps = len(BLOCKS) - 1
    levels = [0 if not value else max(round(value / top * height * steps), 1) for value in values]
    return [
        "".join(BLOCKS[min(max(level - row * steps, 0), steps)] for level in levels) for row in reversed(range(height))
    ]


def axis(width: int, marks: Sequence[tuple[float, str]]) -> tuple[str, str]:
    """A line with ticks at these shares of the day, and one with their names; names that would touch are left out."""
    ticks, names = ["─"] * width, [" "] * width
    free = 0
    for share, name in marks:
        index = round(share * (width - 1))
        start = min(max(index - len(name) // 2, 0), width - len(name))
        if start < free:
            continue
        ticks[index] = "┴"
        names[start : start + len(name)] = name
        free = start + len(name) + 1
    return "".join(ticks), "".join(names)


def bar(filled: int, partly: int, whole: int) -> str:
    """So many full, then up to so many begun, then what room is left: ███▒▒··"""
    begun = max(partly - filled, 0)
    return "█" * filled + "▒" * begun + "·" * max(whole - filled - begun, 0)
