"""100,000 objects: lists of 20,000 and 50,000 pods, a restart, and what 1,000 objects take of memory.

The objects are written into the store while the cluster is down (see cluster.preload): copies of one that the server
has made, each with a name and uid of its own.
"""

import re
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import orjson

from benchmarks.table.client import (
    CORE,
    NAMESPACE,
    PODS,
    Client,
    administrator,
    check_complete,
    config_map,
    connect,
    make_namespace,
    pod,
)  # fmt: skip
from benchmarks.table.cluster import cluster
from benchmarks.table.requests import PLAIN, lists, sides
from benchmarks.table.rows import Figure

PAGE = 500
Record = tuple[str, bytes]
_UID = re.compile(rb'"uid":"[0-9a-f-]{36}"')
_VERSION = re.compile(rb'"resourceVersion":"\d+",')


async def measure(short: bool) -> AsyncIterator[Figure]:
    part = 10 if short else 1
    with cluster(*PLAIN) as made:
        async with connect(made.keys, made.address, made.processes()) as client:
            token = await administrator(client)
            for name in ("p20000", "p50000"):
                await make_namespace(client, name)
            await client.send("POST", PODS, pod("first"))
            await client.send("POST", f"{NAMESPACE}/configmaps", config_map("first"))
            check_complete(await client.get(f"{PODS}/first"))
            one = await client.send("GET", f"{PODS}/first")
            other = await client.send("GET", f"{NAMESPACE}/configmaps/first")
        before = made.pss_mb()
        made.down()
        await made.preload(copies("pods", one, "p20000", 20_000 // part))
        await made.preload(copies("pods", one, "p50000", 50_000 // part))
        await made.preload(copies("configmaps", other, "bench", 30_000 // part))
        yield Figure("restart", made.up(), note="the whole command" + (", 10,000 objects" if short else ""))
        yield Figure(
            "memory-1000", (made.pss_mb() - before) / (100 / part), pss_mb=made.pss_mb(), note="before anybody reads"
        )
        async with sides(made, token) as (ours, other):
            yield await lists("list-20000", ours, other, f"{CORE}/namespaces/p20000/pods", 3)
            yield await lists("list-50000", ours, other, f"{CORE}/namespaces/p50000/pods", 3)
            yield await pages("list-50000-pages", ours, f"{CORE}/namespaces/p50000/pods")


async def pages(key: str, client: Client, path: str) -> Figure:
    """The same list in pages, as kubectl reads it."""
    found, size, more, cpu, began = 0, 0, "", client.cpu_seconds(), time.perf_counter()
    while True:
        body = await client.send("GET", f"{path}?limit={PAGE}&continue={quote(more)}")
        metadata = orjson.loads(body)["metadata"]
        size, found, more = size + len(body), found + 1, metadata.get("continue", "")
        if not more:
            break
    seconds = time.perf_counter() - began
    spent = 1000 * (client.cpu_seconds() - cpu) / found
    return Figure(key, size / 1e6 / seconds, cpu_ms=spent, note=f"{found} pages in {seconds:.1f} s")


def copies(resource: str, one: bytes, namespace: str, count: int) -> Iterator[Record]:
    """Records of so many objects, as the server stores them: without a resourceVersion."""
    stored = _VERSION.sub(b"", one, count=1).strip()
    stored = stored.replace(b'"namespace":"bench"', b'"namespace":"%b"' % namespace.encode())
    for n in range(count):
        name = f"c{n:06d}"
        named = stored.replace(b'"name":"first"', b'"name":"%b"' % name.encode(), 1)
        uid = b'"uid":"00000000-0000-4000-8000-%012x"' % (hash_of(namespace) + n)
        place = f"{namespace}/{name}" if namespace else name
        yield f"/registry/core/{resource}/{place}", _UID.sub(uid, named, count=1)


def hash_of(namespace: str) -> int:
    """A start for the uids of a namespace, far from those of others."""
    return sum(namespace.encode()) << 24
