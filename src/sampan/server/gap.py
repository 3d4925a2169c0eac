"""A gap: what must have happened between what a cache knows and what the store has now, as far as it still shows.

Each object that is different now has one change, in the order of the revisions; deletions come last, since nobody knows
when they were.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from sampan.store.protocol import Event, Page, Record


class Known(Protocol):
    """An object at a revision."""

    revision: int
    stored: bytes


class Kept(Protocol):
    """The objects under a prefix, by the rest of their keys."""

    prefix: str

    @property
    def items(self) -> Mapping[str, Known]: ...


def events(kept: Iterable[Kept], page: Page) -> tuple[Event, ...]:
    """The changes that bring what is kept to what the page has."""
    known = {cache.prefix + key: item for cache in kept for key, item in cache.items.items()}
    live = {record.key for record in page.records}
    changed = [
        Event(record.key, record.mod_revision, record.value, _record(record.key, known.get(record.key)))
        for record in page.records
        if record.key not in known or known[record.key].revision != record.mod_revision
    ]
    gone = [Event(key, page.revision, None, _record(key, item)) for key, item in known.items() if key not in live]
    return (*sorted(changed, key=lambda event: event.revision), *gone)


def _record(key: str, item: Known | None) -> Record | None:
    return None if item is None else Record(key, item.stored, item.revision, item.revision)
