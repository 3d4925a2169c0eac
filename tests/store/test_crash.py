"""What was acknowledged survives: the process is killed, or its disk fails, at chosen system calls.

A child process writes from several tasks and prints each acknowledged key; strace kills it, or makes
the call fail, at the Nth. https://man7.org/linux/man-pages/man1/strace.1.html
"""

import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from sampan.store.protocol import Store
from sampan.store.sqlite import SqliteStore

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]

CHILD = """
import asyncio, sys
from sampan.store import sqlite_writer
from sampan.store.protocol import Compare, Delete, Put, StoreError
from sampan.store.sqlite import SqliteStore
sqlite_writer.CHECKPOINT_PAGES = 20
store = SqliteStore.open(sys.argv[1])
async def write(task):
    for n in range(12):
        key = f"{task}/{n}"
        acked = False
        try:
            result = await store.txn((Compare(key, 0),), (Put(key, b"x" * 500), Put(f"pair/{key}", b"y")))
            assert result.succeeded
            print("acked", key, result.revision, flush=True)
            acked = True
            await store.txn((), (Put("shared", key.encode()),))
            if n % 6 == 5:
                await store.compact(await store.revision())
        except StoreError:
            print("late" if acked else "refused", key, flush=True)
async def main():
    await asyncio.gather(*(write(task) for task in range(4)))
    print("revision", await store.revision(), flush=True)
    await store.close()
asyncio.run(main())
"""


def run(path: Path, injection: str) -> tuple[dict[str, int], list[str], str]:
    """(acknowledged keys with their revisions, refused keys, stderr) of a child under the injection."""
    SqliteStore.open(path)._shut()  # so that what is counted is writing, not creating the file
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync,pwrite64,ftruncate,unlink"]
    command += ["-e", f"inject={injection}", sys.executable, "-c", CHILD, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line.split() for line in done.stdout.splitlines()]
    acked = {line[1]: int(line[2]) for line in lines if line[0] == "acked" and len(line) == 3}
    return acked, [line[1] for line in lines if line[0] == "refused"], done.stderr


async def check(path: Path, acked: dict[str, int]) -> Store:
    """Everything acknowledged is there, transactions are whole, the revision did not go back."""
    store = SqliteStore.open(path)
    records = {record.key: record for record in (await store.list("")).records}
    for key, revision in acked.items():
        assert records[key].mod_revision == revision
    keys = {key for key in records if not key.startswith("pair/") and key != "shared"}
    assert {f"pair/{key}" for key in keys} == {key for key in records if key.startswith("pair/")}
    assert await store.revision() >= max(acked.values(), default=1)
    db = apsw.Connection(str(path))
    assert db.pragma("integrity_check") == "ok"
    db.close()
    return store


@pytest.mark.parametrize(
    "call", ["fdatasync:3", "fdatasync:7", "fdatasync:12", "fdatasync:25", "pwrite64:9", "pwrite64:40", "pwrite64:100"]
)
async def test_a_kill_loses_no_acknowledged_write(tmp_path: Path, call: str) -> None:
    """SIGKILL at the Nth system call: acknowledged writes are there, others wholly or not at all."""
    name, n = call.split(":")
    acked, _, _ = run(tmp_path / "s.db", f"{name}:signal=SIGKILL:when={n}")
    store = await check(tmp_path / "s.db", acked)
    await store.close()


@pytest.mark.parametrize(
    "call",
    [
        "fdatasync:error=EIO:when=6",
        "fdatasync:error=EIO:when=6+5",
        "pwrite64:error=EIO:when=30",
        "pwrite64:error=ENOSPC:when=50",
        "pwrite64:error=ENOSPC:when=50..80",
    ],
)
async def test_a_disk_error_refuses_and_goes_on(tmp_path: Path, call: str) -> None:
    """An error of the disk: its writes are refused, never acknowledged; later ones work; nothing is lost."""
    acked, refused, stderr = run(tmp_path / "s.db", call)
    assert 'Traceback (most recent call last):\n  File "<string>"' not in stderr
    assert acked
    assert "put off" in stderr or "could not write" in stderr
    store = await check(tmp_path / "s.db", acked)
    for key in refused:
        assert key not in acked
    await store.close()
