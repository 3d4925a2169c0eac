"""5,000 nodes with 50,000 pods, written into the store of a cluster that is down: restart, reads, more pods."""

import statistics
from collections.abc import AsyncIterator, Iterator

from benchmarks.table.client import CORE, PODS, administrator, connect, pod, spread
from benchmarks.table.cluster import cluster
from benchmarks.table.large import Record, copies
from benchmarks.table.placing import SILENT, make_node, schedule
from benchmarks.table.rows import Figure

NODES = 5000
PODS_EACH = 10


async def measure(short: bool) -> AsyncIterator[Figure]:
    nodes = NODES // (10 if short else 1)
    with cluster(*SILENT) as made:
        async with connect(made.keys, made.address, made.processes()) as client:
            await administrator(client)
            await make_node(client, "first")
            await client.send("POST", PODS, pod("first", nodeName="first"))
            node, one = await client.send("GET", f"{CORE}/nodes/first"), await client.send("GET", f"{PODS}/first")
        made.down()
        await made.preload(placed(node, one, nodes))
        note = "" if not short else f"{nodes} nodes, {nodes * PODS_EACH} pods"
        yield Figure("nodes-start", made.up(), note=note)
        yield Figure("nodes-memory", made.pss_mb())
        async with connect(made.keys, made.address, made.processes()) as client:
            path = f"{CORE}/pods?fieldSelector=spec.nodeName%3Dc000001"
            runs = [await spread(client, 1, 1, lambda n: client.send("GET", path)) for _ in range(5)]
            found = (await client.get(path))["items"]
            if len(found) != PODS_EACH:
                raise RuntimeError(f"a node has {len(found)} pods, not {PODS_EACH}")
            yield Figure("nodes-list", statistics.median(run.late_ms[0] for run in runs))
            yield await schedule("nodes-schedule", client, PODS, 1000)


def placed(node: bytes, one: bytes, nodes: int) -> Iterator[Record]:
    """The nodes and their pods, as the server stores them."""
    for key, stored in copies("nodes", node, "", nodes):
        name = key.rpartition("/")[2]
        yield key, stored.replace(b'"kubernetes.io/hostname":"first"', b'"kubernetes.io/hostname":"%b"' % name.encode())
    for n, (key, stored) in enumerate(copies("pods", one, "bench", nodes * PODS_EACH)):
        yield key, stored.replace(b'"nodeName":"first"', b'"nodeName":"c%06d"' % (n // PODS_EACH))
