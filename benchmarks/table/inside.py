"""The cluster inside a test (`benchmarks/testing.py`, in a process of its own), beside the pace of a bare server.

A virtual day is judged as placing is: by its ratio to what a bare server answers of small GETs, before and after it.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator

from benchmarks.table.cluster import cluster
from benchmarks.table.placing import SILENT, know_a_pod, pace
from benchmarks.table.requests import sides
from benchmarks.table.rows import Figure
from benchmarks.testing import DAY, FIRST_START, FORK, JOBS, START


async def measure(short: bool) -> AsyncIterator[Figure]:
    """Every row; always at full size, as it takes half a minute."""
    with cluster(*SILENT) as made:
        async with sides(made) as (ours, other):
            await know_a_pod(ours, other)
            before = await pace(other)
            found = await figures()
            bare = statistics.mean((before, await pace(other)))
    yield Figure("inside-first", found[FIRST_START])
    yield Figure("inside-start", found[START])
    yield Figure("inside-fork", found[FORK])
    seconds = found[DAY] / 1000
    yield Figure("inside-day", JOBS / seconds, bare, note=f"the day in {seconds:.1f} s")


async def figures() -> dict[str, float]:
    """What `benchmarks/testing.py` tells: times in milliseconds, by what they are of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.testing", "--json", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"benchmarks/testing.py ended with {process.returncode}")
    found: dict[str, float] = json.loads(told)
    return found
