"""Writing SQLite: one thread, and one commit for everything that waits (group commit).

Transactions queue up; the thread takes all that wait, evaluates each in order against what the ones
before it in the group wrote, commits once, and only then hands the results back. If the commit fails,
none of the group is acknowledged; the connection is opened anew and what the file then holds is the
truth. The revision never goes back: it is read from the file.

https://www.sqlite.org/atomiccommit.html
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from sampan.store import checksums, sqlite_reader
from sampan.store.checkpoints import Checkpoints
from sampan.store.protocol import Compare, Delete, Event, NoSpaceError, Put, Record, Result, StoreError, Write
from sampan.store.room import Room
from sampan.store.sqlite_file import SHIFT, SqliteFile, close, is_full, one, read_state, record

log = logging.getLogger(__name__)

MAX_GROUP = 1000  # transactions in one commit
MAX_WAITING = 20_000
BUSY_SECONDS = 60.0  # how long somebody else may hold the file's lock
COMPACT_ROWS = 500  # forgotten in one commit, so that writers do not wait long
FREE_PAGES = 2048  # kept in the file for reuse
VACUUM_PAGES = 512  # given back in one commit
ROOM_SECONDS = 1.0  # how often a full disk is looked at again

NO_SPACE = (
    "no space is left where the store is: nothing new can be created until some is freed; "
    "what is there can be changed and deleted"
)

FIND = "SELECT id, created, value FROM record WHERE key = ? AND current = 1"
INSERT = "INSERT INTO record (id, created, current, key, value) VALUES (?, ?, ?, ?, ?)"
SUPERSEDE = "UPDATE record SET current = 0 WHERE id = ?"
SET_COMPACTED = "UPDATE meta SET value = ? WHERE name = 'compacted'"
STALE = """
SELECT id, value IS NULL OR EXISTS (SELECT 1 FROM record AS n WHERE n.key = r.key AND n.id > r.id AND n.id < ?)
FROM record AS r INDEXED BY stale WHERE current = 0 AND id > ? AND id < ? ORDER BY id LIMIT ?
"""


@dataclass(eq=False, slots=True)
class Request:
    """A queued transaction; or, with `compact`, the wish to forget what is before that revision."""

    done: Callable[["Outcome"], None]
    compares: Sequence[Compare] = ()
    writes: Sequence[Write] = ()
    compact: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of a request."""

    request: Request
    result: Result | None = None
    error: StoreError | None = None


@dataclass(slots=True)
class Group:
    """What one commit did: the new revision, its events, and an outcome for each request.

    While room `is_short` nothing is created.
    """

    revision: int
    is_short: bool = False
    events: list[Event] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


