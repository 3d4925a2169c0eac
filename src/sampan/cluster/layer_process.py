"""A process that works for one layer of a cluster somewhere else, as any client of its API.

Several may: one at a time works, who has the Lease.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.cluster import layers
from sampan.cluster.fetching import Fetching, ThroughApi
from sampan.cluster.layer_life import LayerLife, Means
from sampan.cluster.layer_webhook import Webhook
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.platform.layer import Around, Layer
from sampan.server.outbound_http import HttpOutbound

LOG = logging.getLogger(__name__)


class Taken(Exception):
    """The cluster works for the layer itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the layer's files are, and where others reach this process: `host` "" for nowhere, `port` 0 for any.

    `open_services` are namespaces whose Services are also asked for users of others, "*" for all.
    """

    directory: Path
    host: str = ""
    port: int = 0
    open_services: tuple[str, ...] = ()


async def run(layer: Layer, access: Access, place: Place) -> None:
    """Until SIGTERM or SIGINT. Raises Taken, ApiError, TransportError before it begins."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    transport = HttpTransport(access)
    try:
        client = Client(transport, layers.manager(layer.name))
        if layer.name in await layers.read(client):
            raise Taken(
                f"{access.server} has {layer.name} enabled, and works for it itself; sampan disable {layer.name}"
            )
        async with _working(layer, client, place) as life:
            waiting = asyncio.ensure_future(life.wait_ready())
            ended = asyncio.ensure_future(stopped.wait())
            await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                LOG.info("%s works for %s", layer.name, access.server)
            waiting.cancel()
            await ended
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def _working(layer: Layer, client: Client, place: Place) -> AsyncIterator[LayerLife]:
    clock, ids, outbound = SystemClock(), SystemIds(), HttpOutbound()
    means = Means(
        clock, ids, ThroughApi(client, Fetching(outbound, None), place.open_services),
        candidate=f"{socket.gethostname()}_{os.getpid()}_{ids.uid()[:8]}",
        directory=place.directory, address=place.host or "127.0.0.1",
    )  # fmt: skip
    life = LayerLife(_with_webhook(layer, place), client, means)
    life.start()
    try:
        yield life
    finally:
        await life.stop()
        await outbound.close()


def _with_webhook(layer: Layer, place: Place) -> Layer:
    """The layer, whose service also answers for its admission rules."""
    if not layer.reviewers:
        return layer

    async def serve(around: Around) -> None:
        reads = {kind.resource: kind for reviewer in layer.reviewers for kind in reviewer.reads}
        caches = {
            name: Cache(around.client, kind, clock=around.clock, tasks=around.tasks) for name, kind in reads.items()
        }
        for cache in caches.values():
            await cache.wait_synced()
        webhook = Webhook(layer.reviewers, around.client, caches, around.clock)
        await webhook.open(layer.name, place.host, place.port)
        try:
            if layer.service is not None:
                await layer.service(around)
            await asyncio.Event().wait()
        finally:
            await webhook.close(layer.name)

    return replace(layer, service=serve)
