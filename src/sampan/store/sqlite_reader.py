"""Reading SQLite: a key, a page of keys, a stretch of history. Each in one read transaction.

A read sees only what is committed, hence durable, and the revision it reports is that of its snapshot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw

from sampan.store import keys
from sampan.store.protocol import Batch, Compacted, Event, FutureRevision, Page, Record
from sampan.store.sqlite_file import SHIFT, one, read_state, record

T = TypeVar("T")
Read = Callable[[apsw.Connection], T]

CHUNK_ROWS = 500

GET = "SELECT key, value, created, id FROM record WHERE key = ? AND current = 1"
GET_PAST = "SELECT key, value, created, id FROM record WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1"
LIST = "SELECT key, value, created, id FROM record WHERE current = 1 AND {span} ORDER BY key LIMIT ?"
COUNT = "SELECT count(*) FROM record WHERE current = 1 AND {span}"
_PAST = (
    "FROM record AS r INDEXED BY history WHERE {span} AND id < ? AND value IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM record AS n WHERE n.key = r.key AND n.id > r.id AND n.id < ?)"
)
LIST_PAST = f"SELECT key, value, created, id {_PAST} ORDER BY key LIMIT ?"
COUNT_PAST = f"SELECT count(*) {_PAST}"
HISTORY = "SELECT key, value, created, id FROM record WHERE id > ? AND id < ? AND {span} ORDER BY id LIMIT ?"


def get(key: str, revision: int) -> Read[Record | None]:
    """The read of one key, now or as of a revision."""

    def read(db: apsw.Connection) -> Record | None:
        with _snapshot(db, revision) as current:
            is_now = revision in (0, current)
            row = one(db, GET, (key,)) if is_now else one(db, GET_PAST, (key, (revision + 1) << SHIFT))
        return record(*row) if row is not None and row[1] is not None else None

    return read


def page(prefix: str, after: str, limit: int, revision: int) -> Read[Page]:
    """The read of one page of keys, now or as of a revision."""

    def read(db: apsw.Connection) -> Page:
        with _snapshot(db, revision) as current:
            if revision in (0, current):
                return Page(current, *_page(db, (LIST, COUNT), (prefix, after, limit), ()))
            bound = (revision + 1) << SHIFT
            return Page(revision, *_page(db, (LIST_PAST, COUNT_PAST), (prefix, after, limit), (bound, bound)))

    return read


def history(prefix: str, after_revision: int, upto_revision: int) -> Read[Batch]:
    """The read of the next events after a revision: whole revisions, some hundred at most at once."""

    def read(db: apsw.Connection) -> Batch:
        with _snapshot(db, 0):
            oldest, _ = read_state(db)
            if after_revision < oldest and (oldest > 1 or after_revision < 0):
                raise Compacted(oldest)
            return events(db, prefix, after_revision, upto_revision)

    return read


def events(db: apsw.Connection, prefix: str, after_revision: int, upto_revision: int) -> Batch:
    """As `history`, within the caller's transaction."""
    span, values = _span(prefix, "")
    sql = HISTORY.format(span=span)
    end = (upto_revision + 1) << SHIFT
    start = ((after_revision + 1) << SHIFT) - 1
    rows: list[Any] = db.execute(sql, (start, end, *values, CHUNK_ROWS)).fetchall()
    if len(rows) < CHUNK_ROWS:
        reached = upto_revision
    else:
        reached = rows[-1][3] >> SHIFT
        rows += db.execute(sql, (rows[-1][3], (reached + 1) << SHIFT, *values, -1)).fetchall()
    return Batch(reached, tuple(_event(db, *row) for row in rows))


def _event(db: apsw.Connection, key: str, value: bytes | None, created: int, row_id: int) -> Event:
    before = one(db, GET_PAST, (key, row_id))
    previous = record(*before) if before is not None and before[1] is not None else None
    return Event(key, row_id >> SHIFT, value, previous)


def _page(
    db: apsw.Connection, queries: tuple[str, str], asked: tuple[str, str, int], bounds: tuple[int, ...]
) -> tuple[tuple[Record, ...], int]:
    prefix, after, limit = asked
    select, count = queries
    span, values = _span(prefix, after)
    rows: list[Any] = db.execute(select.format(span=span), (*values, *bounds, limit or -1)).fetchall()
    records = tuple(record(*row) for row in rows)
    if not limit or len(records) < limit:
        return records, 0
    span, values = _span(prefix, records[-1].key)
    remaining: int = one(db, count.format(span=span), (*values, *bounds))[0]
    return records, remaining


def _span(prefix: str, after: str) -> tuple[str, tuple[str, ...]]:
    """A condition for the keys with the prefix that are greater than `after`."""
    end = keys.prefix_end(prefix)
    low, operator = (after, ">") if after >= prefix else (prefix, ">=")
    if end is None:
        return f"key {operator} ?", (low,)
    return f"key {operator} ? AND key < ?", (low, end)


@contextmanager
def _snapshot(db: apsw.Connection, revision: int) -> Iterator[int]:
    """A read transaction in which the revision is readable; yields the current one."""
    db.execute("BEGIN")
    try:
        oldest, current = read_state(db)
        if revision > current:
            raise FutureRevision
        if revision and revision < oldest:
            raise Compacted(oldest)
        yield current
    finally:
        if db.in_transaction:  # what fails badly enough ends it
            db.execute("ROLLBACK")
