"""How many creates a second the SQLite store acknowledges, beside a bare group-commit loop.

    python benchmarks/store.py [DIR]

32 concurrent writers, 1 KiB values, every acknowledged create durable. The bare loop commits groups of
the same size with nothing around them: what SQLite and the disk allow.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import apsw

from sampan.store.protocol import Compare, Put
from sampan.store.sqlite import SqliteStore

WRITERS = 32
SECONDS = 4.0
VALUE = b"x" * 1024


def bare(path: Path) -> float:
    """Creates a second of a loop that inserts WRITERS rows and commits."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "WAL")
    db.pragma("synchronous", "FULL")
    db.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, key TEXT UNIQUE, value BLOB)")
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        db.execute("BEGIN IMMEDIATE")
        for _ in range(WRITERS):
            count += 1
            db.execute("INSERT INTO record (key, value) VALUES (?, ?)", (f"/registry/pods/default/p-{count}", VALUE))
        db.execute("COMMIT")
    rate = count / (time.perf_counter() - start)
    db.close()
    return rate


async def store(path: Path) -> float:
    """Creates a second through the store."""
    opened = SqliteStore.open(path)
    start, count = time.perf_counter(), 0

    async def write(writer: int) -> None:
        nonlocal count
        n = 0
        while time.perf_counter() - start < SECONDS:
            key = f"/registry/pods/default/p-{writer}-{n}"
            await opened.txn((Compare(key, 0),), (Put(key, VALUE),))
            n += 1
            count += 1

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    rate = count / (time.perf_counter() - start)
    await opened.close()
    return rate


def main() -> None:
    """Prints both rates and their ratio."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        floor = bare(Path(folder) / "bare.db")
        ours = asyncio.run(store(Path(folder) / "store.db"))
    print(f"bare {floor:.0f}/s, store {ours:.0f}/s, ratio {ours / floor:.2f}")


if __name__ == "__main__":
    main()
