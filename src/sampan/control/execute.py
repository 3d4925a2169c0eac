"""Execute: carries out a plan's stages through the client, and waits until the caches have seen the writes.

Creates go in slow-start batches (1, 2, 4 ...) that stop at the first refusal, so that a quota or a broken
template costs one refused request, not thousands.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.control.plan import Create, Delete, DeleteCollection, Outcome, Patch, Plan, Update, Write
from sampan.kinds.kind import Object
from sampan.meta import objects, status
from sampan.meta.status import ApiError

AT_ONCE = 16
SEEN_SECONDS = 300.0
"""As long as upstream's controllers expect to see what they did: to act before that would be to do it twice."""
ASK_AGAIN_SECONDS = 1.0
METADATA_PATCHES = ("merge", "strategic")


class Done(NamedTuple):
    """An outcome with the server's answer; the answer is not kept afterwards.

    `is_doubtful`: something may have been made though it was not answered with success.
    """

    outcome: Outcome
    answer: Object | None = None
    is_doubtful: bool = False


async def execute(client: Client, plan: Plan) -> list[Done]:
    """Stage by stage, until one has a refusal."""
    done: list[Done] = []
    for stage in plan.stages:
        creates: list[Write] = []
        others: list[Write] = []
        for write in stage.writes:
            (creates if isinstance(write, Create) else others).append(write)
        results = await _in_batches(client, others, AT_ONCE, AT_ONCE) if others else []
        if creates:
            results += await _in_batches(client, creates, 1, 1 << 10)
        done.extend(results)
        if _has_refusal(results):
            break
    return done


def _has_refusal(results: Sequence[Done]) -> bool:
    for result in results:  # noqa: SIM110 (asked after each write: no generator)
        if result.outcome.refusal:
            return True
    return False


async def wait_seen(client: Client, caches: Mapping[str, Cache], done: Sequence[Done]) -> None:
    """Waits until the caches reflect these writes; a bounded time, since a rule is level-based anyway."""
    if not done:
        return
    try:
        async with asyncio.timeout(SEEN_SECONDS):
            await _all_seen(client, caches, done)
    except TimeoutError:
        return


async def _all_seen(client: Client, caches: Mapping[str, Cache], done: Sequence[Done]) -> None:
    for result in done:
        write = result.outcome.write
        cache = caches.get(write.kind.resource)
        if cache is None:
            continue
        if result.outcome.refusal:
            if result.is_doubtful:
                await cache.wait_seen(await _present_revision(client, write))
            continue
        if isinstance(write, Delete):
            await cache.wait_until(lambda c=cache, w=write: _is_going(c.get(w.key), w.uid))  # type: ignore[misc]
        elif result.answer is not None and not isinstance(write, DeleteCollection):
            await cache.wait_seen(str(result.answer.get("metadata", {}).get("resourceVersion", "")))


async def _present_revision(client: Client, write: Write) -> str:
    """Up to where a cache must have seen to know whether the write was done: the youngest object of the kind.

    Not the server's own revision: of a kind of which nothing changes, a cache may not hear for long.
    """
    namespace = str(write.obj["metadata"].get("namespace", "")) if isinstance(write, Create) else ""
    while True:
        try:
            found = await client.metadata_only().list(write.kind, namespace)
        except ApiError as error:
            if error.code < 500 and error.code != 429:
                return ""
        except TransportError:
            pass
        else:
            return max((objects.resource_version(obj) for obj in found.items), key=int, default="")
        await asyncio.sleep(ASK_AGAIN_SECONDS)


def _is_going(obj: Object | None, uid: str) -> bool:
    return obj is None or obj["metadata"].get("uid") != uid or "deletionTimestamp" in obj["metadata"]


async def _in_batches(client: Client, writes: Sequence[Write], size: int, largest: int) -> list[Done]:
    """Batches that double; the batch after a refusal is not started."""
    results: list[Done] = []
    position = 0
    while position < len(writes):
        batch = writes[position : position + size]
        position += size
        size = min(size * 2, largest)
        if len(batch) == 1:  # which needs no task of its own
            results.append(await _one(client, batch[0]))
        else:
            results.extend(await asyncio.gather(*(_one(client, write) for write in batch)))
        if _has_refusal(results):
            break
    return results


async def _one(client: Client, write: Write) -> Done:
    try:
        answer = await _send(client, write)
    except ApiError as error:
        if _is_harmless(write, error):
            return Done(Outcome(write, _name(write)))
        return Done(Outcome(write, _name(write), error.status), is_doubtful=_makes(write) and error.code >= 500)
    except TransportError as error:
        refusal = status.unavailable(str(error)).status
        return Done(Outcome(write, _name(write), refusal), is_doubtful=_makes(write))
    return Done(Outcome(write, str(answer.get("metadata", {}).get("name", "")) or _name(write)), answer)


async def _send(client: Client, write: Write) -> Object:
    match write:
        case Create():
            return await client.create(write.kind, write.obj)
        case Update():
            return await client.update(write.kind, write.obj, write.subresource)
        case Patch():
            patch = _guarded(write)
            return await client.patch(write.kind, write.key, patch, type=write.type, subresource=write.subresource)
        case Delete():
            return await client.delete(
                write.kind,
                write.key,
                uid=write.uid,
                resource_version=write.resource_version,
                grace_seconds=write.grace_seconds,
                propagation=write.propagation,
            )
        case DeleteCollection():
            return await client.delete_collection(write.kind, write.namespace, propagation="Background")


def _makes(write: Write) -> bool:
    """Whether a second try would make a second object."""
    return isinstance(write, Create) and not write.obj["metadata"].get("name")


def _guarded(write: Patch) -> Any:
    """The patch with its preconditions inside."""
    guards = {"uid": write.uid, "resourceVersion": write.resource_version}
    present = {name: value for name, value in guards.items() if value}
    if not present or write.type not in METADATA_PATCHES:
        return write.patch
    return {**write.patch, "metadata": {**write.patch.get("metadata", {}), **present}}


def _is_harmless(write: Write, error: ApiError) -> bool:
    """Refusals that mean that what was wanted is so, or can't matter any more."""
    if error.code == 404:
        return isinstance(write, Delete) or (isinstance(write, Patch) and write.may_be_gone)
    if isinstance(write, Delete) and status.is_of_another(error):
        return True  # the one meant is gone
    if isinstance(write, Create):
        causes = error.status.get("details", {}).get("causes") or ()
        return (write.may_exist and error.reason == "AlreadyExists") or any(
            cause.get("reason") == "NamespaceTerminating" for cause in causes
        )
    return False


def _name(write: Write) -> str:
    if isinstance(write, Create | Update):
        metadata = write.obj["metadata"]
        return str(metadata.get("name") or metadata.get("generateName", ""))
    return "" if isinstance(write, DeleteCollection) else write.key[1]
