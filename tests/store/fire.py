"""A store under fire: a child process writes, reads and watches while strace kills it or makes its system calls fail.

The child tells each thing it begins and each answer it gets, one JSON line each; `history.check` holds that, and
what is in the file afterwards, to what a store promises.

    python -m tests.store.fire drive PATH SCENARIO      # the child

Every system call in turn: `tests.store.replay`, which needs one run of the child for all of them.

https://man7.org/linux/man-pages/man1/strace.1.html
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.store import checkpoints, checksums, sqlite_writer
from sampan.store.protocol import Compacted, Compare, Delete, Put, StoreError, Write
from sampan.store.sqlite import SqliteStore
from tests.store import history

CALLS = ("pwrite64", "fdatasync", "ftruncate", "unlink")
SCENARIOS = ("fresh", "writes", "upkeep", "upgrade", "snapshot")  # and "reads", whose point is no kill
TASKS, ROUNDS = 4, 5
Line = dict[str, Any]


class Driver:
    """The child's work. `life` is a word that no other life of this database has."""

    def __init__(self, path: Path, scenario: str, life: str, tell: Callable[[Line], None]) -> None:
        self._path, self._scenario = path, scenario
        self._store = SqliteStore.open(path)
        self._ids = itertools.count()
        self._life = life
        self._hear = tell

    async def run(self) -> None:
        start = await self._store.revision()
        self._tell(op="open", revision=start)
        watcher = asyncio.ensure_future(self._watch(start))
        await asyncio.gather(*(self._work(task) for task in range(TASKS)), self._aside())
        self._tell(op="revision", revision=await self._store.revision())
        await self._store.close()
        await watcher

    async def _work(self, task: int) -> None:
        known = 0
        for n in range(ROUNDS):
            own, shared = f"own/{task}", "shared"
            with contextlib.suppress(StoreError):
                record = await self._get(own)
                known = record.mod_revision if record else 0
                drop = n % 5 == 4 and record is not None
                value = self._value()
                writes: list[Write] = [Delete(own)] if drop else [Put(own, value)]
                await self._txn([Compare(own, known)], [*writes, Put(f"pair/{task}", value)])
            with contextlib.suppress(StoreError):
                record = await self._get(shared)
                await self._txn([Compare(shared, record.mod_revision if record else 0)], [Put(shared, self._value())])
            with contextlib.suppress(StoreError):
                await self._txn(
                    [], [Put(f"new/{task}/{self._life}/{n}", self._value(3000)), Put("last", self._value())]
                )

    async def _aside(self) -> None:
        """What else goes on: history is forgotten, pages are given back; or the whole is copied."""
        if self._scenario == "upkeep":
            for _ in range(4):
                with contextlib.suppress(StoreError):
                    page = await self._store.list("new/")
                    for start in range(0, len(page.records), 50):
                        writes: list[Write] = [Delete(record.key) for record in page.records[start : start + 50]]
                        await self._txn([], [*writes, Put(f"gone/{self._life}/{next(self._ids)}", self._value())])
                    await self._store.compact(await self._store.revision())
        if self._scenario == "reads":
            for _ in range(100):
                await self._get("shared")
                await asyncio.sleep(0.005)
        if self._scenario == "snapshot":
            from sampan.store import copying

            for n in range(3):
                with contextlib.suppress(StoreError):
                    made = self._path.with_name(f"copy-{n}.db")
                    await asyncio.to_thread(copying.save, self._path, made)
                    self._tell(op="copy", path=made.name, revision=copying.revision(made))

    async def _txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> None:
        number = f"{self._life}-{next(self._ids)}"
        shown = [(w.key, w.value.decode() if isinstance(w, Put) else None) for w in writes]
        self._tell(op="begin", id=number, compares=[tuple(c) for c in compares], writes=shown)
        try:
            result = await self._store.txn(compares, writes)
        except StoreError as error:
            self._tell(op="refused", id=number, why=str(error))
            raise
        found = [None if r is None else r.mod_revision for r in result.found]
        self._tell(op="end", id=number, ok=result.succeeded, revision=result.revision, found=found)

    async def _get(self, key: str) -> Any:
        number = f"{self._life}-{next(self._ids)}"
        self._tell(op="ask", id=number, key=key)
        record = await self._store.get(key)
        shown = None if record is None else [record.value.decode(), record.mod_revision]
        self._tell(op="got", id=number, record=shown)
        return record

    async def _watch(self, after: int) -> None:
        while True:
            try:
                async for batch in self._store.watch("", after):
                    events = [[e.key, e.revision, None if e.value is None else e.value.decode()] for e in batch.events]
                    self._tell(op="seen", after=after, upto=batch.revision, events=events)
                    after = batch.revision
            except Compacted as gone:
                after = gone.oldest
                continue
            return

    def _value(self, size: int = 300) -> bytes:
        return f"{self._life}-{next(self._ids)}-".ljust(size, "x").encode()

    def _tell(self, **line: Any) -> None:
        self._hear(line)


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Small bounds, so that little work does all there is to do."""
    bounds: list[tuple[Any, str, Any]] = [
        (checkpoints, "CHECKPOINT_PAGES", 20),
        (sqlite_writer, "COMPACT_ROWS", 10),
        (sqlite_writer, "FREE_PAGES", 2),
        (sqlite_writer, "VACUUM_PAGES", 4),
        (sqlite_writer, "BUSY_SECONDS", 5.0),
    ]
    before = [getattr(module, name) for module, name, _ in bounds]
    for module, name, value in bounds:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(bounds, before, strict=True):
            setattr(module, name, value)


def drive(path: Path, scenario: str) -> None:
    """One life, told on the standard output."""

    def tell(line: Line) -> None:
        os.write(1, json.dumps(line).encode() + b"\n")

    with small():
        asyncio.run(Driver(path, scenario, str(os.getpid()), tell).run())


@dataclass
class Fire:
    """The lives of one database, and what was told in them."""

    path: Path
    scenario: str = "writes"
    lines: list[Line] = field(default_factory=list)
    stderr: str = ""

    def prepare(self) -> None:
        """The file is there, so that what is counted is not its making."""
        if self.scenario == "upgrade":
            old_format(self.path)
            self.lines.append({"op": "given", "records": asyncio.run(_records(self.path))})
        elif self.scenario != "fresh":
            SqliteStore.open(self.path)._shut()

    def live(self, *injections: str, only: Sequence[str] = ()) -> int:
        """One life of the child, under these injections; its exit status, -9 when it was killed.

        With `only`, calls count that are about these files, by the ends of their names.
        """
        command = [sys.executable, "-m", "tests.store.fire", "drive", str(self.path), self.scenario]
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={','.join((*CALLS, 'fallocate'))}"]
        if not any("signal=" in injection for injection in injections):
            traced.append("--seccomp-bpf")  # quicker; but with it no signal is ever sent
        for injection in injections:
            traced += ["-e", f"inject={injection}"]
        for end in only:
            traced += ["-P", f"{self.path}{end}"]
        command = [*traced, *command] if injections else command
        done = subprocess.run(command, capture_output=True, timeout=100, check=False)
        self.stderr += done.stderr.decode("utf-8", "replace")
        told = done.stdout.decode().split("\n")
        self.lines += [json.loads(line) for line in told[:-1]]  # what a kill cut short was not told
        self.lines.append({"op": "dead"})
        return done.returncode

    def check(self) -> None:
        """What is there now, and all that was told, is as it must be. AssertionError."""
        asyncio.run(history.check(self.path, self.lines))


def old_format(path: Path) -> None:
    """A database as the first version made it, without checksums, with something in it."""

    async def fill(store: SqliteStore) -> None:
        for n in range(30):
            await store.txn((), (Put(f"old/{n % 20}", b"%d-" % n + b"o" * 500),))
        await store.close()

    possible, checksums.are_possible = checksums.are_possible, lambda: False  # type: ignore[assignment]
    try:
        asyncio.run(fill(SqliteStore.open(path)))
    finally:
        checksums.are_possible = possible
    Path(f"{path}.mark").unlink()


async def _records(path: Path) -> dict[str, list[Any]]:
    """What is there, read from a copy: the file stays of its format."""
    copy = path.with_name("looked-at.db")
    copy.write_bytes(path.read_bytes())
    store = SqliteStore.open(copy)
    page = await store.list("")
    await store.close()
    for left in path.parent.glob("looked-at.db*"):
        left.unlink()
    return {record.key: [record.mod_revision, record.value.decode()] for record in page.records}


def kill_at(folder: Path, scenario: str, call: str, number: int) -> None:
    """A kill at this call, and a life without; after each all is checked."""
    fire = Fire(folder / "s.db", scenario)
    fire.prepare()
    assert fire.live(f"{call}:signal=SIGKILL:when={number}") == -signal.SIGKILL, fire.stderr
    fire.check()
    assert fire.live() == 0, fire.stderr
    fire.check()


if __name__ == "__main__":
    drive(Path(sys.argv[2]), sys.argv[3])
