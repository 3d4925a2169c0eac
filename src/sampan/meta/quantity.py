"""Quantities: exact numbers with units, such as 250m of a CPU or 1.5Gi of memory.

Held exactly in billionths; finer fractions are rounded away from zero, as upstream does.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sampan.kit.texts import Texts

_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_BAD_NUMBER = "unable to parse numeric part of quantity"
_BAD_SUFFIX = "unable to parse quantity's suffix"
# Possessive, so that a long wrong text takes no longer than its length.
_SHAPE = re.compile(r"([+-]?)([0-9]*+)(?:\.([0-9]*+))?([eEinumkKMGTP]*+[-+]?[0-9]*+)", re.ASCII)

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}
_NANO = 10**9
_MOST_DIGITS = 3000
_MOST_SHORT_DIGITS = 18
_LARGEST_INT = 2**63 - 1
_LARGEST = _LARGEST_INT * _NANO


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """`nanos` is the value in billionths; `style` (DecimalSI, BinarySI, DecimalExponent) is how it prints.

    `text` is how it was given, when that is good enough to be kept.
    """

    nanos: int = 0
    style: str = "DecimalSI"
    text: str = field(default="", compare=False)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos + other.nanos, self.style if self.nanos else other.style)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos - other.nanos, self.style if self.nanos else other.style)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nanos, self.style)

    def __mul__(self, times: int) -> "Quantity":
        return Quantity(self.nanos * times, self.style)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __float__(self) -> float:
        try:
            return self.nanos / _NANO
        except OverflowError:
            return math.inf if self.nanos > 0 else -math.inf

    def __str__(self) -> str:
        return self.text or _show(self.nanos, self.style)

    @property
    def to_int(self) -> int:
        """Whole units, rounded away from zero: bytes, pieces. As many as 64 bits hold, at most."""
        return _divide_up(_held(self.nanos), _NANO)

    @property
    def to_milli(self) -> int:
        """Thousandths, rounded away from zero: millicores. Of as many units as 64 bits hold, at most."""
        return _divide_up(_held(self.nanos), 10**6)


ZERO = Quantity()


def parse(value: Any) -> Quantity:
    """The quantity a field holds (text or JSON number); ValueError in upstream's words."""
    return _PARSED[value if isinstance(value, str) else str(value)]


def to_int(value: Any) -> int:
    """Whole units of a field's value, rounded up."""
    return parse(value).to_int


def to_milli(value: Any) -> int:
    """Thousandths of a field's value, rounded up."""
    return parse(value).to_milli


def canonical(value: Any) -> str:
    """The text upstream stores: 0.5 becomes 500m, 1024Mi becomes 1Gi."""
    return str(parse(value))


def canonical_milli(value: Any) -> str:
    """The text upstream stores in a ResourceList, where thousandths are the finest: 1u becomes 1m."""
    found = parse(value)
    return str(found if found.nanos % 10**6 == 0 else Quantity(_divide_up(found.nanos, 10**6) * 10**6, found.style))


def add(one: Any, other: Any) -> str:
    """The sum of two fields' values, as text."""
    return str(parse(one) + parse(other))


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1, as the first is less than, equal to or greater than the second."""
    left, right = parse(one).nanos, parse(other).nanos
    return (left > right) - (left < right)


def validate(value: Any) -> str | None:
    """What is wrong with a field's value, None when it is a quantity."""
    try:
        parse(value)
    except ValueError as error:
        return str(error)
    return None


def of_int(value: int, *, binary: bool = False) -> Quantity:
    """A whole number; `binary` prints 1Gi rather than 1073741824."""
    return Quantity(value * _NANO, "BinarySI" if binary else "DecimalSI")


def of_milli(value: int) -> Quantity:
    """Thousandths, such as millicores."""
    return Quantity(value * 10**6)


def _parse(text: str) -> Quantity:
    found = _SHAPE.fullmatch(text)
    if found is None or not text:
        raise ValueError(_WRONG)
    sign, given, decimals, suffix = found.groups()
    base, exponent, style = _suffix(suffix)
    whole, fraction = given.lstrip("0"), decimals or ""
    is_short = _is_short(style, exponent, whole or "0", None if style == "BinarySI" and not fraction else fraction)
    if len(given) + len(fraction) > _MOST_DIGITS or not (given or fraction or is_short):
        raise ValueError(_BAD_NUMBER)
    number = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction)) * Fraction(base) ** exponent
    scaled = number * _NANO
    nanos = -(-scaled.numerator // scaled.denominator)
    if style == "BinarySI":
        nanos = min(nanos, _LARGEST)
        style = "DecimalSI" if 0 < nanos < _NANO else style
    is_kept = is_short and _is_kept(style, exponent, whole, fraction)
    return Quantity(-nanos if sign == "-" else nanos, style, text if is_kept else "")


def _is_short(style: str, exponent: int, whole: str, fraction: str | None) -> bool:
    """Whether upstream reads it into 64 bits, which forgives a missing number and keeps some texts as they are."""
    if style == "BinarySI":
        return fraction is None and len(whole) + exponent * 3 <= 14
    digits = fraction or ""
    return len(whole) + len(digits) <= _MOST_SHORT_DIGITS and exponent - len(digits) >= -9


def _is_kept(style: str, exponent: int, whole: str, fraction: str) -> bool:
    """Whether upstream takes the text for the canonical one: 1.125 and +5, and not 1.5, which becomes 1500m."""
    if style == "BinarySI":
        return int(whole or "0") % 8 != 0
    return (exponent - len(fraction)) % 3 == 0 and whole != "" and not (whole + fraction).endswith("000")


_PARSED = Texts(_parse, 1024)


def _suffix(text: str) -> tuple[int, int, str]:
    if text in _DECIMAL:
        return 10, _DECIMAL[text], "DecimalSI"
    if text in _BINARY:
        return 1024, _BINARY[text], "BinarySI"
    found = re.fullmatch("[eE]([+-]?[0-9]{1,3})", text, re.ASCII)
    if found is None:
        raise ValueError(_BAD_SUFFIX)
    return 10, int(found[1]), "DecimalExponent"


def _held(nanos: int) -> int:
    return max(-_LARGEST, min(nanos, _LARGEST))


def _divide_up(value: int, unit: int) -> int:
    magnitude = -(-abs(value) // unit)
    return magnitude if value >= 0 else -magnitude


def _show(nanos: int, style: str) -> str:
    if nanos == 0:
        return "0"
    is_small = abs(nanos) < 1024 * _NANO
    if style == "BinarySI" and not is_small and nanos % _NANO == 0:
        value, power = nanos // _NANO, 0
        while value % 1024 == 0 and power < max(_BINARY_SUFFIX):
            value, power = value // 1024, power + 1
        return f"{value}{_BINARY_SUFFIX[power]}"
    value, exponent = nanos, -9
    while value % 1000 == 0:
        value, exponent = value // 1000, exponent + 3
    if style == "DecimalExponent" or exponent not in _DECIMAL_SUFFIX:
        return f"{value}e{exponent}" if exponent else str(value)
    return f"{value}{_DECIMAL_SUFFIX[exponent]}"
