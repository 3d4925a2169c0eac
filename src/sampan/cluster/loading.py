"""How a process loads its code fast.

Nearly everything that is made meanwhile stays, so the search for garbage is off until that is done: it would take a
tenth of the time. Nor are these things searched later. What may wait is made when it is used (`first_use`). aiohttp reads
the world's authorities for a default of its own when it is loaded; every client of ours has its own, so it finds none.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.cluster import first_use

_AUTHORITIES = "SSL_CERT_FILE"


@contextmanager
def fast() -> Iterator[None]:
    """What is imported within is loaded so."""
    gc.disable()
    try:
        _make_default()
        with first_use.methods():
            yield
        gc.freeze()
    finally:
        gc.enable()


def _make_default() -> None:
    given = os.environ.get(_AUTHORITIES)
    os.environ[_AUTHORITIES] = os.devnull
    try:
        import aiohttp  # noqa: F401 (its default is made now)
    finally:
        del os.environ[_AUTHORITIES]
        if given is not None:
            os.environ[_AUTHORITIES] = given
