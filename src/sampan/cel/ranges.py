"""Pairs of least and most: sizes and costs that are only known to lie between two numbers.

Arithmetic stops at 2**64 - 1, which stands for unknown.
"""

Range = tuple[int, int]

MOST = (1 << 64) - 1
FREE: Range = (0, 0)
ONE: Range = (1, 1)
UNKNOWN: Range = (0, MOST)


def fixed(size: int) -> Range:
    """Exactly that."""
    return (size, size)


def add(one: Range, other: Range) -> Range:
    """The sum."""
    return (min(one[0] + other[0], MOST), min(one[1] + other[1], MOST))


def times(one: Range, other: Range) -> Range:
    """The product."""
    return (min(one[0] * other[0], MOST), min(one[1] * other[1], MOST))


def scaled(size: Range, numerator: int, denominator: int) -> Range:
    """Times a fraction, rounded up."""
    least, most = (-(-bound * numerator // denominator) for bound in size)
    return (min(least, MOST), min(most, MOST) if size[1] < MOST else -(-MOST * numerator // denominator))


def tenth(size: Range) -> Range:
    """What going through a string of that size costs."""
    return scaled(size, 1, 10)


def union(*ranges: Range) -> Range:
    """What holds all of them."""
    return (min(r[0] for r in ranges), max(r[1] for r in ranges))
