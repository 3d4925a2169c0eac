"""The control plane's process as `sampan up` starts it.

    python -m sampan.cluster.control_plane_process DIR [READY_FD]

Keys are made meanwhile, by a process that comes of this one as soon as both have what reads and writes them: agents,
which are started at the same time, need them before the rest is loaded.
"""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sampan.cluster import first_use, loading, processes

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Loads the control plane, and runs it."""
    processes.heed_signals()
    first_use.modules()
    wait_for_keys = _make_keys(Path(sys.argv[1]))
    with loading.fast():
        from sampan.cluster import control_plane

        main = control_plane.main  # which loads it
    wait_for_keys()
    main()


def _make_keys(directory: Path) -> Callable[[], object]:
    """Returns at once how to wait for the process that makes them.

    What goes wrong there the control plane tells, which tries again.
    """
    from sampan.cluster import pki, settings
    from sampan.kit import wall

    ensure = pki.ensure  # which loads it, for both
    parent = os.getpid()
    child = os.fork()
    if child:
        return functools.partial(_wait, child)
    try:
        _end_with(parent)
        with contextlib.suppress(OSError, ValueError, settings.SettingsError):
            cluster = settings.load(directory)
            if cluster is not None:
                from sampan.cluster import log_format

                log_format.configure(cluster.log_format)
                ensure(cluster, wall.now())
    finally:
        os._exit(0)


def _wait(child: int) -> None:
    """Until it has ended, also where nobody keeps how it did."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def _end_with(parent: int) -> None:
    """This process is killed as soon as its parent has ended: where that was taken down no keys are to appear any more."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main()
