"""python -m sampan: the sampan command."""

import gc
import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    from sampan.cli.main import run

    code = run(sys.argv[1:])
    gc.freeze()  # what is still there goes with the process: it is not looked through once more for garbage
    sys.exit(code)


if __name__ == "__main__":
    main()
