"""IntOrString: a count, or a percentage of a total, as maxSurge and maxUnavailable have it; and counts in texts.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/
"""

import re
from typing import Any

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)


def scaled(value: Any, total: int, round_up: bool) -> int:
    """The count `value` means: itself, or its percentage of `total`, rounded up or down.

    ValueError for a text that is no percentage.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or re.fullmatch(r"[+-]?[0-9]+%", value, re.ASCII) is None:
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    share = int(value[:-1]) * total
    return -(-share // 100) if round_up else share // 100


def whole(text: str) -> int | None:
    """The number that a text (an annotation, say) is; None for any other, and for one that no 64 bits hold."""
    if _WHOLE.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def is_percent(value: Any) -> bool:
    """Whether the value is a percentage such as "25%"."""
    return isinstance(value, str) and re.fullmatch("[0-9]+%", value, re.ASCII) is not None
