"""One evaluation's state: the variables' values, and what it has cost so far against its limit."""

from collections.abc import Callable
from typing import Any

from sampan.cel.values import CostExceeded


class Frame:
    """`variables` by key, `cost` so far, `limit` beyond which evaluation is cancelled."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.variables = variables
        self.cost = 0
        self.limit = limit

    def exceeded(self) -> None:
        """Cancel the evaluation."""
        raise CostExceeded("operation cancelled: actual cost limit exceeded")


Run = Callable[[Frame], Any]
