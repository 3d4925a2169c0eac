"""The control plane's process as `sampan up` starts it.

python -m sampan.cluster.control_plane_process DIR [READY_FD]
"""

from sampan.cluster import first_use, loading, processes


def main() -> None:
    """Loads the control plane, and runs it."""
    processes.heed_signals()
    first_use.modules()
    with loading.fast():
        from sampan.cluster import control_plane

        main = control_plane.main  # which loads it
    main()


if __name__ == "__main__":
    main()
