"""Quantities: quantity("1.5Gi"), their comparison and arithmetic.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library
"""

from dataclasses import dataclass

from sampan.cel.functions import Overload, traverse
from sampan.cel.types import BOOL, DOUBLE, INT, QUANTITY, STRING
from sampan.cel.values import MAX_INT, MIN_INT, EvaluationError, Opaque
from sampan.meta import quantity

_NANO = 10**9


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    """An exact number; equal to another of the same amount, whatever its unit."""

    amount: quantity.Quantity
    type = QUANTITY

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount.nanos == other.amount.nanos

    def __hash__(self) -> int:
        return hash(self.amount.nanos)

    def __str__(self) -> str:
        """In canonical form."""
        return str(self.amount)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text))
    except ValueError as wrong:
        raise EvaluationError(str(wrong)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


def _is_integer(value: Quantity) -> bool:
    whole, part = divmod(value.amount.nanos, _NANO)
    # The largest amounts are cut off at the limit, so that is no exact integer.
    return not part and MIN_INT < whole < MAX_INT


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return value.amount.nanos // _NANO


def _sign(value: Quantity) -> int:
    return (value.amount.nanos > 0) - (value.amount.nanos < 0)


def _compare(one: Quantity, other: Quantity) -> int:
    return (one.amount.nanos > other.amount.nanos) - (one.amount.nanos < other.amount.nanos)


def _add(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(one.amount + other.amount)


def _sub(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(one.amount - other.amount)


def _of(value: int) -> Quantity:
    return Quantity(quantity.of_int(value))


_TWO = (QUANTITY, QUANTITY)
FUNCTIONS: dict[str, list[Overload]] = {
    "quantity": [Overload("string_to_quantity", (STRING,), QUANTITY, _quantity, cost=traverse())],
    "isQuantity": [Overload("is_quantity_string", (STRING,), BOOL, _is_quantity, cost=traverse())],
    "sign": [Overload("quantity_sign", (QUANTITY,), INT, _sign, member=True)],
    "isInteger": [Overload("quantity_is_integer", (QUANTITY,), BOOL, _is_integer, member=True)],
    "asInteger": [Overload("quantity_as_integer", (QUANTITY,), INT, _as_integer, member=True)],
    "asApproximateFloat": [
        Overload("quantity_as_float", (QUANTITY,), DOUBLE, lambda q: q.amount.nanos / _NANO, member=True)
    ],
    "isLessThan": [Overload("quantity_is_less_than", _TWO, BOOL, lambda a, b: _compare(a, b) < 0, member=True)],
    "isGreaterThan": [Overload("quantity_is_greater_than", _TWO, BOOL, lambda a, b: _compare(a, b) > 0, member=True)],
    "compareTo": [Overload("quantity_compare_to", _TWO, INT, _compare, member=True)],
    "add": [
        Overload("quantity_add", _TWO, QUANTITY, _add, member=True),
        Overload("quantity_add_int", (QUANTITY, INT), QUANTITY, lambda q, i: _add(q, _of(i)), member=True),
    ],
    "sub": [
        Overload("quantity_sub", _TWO, QUANTITY, _sub, member=True),
        Overload("quantity_sub_int", (QUANTITY, INT), QUANTITY, lambda q, i: _sub(q, _of(i)), member=True),
    ],
}
