"""Wall: what time it is, and a pause, for who has no event loop and so needs no clock, which takes a loop's code."""

import time


def now() -> float:
    """Unix seconds."""
    return time.time()


def pause(seconds: float) -> None:
    """Waits that long, by the kernel's count: time.sleep reckons by a clock, which fails where that is made up (libfaketime)."""
    import select

    select.select((), (), (), seconds)
