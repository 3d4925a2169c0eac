"""A view that is drawn again and again in its place on a terminal; where there is none, lines now and then."""

import os
import shutil
import sys
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from sampan.cluster.trading_day import curve, screen
from sampan.cluster.trading_day.figures import Record

HEIGHT = 24
LINE_SECONDS = 10.0
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_END_OF_LINE, _END_OF_SCREEN = "\x1b[K\n", "\x1b[J"


class View(Protocol):
    """Shows how the day goes."""

    def show(self, record: Record) -> None:
        """As it is now."""
        ...

    def end(self) -> None:
        """Leaves the terminal as it was."""
        ...


def of_this_terminal() -> View:
    """In its place where that is possible, and there is room for it."""
    size = shutil.get_terminal_size()
    is_roomy = size.columns > screen.LEAST_WIDTH and size.lines > screen.LEAST_HEIGHT
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and is_roomy:
        return InPlace()
    return Lines(monotonic)


class InPlace:
    """The whole view, over the one before."""

    def __init__(self) -> None:
        self._drawn = 0

    def show(self, record: Record) -> None:
        size = shutil.get_terminal_size()
        lines = screen.lines(record, size.columns - 1, min(HEIGHT, size.lines - 1), colour="NO_COLOR" not in os.environ)
        back = f"\x1b[{self._drawn}F" if self._drawn else _HIDE
        sys.stdout.write(back + "".join(line + _END_OF_LINE for line in lines) + _END_OF_SCREEN)
        sys.stdout.flush()
        self._drawn = len(lines)

    def end(self) -> None:
        sys.stdout.write(_SHOW)
        sys.stdout.flush()


class Lines:
    """What happens when it happens, and the figures every ten seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told = 0
        self._next = 0.0

    def show(self, record: Record) -> None:
        for happening in record.happenings[self._told :]:
            print(f"  {curve.clock(happening.share)}  {happening.text}", flush=True)
        self._told = len(record.happenings)
        if record.samples and self._clock() >= self._next:
            self._next = self._clock() + LINE_SECONDS
            print(f"  {screen.plain(record)}", flush=True)

    def end(self) -> None:
        pass
