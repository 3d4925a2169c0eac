"""What several commands share: how a cluster is named, found and reported on."""

import argparse
from pathlib import Path

from sampan.cli.main import CommandError
from sampan.cluster import host, settings


def cluster_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--name and --data-dir, which say which cluster is meant."""
    parser.add_argument(
        "--name",
        type=_name,
        default=default or settings.DEFAULT_NAME,
        help=f"the cluster's name (default: {settings.DEFAULT_NAME})",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=default,
        metavar="DIR",
        help="its directory (default: ~/.local/share/sampan/NAME)",
    )


def directory(arguments: argparse.Namespace) -> Path:
    """Where the cluster that is meant lives, whether it exists or not."""
    if arguments.data_dir is not None:
        return Path(arguments.data_dir).expanduser().absolute()
    name: str = arguments.name
    found = [cluster for cluster in settings.known_clusters() if cluster.name == name]
    found.sort(key=host.is_running, reverse=True)
    return found[0].directory if found else settings.home() / name


def load(where: Path) -> settings.Settings | None:
    """The settings of the cluster in this directory, if there is one."""
    try:
        return settings.load(where)
    except settings.SettingsError as error:
        raise CommandError(str(error)) from error


def existing(arguments: argparse.Namespace) -> settings.Settings:
    """The settings of the cluster that is meant. CommandError when there is none."""
    where = directory(arguments)
    found = load(where)
    if found is None:
        raise CommandError(f"there is no cluster in {where}; start one with: sampan up")
    return found


def _name(text: str) -> str:
    if not settings.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be a cluster's name: use up to 40 lower-case letters, digits and inner dashes"
        )
    return text
