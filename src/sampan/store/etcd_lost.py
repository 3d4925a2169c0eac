"""A transaction whose answer was lost: whether it was done is read from what happened since.

A transaction that writes a key whose revision it compares can also be sent again: then it is done at most once, since
whoever writes the key first makes the compare of all others false.
"""

from collections.abc import Iterable, Sequence

from sampan.store.protocol import Compare, Event, Put, Write


def is_guarded(compares: Sequence[Compare], writes: Sequence[Write]) -> bool:
    """Whether of two such transactions only one can be done."""
    return bool({compare.key for compare in compares} & {write.key for write in writes})


def done_at(compares: Sequence[Compare], writes: Sequence[Write], events: Iterable[Event]) -> int:
    """The revision at which it was done, if it was, else 0; `events` are all since before it was sent."""
    by_revision: dict[int, dict[str, Event]] = {}
    for event in events:
        by_revision.setdefault(event.revision, {})[event.key] = event
    found = (revision for revision, changed in by_revision.items() if _is_it(compares, writes, changed))
    return min(found, default=0)


def _is_it(compares: Sequence[Compare], writes: Sequence[Write], changed: dict[str, Event]) -> bool:
    """Whether these are its changes, no more and no less. A deletion of what was not there is no change."""
    by_key = {write.key: write for write in writes}
    if set(changed) - set(by_key):
        return False
    for key, write in by_key.items():
        event = changed.get(key)
        if isinstance(write, Put):
            if event is None or event.value != write.value:
                return False
        elif event is not None and event.value is not None:
            return False
    before = {key: event.previous.mod_revision if event.previous else 0 for key, event in changed.items()}
    return all(before.get(compare.key, compare.mod_revision) == compare.mod_revision for compare in compares)
