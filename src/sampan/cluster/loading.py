"""How a process loads its code fast.

Nearly everything that is made meanwhile stays, so nobody looks for garbage until that is done: it would take a tenth of
the time; nor among these afterwards. What may wait is made when it is used (`first_use`). Nor does anybody need the world's authorities that aiohttp reads for its own default when it is loaded: every
client of ours has a context of its own.
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
