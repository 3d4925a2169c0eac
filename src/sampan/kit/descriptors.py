"""Descriptors: a server has a connection for each client, so it takes as many as it is allowed to have.

What it is given at first is what programs that use select(2) can bear, so those that know nothing of us are to find the same.
"""

import contextlib
import resource

MOST = 1 << 20

_given: tuple[int, int] | None = None


def take_all() -> None:
    """Raises the soft limit to the hard one."""
    global _given  # noqa: PLW0603 (a process has one)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if wanted > soft != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            _given = soft, hard


def bounded(limits: tuple[int, int]) -> tuple[int, int]:
    """Limits, soft and hard, that what this process starts can have: it may have a lower hard one than earlier ones had."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return limits
    return min(limits[0], hard), min(limits[1], hard)


def given() -> tuple[int, int] | None:
    """The limits, soft and hard, before all were taken; None where they are still the same."""
    return _given
