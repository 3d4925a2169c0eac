"""How much a run of the tests tries: the usual, or with SAMPAN_TEST_THOROUGHLY=1 all that there is.

The usual has each thing once: each transport and each store, but not each with each; a crash after a part of the writes
of a story, from its beginning to its end.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

IS = os.environ.get("SAMPAN_TEST_THOROUGHLY") == "1"


def each(step: int, of: Sequence[T]) -> Sequence[T]:
    """Every so-manieth of these; in a thorough run all."""
    return of if IS else of[::step]
