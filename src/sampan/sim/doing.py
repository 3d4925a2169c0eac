"""Doing: carries out an action as a patient person would: what was refused for now is tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sampan.client.api import DeleteOptions
from sampan.client.transport import TransportError
from sampan.cluster import doors, naming
from sampan.cluster.naming import Named
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.kind import Kind
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.sim.steps import Action, Apply, Delete, Patch

Object = dict[str, Any]

MANAGER = "scenario"
AGAIN_SECONDS = 1.0
PASSING = (408, 409, 429, 500, 502, 503, 504)
"""Answers that may be others a moment later."""
DONE = (404, 422)
"""What may be said to who tries again what was done, though its answer was lost: others have gone on from there."""


class Impossible(Exception):
    """It could not be done in time."""


async def carry_out(cluster: SimulatedCluster, action: Action, within: float) -> None:
    """Apply, Patch or Delete. Raises Impossible."""
    end = cluster.time + within
    if isinstance(action, Apply):
        for obj in action.objects:
            await _again(cluster, end, partial(_apply, cluster, obj, action.namespace))
    elif isinstance(action, Patch):
        await _again(cluster, end, partial(_patch, cluster, action))
    elif isinstance(action, Delete):
        await _again(cluster, end, partial(_delete, cluster, action))


async def _again(cluster: SimulatedCluster, end: float, call: Callable[[], Awaitable[Any]]) -> None:
    is_doubtful = False
    while True:
        try:
            await call()
            return
        except (ApiError, TransportError, LookupError) as error:
            if is_doubtful and isinstance(error, ApiError) and error.code in DONE:
                return
            is_doubtful = is_doubtful or str(error) == doors.BROKEN
            is_passing = error.code in PASSING if isinstance(error, ApiError) else True
            if not is_passing or cluster.time + AGAIN_SECONDS > end:
                raise Impossible(str(error)) from error
        await asyncio.sleep(AGAIN_SECONDS)


async def _apply(cluster: SimulatedCluster, obj: Object, namespace: str) -> None:
    kind = _kind(cluster, f"{obj['apiVersion']}/{obj['kind']}")
    if kind.namespaced and not objects.namespace(obj):
        obj = {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}
    await cluster.client.apply(kind, obj, manager=MANAGER, force=True)


async def _patch(cluster: SimulatedCluster, action: Patch) -> None:
    found = _named(cluster, action.object, action.namespace)
    key = (found.namespace, found.name)
    await cluster.client.patch(found.kind, key, action.patch, type=action.type, subresource=action.subresource)


async def _delete(cluster: SimulatedCluster, action: Delete) -> None:
    """What is gone already is well deleted."""
    if not cluster.is_up:
        raise TransportError("connection refused")
    options: DeleteOptions = {"grace_seconds": action.grace_seconds, "propagation": action.propagation}
    for found in action.what.named(cluster):
        try:
            await cluster.client.delete(found.kind, (found.namespace, found.name), **options)
        except ApiError as error:
            if error.code != 404:
                raise


def _named(cluster: SimulatedCluster, reference: str, namespace: str) -> Named:
    return naming.named(reference, _served(cluster), namespace)


def _kind(cluster: SimulatedCluster, word: str) -> Kind:
    return naming.kind_of(word, _served(cluster))


def _served(cluster: SimulatedCluster) -> tuple[Kind, ...]:
    if not cluster.is_up:
        raise TransportError("connection refused")
    return cluster.app.served.all()
