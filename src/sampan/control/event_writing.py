"""Event writing: an event is never lost because another of the same object has its name, being of the same instant.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import hashlib
import zlib

from sampan.client.api import Client
from sampan.kinds.core.event import EVENT
from sampan.kinds.kind import Object
from sampan.meta.status import ApiError

TRIES = 16


async def create(client: Client, event: Object) -> str:
    """Creates it under its name, or one of the next; returns that name. Raises ApiError, TransportError."""
    metadata = event["metadata"]
    name = str(metadata["name"])
    for left in range(TRIES, 0, -1):
        try:
            await client.create(EVENT, {**event, "metadata": {**metadata, "name": name}})
        except ApiError as error:
            if error.reason != "AlreadyExists" or left == 1:
                raise
            name = following(name)
        else:
            break
    return name


def shift(teller: str) -> int:
    """Nanoseconds by which a teller's names differ from those of others at the same instant, mostly."""
    return zlib.crc32(teller.encode()) % 256


def following(name: str) -> str:
    """The name of the event after the one of this name: OBJECT.TIME, or a digest."""
    about, _, time = name.rpartition(".")
    if not about:
        return hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{about}.{int(time, 16) + 1:x}"
