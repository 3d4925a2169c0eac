"""The control plane's process as `sampan up` starts it.

    python -m sampan.cluster.control_plane_process DIR [READY_FD]

Nearly everything that is made while code is loaded stays, so nobody looks for garbage until that is done: it would
take a tenth of the time. Nor does anybody need the world's authorities that aiohttp reads for its own default when it
is loaded: every client of ours has a context of its own.
"""

import gc
import os

AUTHORITIES = "SSL_CERT_FILE"


def main() -> None:
    """Loads the control plane, and runs it."""
    gc.disable()
    given = os.environ.get(AUTHORITIES)
    os.environ[AUTHORITIES] = os.devnull
    from sampan.cluster import control_plane

    os.environ.pop(AUTHORITIES)
    if given is not None:
        os.environ[AUTHORITIES] = given
    gc.enable()
    control_plane.main()


if __name__ == "__main__":
    main()
