"""View: what a controller may see. Read only: the caches, answers to its questions, outcomes of its last plan.

Objects are the caches' own: never mutate them. Every list comes in a fixed order (namespace, name).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sampan.control.plan import Key, Outcome, Question
from sampan.kinds.kind import Kind, Object
from sampan.meta import selectors

Objects = list[Object]


class Source(Protocol):
    """Where objects of one kind come from: a cache, or a snapshot in tests. Lists come in the order of keys."""

    def get(self, key: Key) -> Object | None: ...
    def __iter__(self) -> Iterator[Object]: ...
    def items(self, namespace: str = "") -> Objects: ...
    def owned_by(self, uid: str) -> Objects: ...
    def controlled_by(self, uid: str) -> Objects: ...
    def orphans(self, namespace: str) -> Objects: ...
    def labelled(self, namespace: str, equalities: dict[str, str]) -> Objects: ...
    def indexed(self, name: str, term: str) -> Objects: ...
    def count(self, name: str, term: str) -> int: ...
    def age_seconds(self, key: Key) -> float: ...
    def saw_go(self, uid: str) -> bool: ...


class Unanswered:
    """The answer to a question that has not been asked yet."""


UNANSWERED: Final = Unanswered()


@dataclass(frozen=True, slots=True)
class View:
    """Sources by kind (`kind.resource`), plus what is remembered for the key at hand.

    `kinds` has every kind the server serves, for the rules that are about all kinds. `memory` is what a plan said to
    keep for the key.
    """

    sources: Mapping[str, Source]
    outcomes: tuple[Outcome, ...] = ()
    answers: Mapping[Question, Any] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)

    def get(self, kind: Kind, key: Key) -> Object | None:
        """The object, or None."""
        return self.sources[kind.resource].get(key)

    def list(self, kind: Kind, namespace: str = "") -> Objects:
        """All objects of the kind, or those in one namespace."""
        return self.sources[kind.resource].items(namespace)

    def each(self, kind: Kind) -> Iterator[Object]:
        """All objects of the kind in no order that means anything, which costs less."""
        return iter(self.sources[kind.resource])

    def owned(self, owner: Object, kind: Kind) -> Objects:
        """Objects whose controller is `owner`."""
        uid = owner["metadata"]["uid"]
        namespace = owner["metadata"].get("namespace", "")
        found = self.sources[kind.resource].controlled_by(uid)
        if not namespace or not found or (_namespace(found[0]) == namespace == _namespace(found[-1])):
            return found
        return [o for o in found if _namespace(o) == namespace]

    def orphans(self, kind: Kind, namespace: str) -> Objects:
        """Objects of a namespace that have no controller."""
        return self.sources[kind.resource].orphans(namespace)

    def dependents(self, kind: Kind, uid: str) -> Objects:
        """Objects with any ownerReference to this uid."""
        return self.sources[kind.resource].owned_by(uid)

    def any_dependents(self, uid: str) -> Sequence[tuple[Kind, Object]]:
        """The same of all kinds, in their order."""
        sources, found = self.sources, []
        for kind in self.kinds.values():
            for owned in sources[kind.resource].owned_by(uid):
                found.append((kind, owned))  # noqa: PERF401 (mostly there is none, of a hundred kinds)
        return found

    def selected(self, kind: Kind, namespace: str, selector: selectors.Selector) -> Objects:
        """Objects of a namespace that a selector matches."""
        equalities = selector.equalities()
        candidates = self.sources[kind.resource].labelled(namespace, equalities)
        if len(equalities) == len(selector.requirements) and not selector.nothing:
            return candidates
        return [o for o in candidates if selector.matches(o["metadata"].get("labels"))]

    def indexed(self, kind: Kind, index: str, term: str) -> Objects:
        """Objects under a term of an index that the controller declared."""
        return self.sources[kind.resource].indexed(index, term)

    def count(self, kind: Kind, index: str, term: str) -> int:
        """How many there are."""
        return self.sources[kind.resource].count(index, term)

    def age_seconds(self, kind: Kind, key: Key) -> float:
        """How long ago a change of the object was last seen; immune to wall clock jumps."""
        return self.sources[kind.resource].age_seconds(key)

    def saw_go(self, kind: Kind, uid: str) -> bool:
        """Whether the server told of the end of the object with this uid, not long ago."""
        return self.sources[kind.resource].saw_go(uid)

    def answer(self, question: Question) -> Any:
        """The answer to a question, or UNANSWERED."""
        return self.answers.get(question, UNANSWERED)

    def refusals(self) -> tuple[Outcome, ...]:
        """Those writes of the last plan that the server refused."""
        return tuple(outcome for outcome in self.outcomes if outcome.refusal is not None)


class Snapshot:
    """A Source over a plain list of objects, for tests and dry runs."""

    def __init__(
        self, objects: Iterable[Object], ages: Mapping[Key, float] | None = None, gone: Iterable[str] = ()
    ) -> None:
        self._objects = {_key(obj): obj for obj in sorted(objects, key=_key)}
        self._gone = frozenset(gone)
        self._ages = ages or {}

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def items(self, namespace: str = "") -> Objects:
        return [o for key, o in self._objects.items() if not namespace or key[0] == namespace]

    def owned_by(self, uid: str) -> Objects:
        return [o for o in self._objects.values() if any(r.get("uid") == uid for r in _owners(o))]

    def controlled_by(self, uid: str) -> Objects:
        return [o for o in self._objects.values() if any(r.get("controller") and r["uid"] == uid for r in _owners(o))]

    def orphans(self, namespace: str) -> Objects:
        return [o for o in self.items(namespace) if not any(r.get("controller") for r in _owners(o))]

    def labelled(self, namespace: str, equalities: dict[str, str]) -> Objects:
        return [o for o in self.items(namespace) if equalities.items() <= (o["metadata"].get("labels") or {}).items()]

    def indexed(self, name: str, term: str) -> Objects:
        """`name` is a dotted path here, as it is where controllers declare an index."""
        return [o for o in self._objects.values() if term in path_terms(name)(o)]

    def count(self, name: str, term: str) -> int:
        return len(self.indexed(name, term))

    def age_seconds(self, key: Key) -> float:
        return self._ages.get(key, 0.0)

    def saw_go(self, uid: str) -> bool:
        return uid in self._gone


def path_terms(path: str) -> Any:
    """An index by the text at a dotted path: function object -> terms. A list on the way has a term for each item."""
    parts = path.split(".")

    def terms(obj: Object) -> tuple[str, ...]:
        value: Any = obj
        for position, part in enumerate(parts):
            value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, list):
                rest = path_terms(".".join(parts[position + 1 :]))
                return tuple(term for item in value for term in rest(item))
        return (str(value),) if value not in (None, "") else ()

    return terms


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _owners(obj: Object) -> Objects:
    return obj["metadata"].get("ownerReferences") or []


def _key(obj: Object) -> Key:
    return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])
