"""Numbers in specs: not negative, and integers or percentages."""

from collections.abc import Mapping
from typing import Any

from sampan.meta import names
from sampan.meta.status import Cause, invalid_value

NOT_NEGATIVE = "must be greater than or equal to 0"


def negative_causes(tree: Mapping[str, Any], path: str, *fields: str) -> list[Cause]:
    """One cause for each of `fields` that is there and below zero."""
    found = []
    for field in fields:
        value = tree.get(field)
        if isinstance(value, int) and value < 0:
            found.append(invalid_value(f"{path}.{field}", value, NOT_NEGATIVE))
    return found


def int_or_percent_causes(value: Any, path: str, *, at_most_all: bool = False) -> list[Cause]:
    """A count or a text such as "25%"; with `at_most_all`, no more than 100%."""
    if isinstance(value, int):
        return [invalid_value(path, value, NOT_NEGATIVE)] if value < 0 else []
    found = [invalid_value(path, value, text) for text in names.percent(str(value))]
    if not found and at_most_all and (len(number := value[:-1].lstrip("0")) > 3 or int(number or 0) > 100):
        found.append(invalid_value(path, value, "must not be greater than 100%"))
    return found


def is_zero(value: Any) -> bool:
    """Whether a count or percentage is none at all."""
    return value in (0, "0", "0%")
