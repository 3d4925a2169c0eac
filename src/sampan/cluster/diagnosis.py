"""Diagnosis: a health rule carried out over a cluster: what the rule asks is read by client, step by step."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sampan.client.api import Client
from sampan.client.discovery import Discovery
from sampan.client.transport import TransportError
from sampan.kinds import builtin
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.meta.status import ApiError
from sampan.platform.health.lookup import LOG_LINES, MAX_STEPS, UNREADABLE, Get, Known, ListOf, Logs, Question
from sampan.web.message import Request

T = TypeVar("T")

AT_ONCE = 8
MAX_LOG_BYTES = 1 << 16


async def kinds(client: Client) -> tuple[Kind, ...]:
    """The kinds that every cluster has, and those that this one serves beside them."""
    served = (await Discovery(client).read()).kinds
    own = [kind for kind in served if builtin.by_resource(kind.group, kind.plural) is None and kind.name]
    return (*builtin.KINDS, *own)


async def carry_out(
    client: Client, rule: Callable[[Known], T], now: float, served: Sequence[Kind] = ()
) -> tuple[T, Known]:
    """What the rule says in the end, and all that it was answered.

    Raises ApiError where the only object asked for at first can't be read, and TransportError. What is not there is
    answered as nothing, what can't be read as UNREADABLE.
    """
    answers: dict[Question, Any] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def answered(question: Question) -> tuple[Question, Any]:
        async with gate:
            return question, await _answer(client, question, strict=not answers and len(look.open) == 1)

    for _ in range(MAX_STEPS):
        look = Known(now, served, answers)
        found = rule(look)
        if not look.open:
            break
        answers = answers | dict(await asyncio.gather(*(answered(question) for question in look.open)))
    return found, look


async def _answer(client: Client, question: Question, *, strict: bool) -> Any:
    try:
        if isinstance(question, Logs):
            return await _log(client, question)
        if isinstance(question, ListOf):
            return (await client.list(question.kind, question.namespace)).items
        return await client.get(question.kind, question.name, question.namespace)
    except ApiError as error:
        if strict and isinstance(question, Get) and error.code != 404:
            raise
        if error.code != 404:
            return UNREADABLE
        return None if isinstance(question, Get) else ()


async def _log(client: Client, question: Logs) -> tuple[str, ...]:
    """The last lines of a container's log; none where there are none."""
    path = POD.path(question.namespace, question.pod, "log")
    query: tuple[tuple[str, str], ...] = (
        ("container", question.container),
        ("tailLines", str(LOG_LINES)),
        ("limitBytes", str(MAX_LOG_BYTES)),
    )
    query = (*query, ("previous", "true")) if question.previous else query
    try:
        response = await client.transport.request(Request("GET", path, query, {"user-agent": client.user_agent}))
    except TransportError:
        return ()
    body = response.body
    if response.status in (401, 403):
        return UNREADABLE
    if response.status >= 400 or isinstance(body, dict):
        return ()
    whole = body if isinstance(body, bytes) else b"".join([part async for part in body if isinstance(part, bytes)])
    return tuple(whole.decode("utf-8", "replace").splitlines())
