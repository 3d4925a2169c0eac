"""Traces: an error that a cluster raises for its user is shown where the user made the call."""

import asyncio
import contextlib
import os
from pathlib import Path
from types import TracebackType

import sampan
from sampan.meta.status import ApiError

_INSIDE = (f"{Path(sampan.__file__).parent}{os.sep}", f"{Path(asyncio.__file__).parent}{os.sep}", contextlib.__file__)


def shorten(error: BaseException) -> None:
    """Drops what is inside from the end of such an error's traceback, and its first note if that is a story.

    A report tells the story, and more.
    """
    from sampan.cluster.invariants import Violation  # only who fails loads all rules

    if not (isinstance(error, ApiError | TimeoutError | Violation) or type(error) is LookupError):
        return
    last: TracebackType | None = None
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_INSIDE):
            last = trace
        trace = trace.tb_next
    if last is None or last.tb_next is None:
        return
    last.tb_next = None
    if isinstance(error, TimeoutError):
        del getattr(error, "__notes__", [])[:1]
