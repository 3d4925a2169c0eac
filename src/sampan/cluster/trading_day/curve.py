"""Curve: how many orders a second a trading day brings, from the quiet before nine to the close.

A day is that of the exchange in Shanghai, 09:00 to 15:30, in its own time or squeezed into minutes. The opening takes eight
minutes from the valley to twenty times of it; then come a long morning, a break for lunch, and the close. Pure.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

VALLEY_PER_SECOND, PEAK_PER_SECOND = 8.0, 160.0
MINUTES = 390.0
FULL_SECONDS = 60 * MINUTES
FIRST_MINUTE = 9 * 60
ZONE_SECONDS = 8 * 3600
LEAD_SECONDS = 18.0
"""What the schedule needs at least between its word and the rush: containers have to start."""
OPENING_MINUTE = 24.0
_APPLIED_SECONDS = 3.0
"""And what it takes to tell the schedule."""

_POINTS = (
    (0.0, 1.0),
    (OPENING_MINUTE, 1.0),  # 09:24
    (32.0, 20.0),  # 09:32, the peak
    (40.0, 20.0),
    (50.0, 10.0),
    (70.0, 5.0),
    (105.0, 3.0),
    (148.0, 3.0),
    (156.0, 2.0),  # 11:36, lunch
    (238.0, 2.0),
    (246.0, 4.5),  # 13:06
    (280.0, 3.0),
    (340.0, 3.0),
    (352.0, 10.0),  # 14:52, the close
    (360.0, 10.0),
    (368.0, 1.5),
    (MINUTES, 1.0),
)
_MOMENTS = tuple(minute / MINUTES for minute, _ in _POINTS)


def rate(share: float, peak: float = PEAK_PER_SECOND) -> float:
    """Orders a second when so much of the day is over; before it and after it the valley's, a twentieth of the peak."""
    valley = peak / 20
    index = bisect_right(_MOMENTS, share)
    if index in (0, len(_POINTS)):
        return valley
    before, after = _POINTS[index - 1][1], _POINTS[index][1]
    way = (share - _MOMENTS[index - 1]) / (_MOMENTS[index] - _MOMENTS[index - 1])
    return valley * (before + (after - before) * (1 - math.cos(math.pi * way)) / 2)


@dataclass(frozen=True, slots=True)
class Day:
    """When it begins (unix seconds), and how long it takes. Moments of it are shares from 0 to 1."""

    begins: float
    seconds: float = FULL_SECONDS

    def share(self, now: float) -> float:
        return (now - self.begins) / self.seconds

    def at(self, share: float) -> float:
        """Unix seconds."""
        return self.begins + share * self.seconds

    @property
    def is_genuine(self) -> bool:
        """Whether it is one of the exchange's own, so that schedules by the clock fit as they are."""
        days, seconds = divmod(self.begins + ZONE_SECONDS, 86400.0)
        is_weekday = (int(days) + 3) % 7 < 5  # 1970 began on a Thursday
        return self.seconds == FULL_SECONDS and seconds == FIRST_MINUTE * 60 and is_weekday


def day(now: float, seconds: float) -> Day:
    """A day of that length that begins as soon as the schedule has time enough before its opening."""
    opening = OPENING_MINUTE / MINUTES * seconds
    return Day(now + max(LEAD_SECONDS + _APPLIED_SECONDS - opening, 0.0), seconds)


def clock(share: float) -> str:
    """What the exchange's clock shows: 09:41."""
    hours, minutes = divmod(FIRST_MINUTE + math.floor(share * MINUTES + 1e-6), 60)
    return f"{hours % 24:02}:{minutes:02}"


def moment(hour: int, minute: float) -> float:
    """The share of the day at that time of the exchange's clock."""
    return (60 * hour + minute - FIRST_MINUTE) / MINUTES
