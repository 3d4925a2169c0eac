"""The sampan command: finds the subcommand, loads only that, and turns its failures into one line.

Exit codes: 0 done, 1 failed (one line on stderr: what, why, mend), 2 wrong usage.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "up": "start a cluster, or take up one where it was",
    "down": "stop a cluster and leave nothing behind",
    "demo": "a cluster, and a trading day on it in real containers, in minutes",
    "ls": "the clusters on this machine",
    "migrate": "move a cluster that is down to another store",
    "status": "what runs in a cluster",
    "why": "why something is not healthy, and what to do about it",
    "logs": "the logs of a cluster's own processes",
    "snapshot": "save a cluster in a file while it runs, restore it, list what is kept",
    "doctor": "what this machine lacks, and how to mend it",
    "sim": "play scenarios in a simulated cluster, seed by seed",
    "node": "tokens to join by, joining from another machine, leaving, the list of nodes",
    "layers": "the layers above the core, and which are enabled",
    "enable": "enable a layer in a cluster",
    "disable": "disable a layer in a cluster",
    "run": "run a layer beside any other cluster",
    "deploy": "build a folder or compose file, run it, and print where it answers",
    "dev": "the same on each save, with logs",
    "image": "build, load, import, list, save and remove container images",
    "completion": "completion for bash, zsh or fish",
    "version": "the version of Sampan and of the API it serves",
}


_MENDS = {
    errno.EACCES: "mend its permissions, or choose another place",
    errno.EPERM: "mend its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.ENOTDIR: "choose another place",
}


class CommandError(Exception):
    """The command could not do it: one line that says what, why and how to mend it."""


def run(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code."""
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit does not flush in vain
        return 1
    return code


def _run(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    name, rest = ("version", []) if argv[0] == "--version" else (argv[0], list(argv[1:]))
    if name not in COMMANDS:
        print(f"sampan: unknown command {name!r}; see: sampan --help", file=sys.stderr)
        return 2
    module = importlib.import_module(f"sampan.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"sampan {name}", description=module.__doc__)
    module.arguments(parser)
    try:
        arguments = parser.parse_args(rest)
        arguments.command_line = rest
    except SystemExit as ended:
        return int(ended.code or 0)
    try:
        return int(module.run(arguments) or 0)
    except CommandError as error:
        print(f"sampan {name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"sampan {name}: {_explained(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"sampan {name}: interrupted", file=sys.stderr)
        return 1


def _explained(error: OSError) -> str:
    """What the system refused, where, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    mend = _MENDS.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}" + (f"; {mend}" if mend else "")


def usage() -> str:
    """What `sampan --help` prints."""
    lines = [f"  {name:<11} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "Sampan: a Kubernetes-compatible cluster in one command.",
            "",
            "usage: sampan COMMAND [options]",
            "",
            *lines,
            "",
            "First time? Try `sampan demo`, or `sampan up` and then kubectl.",
            "`sampan COMMAND --help` tells more.",
        ]
    )
