"""Nodes that a cluster had on this host and has no more, since it was started with fewer: their objects are deleted.

So are their pods, whose containers were ended when the node was taken down: new ones are made elsewhere. Their folders stay, and with them what is in their local volumes.
"""

import contextlib
from typing import TYPE_CHECKING

from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.client.api import Client

_PREFIX = "node-"


def forget(cluster: Settings) -> list[str]:
    """Deletes them, once the API answers; returns their names. What goes wrong is tried again at the next start."""
    folders = (path.name.removeprefix(_PREFIX) for path in cluster.directory.glob(f"{_PREFIX}*"))
    known = sorted(set(folders) - set(cluster.node_names()))
    if not known:
        return []
    import asyncio

    return asyncio.run(_delete(cluster, known))


async def _delete(cluster: Settings, names: list[str]) -> list[str]:
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.kubeconfig import load
    from sampan.client.transport import TransportError
    from sampan.meta.status import ApiError

    transport = HttpTransport(load(cluster.path("kubeconfig")))
    client = Client(transport, "sampan")
    gone = []
    try:
        for name in names:
            with contextlib.suppress(ApiError, TransportError):  # most are gone already
                if await _delete_node(client, name, f"{cluster.directory}/"):
                    gone.append(name)
        for name in gone:  # only then, or new pods would be placed on the next of them
            with contextlib.suppress(ApiError, TransportError):
                await _delete_pods(client, name)
    finally:
        await transport.close()
    return gone


async def _delete_node(client: "Client", name: str, folder: str) -> bool:
    """False for another machine's, of that name."""
    from sampan.kinds.core.node import NODE
    from sampan.kinds.parts import local_volumes
    from sampan.meta import objects

    node = await client.get(NODE, name)
    is_ours = objects.annotations(node).get(local_volumes.FOLDER, "").startswith(folder)
    if is_ours:
        await client.delete(NODE, ("", name))
    return is_ours


async def _delete_pods(client: "Client", node: str) -> None:
    from sampan.kinds.core.pod import POD
    from sampan.meta import objects
    from sampan.meta.status import ApiError

    for pod in (await client.list(POD, fields=f"spec.nodeName={node}")).items:
        with contextlib.suppress(ApiError):
            await client.delete(POD, objects.key(pod), grace_seconds=0, uid=objects.uid(pod))
