"""What a layer's admission rule remembers from one attempt to the next, by term, within a bound."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

MAX_TERMS = 1024


class Memory:
    """What a reviewer remembers, by term; those not heard of for longest are forgotten when there are too many."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Mapping[str, Any]] = OrderedDict()

    def of(self, term: Hashable) -> Mapping[str, Any]:
        return self._kept.get(term, {})

    def keep(self, term: Hashable, memory: Mapping[str, Any]) -> None:
        """An empty one forgets."""
        self._kept.pop(term, None)
        if memory:
            self._kept[term] = memory
        while len(self._kept) > MAX_TERMS:
            self._kept.popitem(last=False)
