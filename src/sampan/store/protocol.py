"""Store: revisions, transactions and watch over keys, in etcd's model. Knows no Kubernetes.

Every successful transaction gets the next revision; all its writes carry that one revision. A
transaction's writes happen only if all its compares hold. A result is returned only once the
writes are durable (for stores that are), and events are published in revision order, after that.

https://etcd.io/docs/latest/learning/api/
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """A live key. Revisions are positive; `create_revision` is that of the write that made it."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Compare(NamedTuple):
    """Holds when the key's mod revision is this one; 0 means that the key is absent."""

    key: str
    mod_revision: int


class Put(NamedTuple):
    key: str
    value: bytes


class Delete(NamedTuple):
    """Deletes a key; no effect when it is absent."""

    key: str


Write = Put | Delete


class Result(NamedTuple):
    """`succeeded` says whether the compares held; `revision` is the store's, after the transaction.

    When they did not hold, `found` has the current record (or None) of each compared key, in order.
    """

    succeeded: bool
    revision: int
    found: tuple[Record | None, ...] = ()


class Event(NamedTuple):
    """One change. `value` is None for a deletion; `previous` is the record before, None for a creation."""

    key: str
    revision: int
    value: bytes | None
    previous: Record | None


class Batch(NamedTuple):
    """All events up to and including `revision`, in order; possibly none of interest (progress)."""

    revision: int
    events: tuple[Event, ...]


class Page(NamedTuple):
    """Records in key order as of `revision`; `remaining` counts the matching keys after the last one."""

    revision: int
    records: tuple[Record, ...]
    remaining: int


class Compacted(Exception):
    """The revision asked for is older than the compaction; `oldest` is the oldest readable revision."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revision compacted; the oldest readable one is {oldest}")
        self.oldest = oldest


class FutureRevision(Exception):
    """The revision asked for has not happened yet."""


class StoreError(Exception):
    """The store could not do it (disk full, I/O error); the write is not acknowledged."""


class NoSpaceError(StoreError):
    """There is no room for anything new; what is there can be read, changed and deleted."""


class Store(Protocol):
    """What every store offers; one test suite runs over all of them."""

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """All writes in one revision if all compares hold. Raises StoreError."""
        ...

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """The key now, or as of a revision. Raises Compacted, FutureRevision."""
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Keys with the prefix and greater than `after`, in key order. Raises Compacted, FutureRevision."""
        ...

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """Every change after the revision, for ever, in order, without gaps; Compacted if some are gone.

        A revision is never split over two batches. What is published can be had without waiting from an iterator that
        has `take_at_once`.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forgets history before the revision. Live keys stay."""
        ...

    async def revision(self) -> int:
        """The current revision; 1 for an empty store."""
        ...

    def size_bytes(self) -> int | None:
        """What it takes on disk, None when it has no disk of its own here."""
        ...

    async def close(self) -> None:
        """Finishes what is queued and lets go of files. Watches end."""
        ...
