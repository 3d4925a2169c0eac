"""Print the logs of a cluster's own processes (for pods: kubectl logs)."""

import argparse
import os
import sys

from sampan.cli import common
from sampan.cli.main import CommandError
from sampan.cluster import host, processes


def arguments(parser: argparse.ArgumentParser) -> None:
    common.cluster_arguments(parser)
    parser.add_argument("process", nargs="?", help="control-plane, or node-NAME (default: all)")
    parser.add_argument("--tail", type=int, default=50, metavar="N", help="the last N lines (default: %(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError for a process that there is none of."""
    cluster = common.existing(arguments)
    known = host.all_processes(cluster)
    chosen = [p for p in known if arguments.process in (None, p.name)]
    if not chosen:
        raise CommandError(f"no process {arguments.process}; there are: {', '.join(p.name for p in known)}")
    if arguments.follow:
        files = [str(p.log) for p in chosen]
        sys.stdout.flush()
        os.execvp("tail", ["tail", "-n", str(arguments.tail), "-F", *files])  # noqa: S606
    for process in chosen:
        if len(chosen) > 1:
            print(f"==> {process.name} <==")
        print(processes.tail(process.log, arguments.tail), file=sys.stdout)
    return 0
