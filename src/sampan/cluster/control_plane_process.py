"""The control plane's process as `sampan up` starts it.

python -m sampan.cluster.control_plane_process DIR [READY_FD]
"""

from sampan.cluster import loading, processes


def main() -> None:
    """Loads the control plane, and runs it."""
    processes.heed_signals()
    with loading.fast():
        from sampan.cluster import control_plane
    control_plane.main()


if __name__ == "__main__":
    main()
