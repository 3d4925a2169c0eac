"""Disable a layer in a cluster: it works no longer. What it brought stays, definitions and objects alike."""

import argparse

from sampan.cli import asking, common
from sampan.cli.main import CommandError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layer", metavar="LAYER", help="see: sampan layers")
    common.cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError for a layer that there is none of."""
    from sampan.cluster import layers

    name: str = arguments.layer
    if name not in layers.names():
        raise CommandError(f"there is no layer {name!r}; there are: {', '.join(layers.names())}")
    cluster = common.existing(arguments)
    asking.ask(cluster.path("kubeconfig"), lambda client: layers.disable(client, name))
    print(f"{name} is disabled in {cluster.name}; its definitions and objects stay")
    return 0
