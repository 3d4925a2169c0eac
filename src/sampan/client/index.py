"""Index: the keys of a cache's objects under terms that an object has, in order; made when it is first asked.

What terms an object has follows from a part of it, such as its labels: a change that leaves the part as it was costs
nothing but a comparison.
"""

import logging
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

Key = tuple[str, str]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """`part(obj)` is what `of(key, part)` makes the terms of.

    `place` is the object's field in which all of it is, if it is in one: versions that share it have the same terms.
    """

    part: Callable[[Object], Any]
    of: Callable[[Key, Any], Iterable[str]]
    place: str = ""


class _Bucket:
    """Keys under one term. `order` is kept once somebody has asked for it."""

    __slots__ = ("keys", "order")

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.order: list[Key] | None = None

    def add(self, key: Key) -> None:
        if key not in self.keys:
            self.keys.add(key)
            if self.order is not None:
                insort(self.order, key)

    def remove(self, key: Key) -> None:
        if key in self.keys:
            self.keys.discard(key)
            if self.order is not None:
                del self.order[bisect_left(self.order, key)]

    def in_order(self) -> list[Key]:
        if self.order is None:
            self.order = sorted(self.keys)
        return self.order


class Index:
    """What `terms` says of the objects that are `put` here."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._buckets: dict[str, _Bucket] = {}
        self._unread: set[Key] = set()

    def put(self, key: Key, old: Object | None, new: Object | None) -> None:
        """The object is new, has changed, or is gone. One whose terms can't be made is under none."""
        if key in self._unread:
            self._unread.discard(key)
            old = None
        try:
            self._put(key, old, new)
        except Exception:
            log.exception("%s %s is left out of an index", (new or old or {}).get("kind"), "/".join(key))
            self._leave_out(key)

    def _leave_out(self, key: Key) -> None:
        self._unread.add(key)
        for term in [term for term, bucket in self._buckets.items() if key in bucket.keys]:
            self._take_out(key, term)

    def _take_out(self, key: Key, term: str) -> None:
        bucket = self._buckets.get(term)
        if bucket is not None:
            bucket.remove(key)
            if not bucket.keys:
                del self._buckets[term]

    def _put(self, key: Key, old: Object | None, new: Object | None) -> None:
        terms = self._terms
        if old is not None and new is not None:
            place = terms.place
            if (place and old.get(place) is new.get(place)) or terms.part(old) == terms.part(new):
                return
        if old is not None:
            for term in terms.of(key, terms.part(old)):
                self._take_out(key, term)
        if new is not None:
            for term in terms.of(key, terms.part(new)):
                self._buckets.setdefault(term, _Bucket()).add(key)

    def under(self, term: str) -> list[Key]:
        """The keys under a term, in order: not to be changed."""
        bucket = self._buckets.get(term)
        return bucket.in_order() if bucket is not None else []

    def has_any(self, term: str) -> bool:
        """Whether there is one under the term."""
        return term in self._buckets

    def count(self, term: str) -> int:
        """How many there are."""
        bucket = self._buckets.get(term)
        return len(bucket.keys) if bucket is not None else 0

    def has(self, term: str, key: Key) -> bool:
        """Whether the key is under the term."""
        bucket = self._buckets.get(term)
        return bucket is not None and key in bucket.keys

    def copy(self) -> "Index":
        """Another one that says the same."""
        made = Index(self._terms)
        made._unread = set(self._unread)
        for term, bucket in self._buckets.items():
            copied = made._buckets[term] = _Bucket()
            copied.keys = set(bucket.keys)
            copied.order = list(bucket.order) if bucket.order is not None else None
        return made


def of_object(function: Callable[[Object], Iterable[str]], place: str = "") -> Terms:
    """Terms that follow from the object by a function: where they are the same, nothing has changed."""
    return Terms(lambda obj: tuple(function(obj)), lambda key, terms: terms, place)


def _controllers(key: Key, owners: Iterable[Mapping[str, Any]] | None) -> Iterable[str]:
    return [str(owner.get("uid", "")) for owner in owners or () if owner.get("controller")]


def _orphans(key: Key, owners: Iterable[Mapping[str, Any]] | None) -> Iterable[str]:
    return () if any(owner.get("controller") for owner in owners or ()) else (key[0],)


def _owners(obj: Object) -> Any:
    return obj["metadata"].get("ownerReferences")


OWNER = Terms(_owners, lambda key, owners: [str(owner.get("uid", "")) for owner in owners or ()])
"""Whom it belongs to, by uids."""
CONTROLLER = Terms(_owners, _controllers)
"""Whom it belongs to as to its controller."""
ORPHAN = Terms(_owners, _orphans)
"""Its namespace, while nobody is its controller."""
NAMESPACE = Terms(lambda obj: None, lambda key, part: (key[0],))
ALL = Terms(lambda obj: None, lambda key, part: ("",))
LABEL = Terms(
    lambda obj: obj["metadata"].get("labels"),
    lambda key, labels: [f"{key[0]}/{name}={value}" for name, value in (labels or {}).items()],
)
"""NAMESPACE/NAME=VALUE for each label."""

BUILT_IN = {
    "all": ALL,
    "namespace": NAMESPACE,
    "label": LABEL,
    "owner": OWNER,
    "controller": CONTROLLER,
    "orphan": ORPHAN,
}
