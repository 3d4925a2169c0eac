"""The control plane's process as `sampan up` starts it.

    python -m sampan.cluster.control_plane_process DIR [READY_FD]

Nearly everything that is made while code is loaded stays, so nobody looks for garbage until that is done: it would
take a tenth of the time.
"""

import gc


def main() -> None:
    """Loads the control plane, and runs it."""
    gc.disable()
    from sampan.cluster import control_plane

    gc.enable()
    control_plane.main()


if __name__ == "__main__":
    main()
