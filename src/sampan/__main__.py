"""python -m sampan: the sampan command."""

import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    from sampan.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
