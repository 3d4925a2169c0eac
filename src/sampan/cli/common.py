"""What several commands share: how a cluster is named, found and reported on."""

import argparse
from pathlib import Path

from sampan.cli.main import CommandError
from sampan.cluster import settings


def cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """--name and --data-dir, which say which cluster is meant."""
    parser.add_argument("--name", default=settings.DEFAULT_NAME, help="the cluster's name (default: %(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="its directory (default: ~/.local/share/sampan/NAME)"
    )


def directory(arguments: argparse.Namespace) -> Path:
    """Where the cluster that is meant lives, whether it exists or not."""
    if arguments.data_dir is not None:
        return Path(arguments.data_dir).expanduser().absolute()
    name: str = arguments.name
    if not name or not name.replace("-", "a").isalnum() or len(name) > 40 or name != name.lower():
        raise CommandError(f"{name!r} cannot be a cluster's name: use lower-case letters, digits and dashes")
    for found in settings.known_directories():
        known = settings.load(found)
        if known is not None and known.name == name:
            return found
    return settings.home() / name


def existing(arguments: argparse.Namespace) -> settings.Settings:
    """The settings of the cluster that is meant. CommandError when there is none."""
    where = directory(arguments)
    found = settings.load(where)
    if found is None:
        raise CommandError(f"there is no cluster in {where}; start one with: sampan up")
    return found
