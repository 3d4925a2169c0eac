"""Save a cluster's objects, keys and settings in one file while it runs, restore them, list those that are kept."""

import argparse
import sys
from pathlib import Path

from sampan.cli import common
from sampan.cli.main import CommandError
from sampan.cluster import settings, snapshots
from sampan.cluster.snapshots import Snapshot, SnapshotError
from sampan.kit.clock import SystemClock


def arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand each."""
    common.cluster_arguments(parser)
    parser.set_defaults(name=None)
    verbs = parser.add_subparsers(dest="verb", required=True)
    save = verbs.add_parser("save", help="save the cluster, while it runs or not")
    save.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where to (default: in DIR/snapshots)")
    restore = verbs.add_parser("restore", help="make a stopped cluster what it was, or a new one, on any machine")
    restore.add_argument(
        "file",
        metavar="FILE",
        help="the snapshot, or the name of one in DIR/snapshots; or a state.db, to go on with it",
    )
    restore.add_argument(
        "--any-cluster", action="store_true", help="replace the cluster that is there, even if FILE is of another one"
    )
    verbs.add_parser("list", help="list the snapshots in DIR/snapshots")
    for after in verbs.choices.values():
        common.cluster_arguments(after, default=argparse.SUPPRESS)  # they may also stand after the verb


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    arguments.is_named = bool(arguments.name)
    arguments.name = arguments.name or settings.DEFAULT_NAME
    verbs = {"save": _save, "restore": _restore, "list": _list}
    try:
        return verbs[arguments.verb](arguments)
    except SnapshotError as error:
        raise CommandError(str(error)) from error


def _save(arguments: argparse.Namespace) -> int:
    cluster = common.existing(arguments)
    target = arguments.file.expanduser().absolute() if arguments.file else None
    made = snapshots.save(cluster, target, SystemClock().now())
    print(f"cluster {cluster.name} at revision {made.revision} is saved in {made.path} ({_size(made)})")
    print("it holds the cluster's keys: who can read it is its administrator")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    directory = common.directory(arguments)
    cluster = common.load(directory)
    path, any_cluster = snapshots.find(arguments.file, cluster), arguments.any_cluster
    if snapshots.is_database(path):
        if cluster is None:
            raise CommandError(f"{path} is a store without keys; for it to be restored there must be a cluster")
        restored, revision = cluster, snapshots.restore_database(cluster, path, any_cluster=any_cluster)
    else:
        if cluster is None and not arguments.is_named and arguments.data_dir is None:
            directory = settings.home() / snapshots.read(path).name  # which is where its name will look for it
            cluster = common.load(directory)
        restored, revision = snapshots.restore(cluster, directory, path, any_cluster=any_cluster)
    named = "" if restored.name == settings.DEFAULT_NAME else f" --name {restored.name}"
    print(f"cluster {restored.name} is restored in {restored.directory} and goes on from revision {revision}")
    print(f"start it with: sampan up{named}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    """Returns 1 when one of them cannot be read."""
    found, broken = snapshots.kept(common.existing(arguments))
    for text in broken:
        print(f"sampan snapshot: {text}", file=sys.stderr)
    if not found and not broken:
        print("no snapshots are kept; make one with: sampan snapshot save")
    rows = [("NAME", "TIME", "REVISION", "SIZE", "VERSION")]
    rows += [(each.path.stem, each.time, str(each.revision), _size(each), each.version) for each in found]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows if found else ():
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 1 if broken else 0


def _size(snapshot: Snapshot) -> str:
    kib = snapshot.size_bytes / 1024
    return f"{kib:.0f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
