"""Traces: an error that a cluster raises for its user is shown where the user made the call."""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType

import sampan
from sampan.meta.status import ApiError

_INSIDE = (str(Path(sampan.__file__).parent), str(Path(asyncio.__file__).parent), contextlib.__file__)


def shorten(error: BaseException) -> None:
    """Drops what is inside from the end of such an error's traceback, and the story that a report tells."""
    if not (isinstance(error, ApiError | TimeoutError) or type(error) is LookupError):
        return
    last: TracebackType | None = None
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_INSIDE):
            last = trace
        trace = trace.tb_next
    if last is not None and last.tb_next is not None:
        last.tb_next = None
        error.__notes__ = []
