"""Descriptors: a server has a connection for each client, so it takes as many as it is allowed to have.

What it is given at first is what programs that use select(2) can bear.
"""

import contextlib
import resource

MOST = 1 << 20


def take_all() -> None:
    """Raises the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if wanted > soft != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