class Writer:
    """The thread. `deliver` is called from it, once for each group, after the commit."""

    def __init__(self, file: SqliteFile, deliver: Callable[[Group], None]) -> None:
        self._file = file
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._room = Room(file.path)
        self._room_seen = time.monotonic()
        self._db: apsw.Connection | None = self._connect()
        self._checkpoints = Checkpoints(file)
        self._compactions: list[Request] = []
        self._stopping = False
        self._suspect = False  # a sync failed: nothing in the log counts as durable until it is in the file
        try:
            self.oldest, self.revision = read_state(self._db)
            file.mark.check(self.revision)
        except BaseException:
            close(self._db)
            raise
        self._checkpoints.watch(self._db)
        self._thread = threading.Thread(target=self._run, name="sampan-store-writer", daemon=True)
        self._thread.start()

    def _connect(self) -> apsw.Connection:
        """On a full disk, in the room that is kept for that."""
        try:
            return self._file.connect_writer()
        except apsw.Error as error:
            if not is_full(error) or not self._room.give_up():
                raise
            self._room_seen = time.monotonic()
            return self._file.connect_writer()

    def submit(self, request: Request) -> None:
        """Queues the request. Raises StoreError when too many wait."""
        if self._stopping:
            raise StoreError("the store is closed")
        if self._queue.qsize() > MAX_WAITING:
            raise StoreError(f"more than {MAX_WAITING} writes wait for the disk")
        self._queue.put(request)

    def stop(self) -> None:
        """Finishes what is queued and ends the thread. Blocks."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group = self._gather()
            if group is None:
                break
            writes = [request for request in group if not request.compact]
            self._compactions += [request for request in group if request.compact]
            if writes:
                self._write(writes)
            while self._compactions and not self._stopping:
                self._compact(self._compactions.pop(0))
        for request in self._compactions:
            self._deliver(Group(self.revision, outcomes=[Outcome(request, error=StoreError("the store is closed"))]))
        if self._db is not None:
            close(self._db)

    def _gather(self) -> list[Request] | None:
        """All that waits, at least one; None when stopped and empty."""
        first = self._queue.get()
        group = [] if first is None else [first]
        while len(group) < MAX_GROUP:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                break
            if request is not None:
                group.append(request)
            elif not group:
                return None
            else:
                self._queue.put(None)
                break
        return group or None

    def _write(self, requests: list[Request]) -> None:
        self._look_for_room()
        before = self.revision
        group = Group(before, is_short=self._room.is_short)
        try:
            db = self._begin()
            for request in requests:
                group.outcomes.append(_outcome(db, request, group))
            db.execute("COMMIT" if group.events else "ROLLBACK")
        except Exception as error:  # noqa: BLE001 (whatever it was, nobody is told that it worked)
            if not self._makes_room(error):
                self._fail(requests, error, before)
            else:
                self._write(requests)
            return
        self.revision = group.revision
        if group.events:
            self._file.mark.move(self.revision)
        self._deliver(group)
        self._checkpoint()

    def _look_for_room(self) -> None:
        """Now and then: whether it is still short, and whether the file is there that is given up then."""
        if time.monotonic() > self._room_seen + ROOM_SECONDS:
            self._room.keep()
            self._room_seen = time.monotonic()

    def _makes_room(self, error: Exception) -> bool:
        """Whether the disk was full and is not quite so any more: then it is worth another attempt."""
        if not is_full(error) or self._room.is_short:
            return False
        before = self.revision
        self._room_seen = time.monotonic()
        has_more = self._room.give_up()
        self._recover(error)
        return has_more and self._db is not None and self.revision == before

    def _begin(self) -> apsw.Connection:
        """An open write transaction. Waits while somebody else has the file locked."""
        db = self._db or self._reopen()
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return db
            except apsw.BusyError:
                if time.monotonic() > deadline:
                    raise

    def _fail(self, requests: list[Request], error: Exception, before: int) -> None:
        """Nothing of the group is acknowledged; what the file holds since revision `before` is found out before going on."""
        log.error(
            "the store could not write %s: %s",
            self._file.path,
            checksums.story(error),
            exc_info=not isinstance(error, apsw.Error),
        )
        refusal = StoreError(f"the store could not write: {checksums.story(error)}")
        if is_full(error):
            refusal = NoSpaceError(NO_SPACE)
        self._recover(error)
        group = Group(self.revision, outcomes=[Outcome(request, error=refusal) for request in requests])
        if self._db is not None and self.revision > before:
            group.events = _missing(self._db, before, self.revision)
        self._deliver(group)

    def _recover(self, error: Exception) -> None:
        """Opens the file anew, unless somebody else's lock was all that was wrong."""
        if self._db is not None and not self._db.in_transaction and isinstance(error, apsw.BusyError):
            return
        self._suspect = self._suspect or not is_full(error)
        if self._db is not None:
            close(self._db)
            self._db = None
        try:
            self._reopen()
        except (apsw.Error, StoreError, OSError) as again:
            log.warning("the store could not be opened again yet: %s", again)  # the next group tries

    def _reopen(self) -> apsw.Connection:
        db = self._file.connect_writer()
        try:
            if self._suspect:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
                self._suspect = False
            oldest, revision = read_state(db)
            if revision < self.revision:
                raise StoreError(f"{self._file.path} lost revisions: {revision} after {self.revision}")
        except BaseException:
            close(db)
            raise
        self.oldest, self.revision = oldest, revision
        self._checkpoints.watch(db)
        self._db = db
        return db

    def _checkpoint(self, *, is_quiet: bool = False) -> None:
        if self._db is not None:
            self._checkpoints.step(self._db, is_quiet=is_quiet)

    def _compact(self, request: Request) -> None:
        """Forgets in small commits; queued writes go in between."""
        outcome = Outcome(request, result=Result(True, self.revision))
        try:
            if request.compact > self.oldest:
                db = self._begin()
                db.execute(SET_COMPACTED, (request.compact,))
                db.execute("COMMIT")
                self.oldest = request.compact
            self._forget(request.compact)
            self._shrink()
            self._checkpoint(is_quiet=True)
            self._room.keep()
        except Exception as error:  # noqa: BLE001 (as above)
            self._fail([request], error, self.revision)
            return
        self._deliver(Group(self.revision, outcomes=[outcome]))

    def _forget(self, revision: int) -> None:
        bound, after = (revision + 1) << SHIFT, 0
        while True:
            db = self._begin()
            rows: list[Any] = db.execute(STALE, (bound, after, bound, COMPACT_ROWS)).fetchall()
            unneeded = [(row[0],) for row in rows if row[1]]
            db.executemany("DELETE FROM record WHERE id = ?", unneeded)
            db.execute("COMMIT")
            if len(rows) < COMPACT_ROWS or self._stopping:
                return
            after = int(rows[-1][0])
            self._let_writers()

    def _shrink(self) -> None:
        """Gives free pages back to the file system, but for some that will be used again."""
        enough = FREE_PAGES + VACUUM_PAGES
        while not self._stopping and self._db is not None and self._db.pragma("freelist_count") > enough:
            self._begin().execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            self._db.execute("COMMIT")
            self._let_writers()

    def _let_writers(self) -> None:
        """Between two small commits of a compaction: whoever waits goes first."""
        if self._queue.empty():
            return
        waiting = self._gather()
        if waiting is None:
            self._queue.put(None)
            return
        self._compactions += [request for request in waiting if request.compact]
        if writes := [request for request in waiting if not request.compact]:
            self._write(writes)


