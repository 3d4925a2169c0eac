"""Enable a layer in a cluster: its definitions, controllers and rules work from now on, also after a restart."""

import argparse
import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from sampan.cli import asking, common
from sampan.cli.main import CommandError

if TYPE_CHECKING:
    from sampan.client.api import Client

WAIT_SECONDS = 20.0
LOOK_SECONDS = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layer", metavar="LAYER", help="see: sampan layers")
    common.cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns when it works. Raises CommandError for a layer that there is none of, and for one that doesn't work yet."""
    from sampan.cluster import layers

    try:
        layer = layers.load(arguments.layer)
    except LookupError as error:
        raise CommandError(str(error.args[0])) from error
    cluster = common.existing(arguments)

    async def enabled(client: "Client") -> str:
        await layers.enable(client, layer.name)
        deadline, state = monotonic() + WAIT_SECONDS, ""
        while state != layers.READY and monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            state = (await layers.read(client)).get(layer.name, "")
        return state

    state = asking.ask(cluster.path("kubeconfig"), enabled)
    if state != layers.READY:
        why = state or "nobody has begun with it; does the control plane run?"
        raise CommandError(f"{layer.name} is enabled in {cluster.name}, but does not work yet: {why}")
    print(f"{layer.name} is enabled in {cluster.name}: {layer.summary}")
    return 0
