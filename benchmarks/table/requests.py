"""GET, LIST, CREATE, PATCH, server-side apply and watches, on a cluster without nodes; in turn with the bare server."""

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp

from benchmarks.table.bare import bare
from benchmarks.table.client import (
    APPLY,
    CORE,
    MERGE,
    NAMESPACE,
    PODS,
    Client,
    Run,
    administrator,
    check_complete,
    config_map,
    connect,
    cpu_ms,
    in_turn,
    make_namespace,
    middle,
    pod,
    slowest,
    spread,
    teach,
)  # fmt: skip
from benchmarks.table.cluster import Cluster, cluster, pss_mb
from benchmarks.table.rows import Figure

LISTED = 2000
PLAIN = ("--runtime", "simulated", "--no-node")
CHUNK_BYTES = 1 << 20
_WATCHED = re.compile(rb'"name":"(w-\d+-\d+)"')


async def measure(short: bool) -> AsyncIterator[Figure]:
    """Every row; the pods that are created are those that are listed."""
    with cluster(*PLAIN) as made:
        async with sides(made) as (ours, other):
            for rows in (_writes(ours, other), _reads(ours, other, short), _changes(ours, other, short)):
                async for figure in rows:
                    yield figure
            for watchers, writes in ((50, 500), (1000, 200)):
                async for figure in _watch(ours, other, watchers, writes // (5 if short else 1)):
                    yield figure
        yield Figure("memory-after", made.pss_mb())


@contextlib.asynccontextmanager
async def sides(made: Cluster, token: str = "") -> AsyncIterator[tuple[Client, Client]]:
    """Clients of a cluster, as an administrator by RBAC unless another's token is given, and of a bare server."""
    async with contextlib.AsyncExitStack() as stack:
        address, pid = stack.enter_context(bare(made.keys))
        admin = await stack.enter_async_context(connect(made.keys, made.address, []))
        ours = await stack.enter_async_context(connect(made.keys, made.address, made.processes(), is_admin=False))
        other = await stack.enter_async_context(connect(made.keys, address, [pid], is_admin=False))
        ours.token = other.token = token or await administrator(admin)
        yield ours, other


def rate(key: str, runs: tuple[list[Run], list[Run]], ours: Client) -> Figure:
    """Operations a second of both, and what ours used."""
    mine, theirs = runs
    return Figure(key, middle(mine), middle(theirs), cpu_ms(mine), cpu_ms(theirs), sum(map(pss_mb, ours.pids)))


async def _writes(ours: Client, other: Client) -> AsyncIterator[Figure]:
    """Creates LISTED pods in four rounds."""
    await ours.send("POST", PODS, pod("first"))
    await teach(other, await ours.send("GET", f"{PODS}/first"), "first")
    await ours.send("DELETE", f"{PODS}/first?gracePeriodSeconds=0")

    async def create(client: Client, number: int) -> Run:
        return await spread(client, LISTED // 4, 32, lambda n: client.send("POST", PODS, pod(f"p-{number}-{n}")))

    runs = await in_turn(ours, other, create, 4)
    yield rate("create", runs, ours)
    yield Figure("create-p99", slowest(runs[0]), slowest(runs[1]))


async def _reads(ours: Client, other: Client, short: bool) -> AsyncIterator[Figure]:
    path, count = f"{PODS}/p-0-1", 1000 if short else 4000
    await other.send("PUT", path, await ours.send("GET", path))

    async def get(client: Client, _: int) -> Run:
        return await spread(client, count, 16, lambda n: client.send("GET", path))

    yield rate("get", await in_turn(ours, other, get), ours)
    items = (await ours.get(PODS))["items"]
    check_complete(items[0])
    if len(items) != LISTED:
        raise RuntimeError(f"{len(items)} pods are listed, and {LISTED} were made")
    yield await lists("list-2000", ours, other, PODS)
    runs = [await spread(ours, 1, 1, lambda n: ours.send("GET", f"{PODS}?labelSelector=app%3Dnone")) for _ in range(5)]
    yield Figure("list-none", statistics.median(run.late_ms[0] for run in runs), cpu_ms=cpu_ms(runs))


async def lists(key: str, ours: Client, other: Client, path: str, times: int = 5) -> Figure:
    """MB a second of a list, in turn; the bare server answers the same bytes."""
    body = await ours.send("GET", path)
    await other.send("PUT", path, body)

    async def once(client: Client, _: int) -> Run:
        return await spread(client, 1, 1, lambda n: fetch(client, path, len(body)))

    mine, theirs = await in_turn(ours, other, once, times)
    mb = len(body) / 1e6
    figure = rate(key, (mine, theirs), ours)
    figure.value, figure.bare = figure.value * mb, figure.bare * mb
    figure.note = f"{mb:.1f} MB in {1000 / middle(mine):.0f} ms"
    return figure


async def fetch(client: Client, path: str, wanted: int) -> None:
    """Reads an answer without keeping it, so that the client is not what is measured."""
    found = 0
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(client.address + path, headers=headers, read_bufsize=CHUNK_BYTES) as answer:
        async for chunk in answer.content.iter_any():
            found += len(chunk)
    if found < wanted:
        raise RuntimeError(f"GET {path}: {found} bytes came, {wanted} were expected")


async def _changes(ours: Client, other: Client, short: bool) -> AsyncIterator[Figure]:
    count = 200 if short else 500

    async def patch(client: Client, number: int) -> Run:
        def body(n: int) -> dict[str, object]:
            return {"status": {"phase": "Running", "podIP": f"10.0.{number}.{n % 250}"}}

        return await spread(
            client, count, 32, lambda n: client.send("PATCH", f"{PODS}/p-{number}-{n}/status", body(n), MERGE)
        )

    yield rate("patch", await in_turn(ours, other, patch), ours)
    maps = f"{NAMESPACE}/configmaps"

    async def apply(client: Client, number: int) -> Run:
        def path(n: int) -> str:
            return f"{maps}/a-{number}-{n}?fieldManager=bench&force=true"

        return await spread(
            client, count, 16, lambda n: client.send("PATCH", path(n), config_map(f"a-{number}-{n}"), APPLY)
        )

    answer = await ours.send("PATCH", f"{maps}/first?fieldManager=bench&force=true", config_map("first"), APPLY)
    await teach(other, answer, "first")
    yield rate("apply", await in_turn(ours, other, apply), ours)


async def _watch(ours: Client, other: Client, watchers: int, writes: int) -> AsyncIterator[Figure]:
    """Events a second over all watchers, from the first write until each has seen all; and how late they came."""
    namespace = f"watched-{watchers}"
    await make_namespace(ours, namespace)
    path = f"{CORE}/namespaces/{namespace}/configmaps"
    await teach(other, await ours.send("POST", path, config_map("first")), "first")
    await other.send("PUT", path, {"metadata": {"resourceVersion": "1"}})

    async def fan_out(client: Client, number: int) -> Run:
        return await _fan_out(client, path, watchers, (number, writes))

    runs = await in_turn(ours, other, fan_out)
    yield rate(f"watch-{watchers}", runs, ours)
    bare_late = slowest(runs[1])
    yield Figure(f"watch-{watchers}-p99", slowest(runs[0]), bare_late, note=f"bare server {bare_late:.0f} ms")


async def _fan_out(client: Client, path: str, watchers: int, what: tuple[int, int]) -> Run:
    number, writes = what
    version = (await client.get(f"{path}?limit=1"))["metadata"]["resourceVersion"]
    sent: dict[bytes, float] = {}
    late: list[float] = []

    async def create(n: int) -> None:
        name = f"w-{number}-{n}"
        sent[name.encode()] = time.perf_counter()
        await client.send("POST", path, config_map(name))

    async with contextlib.AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {client.token}"}
        url = f"{client.address}{path}?watch=true&resourceVersion={version}"
        opened = [stack.enter_async_context(client.session.get(url, headers=headers)) for _ in range(watchers)]
        streams = [await each for each in opened]
        cpu, began = client.cpu_seconds(), time.perf_counter()
        seen = asyncio.gather(*(_see(stream, writes, sent, late) for stream in streams))
        await spread(client, writes, 8, create)
        await seen
        seconds = time.perf_counter() - began
        return Run(watchers * writes, seconds, client.cpu_seconds() - cpu, sorted(late))


async def _see(stream: aiohttp.ClientResponse, wanted: int, sent: dict[bytes, float], late: list[float]) -> None:
    """Reads a watch until all that was sent has come; how late each came goes into `late`."""
    count = 0
    for_line = b""
    async for chunk in stream.content.iter_any():
        now = time.perf_counter()
        for name in names(for_line + chunk):
            late.append(1000 * (now - sent[name]))
            count += 1
        for_line = (for_line + chunk).rpartition(b"\n")[2]
        if count >= wanted:
            return


def names(lines: bytes) -> Iterator[bytes]:
    """Whom the whole lines are about."""
    whole = lines.rpartition(b"\n")[0]
    for found in _WATCHED.finditer(whole):
        yield found[1]