def _outcome(db: apsw.Connection, request: Request, group: Group) -> Outcome:
    try:
        return Outcome(request, _evaluate(db, request, group))
    except NoSpaceError as error:
        return Outcome(request, error=error)


def _evaluate(db: apsw.Connection, request: Request, group: Group) -> Result:
    """One transaction, on top of what the group wrote so far."""
    known = {compare.key: _find(db, compare.key) for compare in request.compares}
    for compare in request.compares:
        if known[compare.key].mod_revision != compare.mod_revision:
            return Result(False, group.revision, tuple(known[c.key].record for c in request.compares))
    if group.is_short and any(
        isinstance(write, Put) and _find(db, write.key).record is None for write in request.writes
    ):
        raise NoSpaceError(NO_SPACE)
    revision, place = group.revision + 1, 0
    for write in request.writes:
        found = known.get(write.key) or _find(db, write.key)
        if found.record is None and isinstance(write, Delete):
            continue
        group.events.append(_write(db, write, found, (revision << SHIFT) + place))
        place += 1
    if place:
        group.revision = revision
    return Result(True, group.revision)


@dataclass(slots=True)
class Found:
    """The live row of a key, or that there is none (row 0, revision 0)."""

    row_id: int = 0
    record: Record | None = None

    @property
    def mod_revision(self) -> int:
        return self.row_id >> SHIFT


def _find(db: apsw.Connection, key: str) -> Found:
    row = one(db, FIND, (key,))
    return Found(row[0], record(key, row[2], row[1], row[0])) if row is not None else Found()


def _write(db: apsw.Connection, write: Write, found: Found, row_id: int) -> Event:
    revision, previous = row_id >> SHIFT, found.record
    value = write.value if isinstance(write, Put) else None
    if previous is not None:
        db.execute(SUPERSEDE, (found.row_id,))
    created = previous.create_revision if previous else revision
    db.execute(INSERT, (row_id, created, 0 if value is None else 1, write.key, value))
    return Event(write.key, revision, value, previous)


def _missing(db: apsw.Connection, after_revision: int, upto_revision: int) -> list[Event]:
    """The events of a commit that failed and is in the file all the same."""
    found: list[Event] = []
    while after_revision < upto_revision:
        batch = sqlite_reader.events(db, "", after_revision, upto_revision)
        found += batch.events
        after_revision = batch.revision
    return found
