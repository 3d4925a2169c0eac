"""Steps: a decision taken bit by bit, so that nobody has to wait for the whole of it. Pure.

What is yielded is None, to give way, or a question to an extender; its answer is sent back. `control.steps.run` takes
all of them at once; questions get no answer then.
"""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[Any, Any, T]
