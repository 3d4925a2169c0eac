"""Wall: what time it is, for a command that waits for nothing and so needs no clock, which takes an event loop's code."""

import time


def now() -> float:
    """Unix seconds."""
    return time.time()
