"""Lookup: what a rule reads beside the object that it judges, answered in steps.

A rule asks as if everything were known. What has not been read yet is remembered as open and looks empty for now; its
reader then answers what is open and has the rule start anew, until nothing is. So a rule is a plain function, and the
same one works over given objects, in virtual time, and over any cluster by client.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.kinds.core.event import EVENT
from sampan.kinds.kind import Kind
from sampan.meta import objects, selectors, timestamps

Object = dict[str, Any]
Objects = tuple[Object, ...]

LOG_LINES = 20
MAX_STEPS = 16
_PART = re.compile(r"\{(.+)\}")


@dataclass(frozen=True, slots=True)
class Get:
    """One object. The answer is the object, or None."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """All objects of a kind in a namespace ("" = all). The answer is a tuple."""

    kind: Kind
    namespace: str


@dataclass(frozen=True, slots=True)
class Logs:
    """The last lines of a container, or of its attempt before. The answer is a tuple of lines."""

    namespace: str
    pod: str
    container: str
    previous: bool = False


Question = Get | ListOf | Logs


class Unreadable(tuple[Any, ...]):
    """The answer where the question may not be asked: it looks empty, and what it hides must not be called missing."""

    __slots__ = ()


UNREADABLE = Unreadable()


class Lookup(Protocol):
    """What rules may ask."""

    now: float

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""

    def list(self, kind: Kind, namespace: str = "") -> Objects:
        """All of a namespace, or of all namespaces."""

    def logs(self, pod: Object, container: str, *, previous: bool = False) -> tuple[str, ...]:
        """The last lines that it wrote."""

    def kind(self, name: str, group: str = "") -> Kind | None:
        """The kind that is served under a name (Deployment), or as a resource (deployments)."""

    def owned(self, kind: Kind, namespace: str, uid: str) -> Objects:
        """Those of a kind that name an owner."""

    def is_hidden(self, kind: Kind, namespace: str = "", name: str = "") -> bool:
        """Whether an object (a list, without a name) may not be read: then nothing is known of it."""

    def told(self, namespace: str) -> Mapping[str, Objects]:
        """The events of a namespace, by the uid of what they are about, and those without one by "Kind/name"."""


@dataclass(slots=True)
class Known:
    """A Lookup over answers that are there; `open` are the questions that had none."""

    now: float
    kinds: Sequence[Kind] = ()
    answers: Mapping[Question, Any] = field(default_factory=dict)
    open: dict[Question, None] = field(default_factory=dict)
    _indexes: dict[Question, dict[str, Objects]] = field(default_factory=dict)

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object, or None, also where nobody has asked for it yet."""
        found = self._answer(Get(kind, namespace if kind.namespaced else "", name), None)
        return None if found is UNREADABLE else found

    def list(self, kind: Kind, namespace: str = "") -> Objects:
        """All of them, none where nobody has asked yet."""
        question = ListOf(kind, namespace if kind.namespaced else "")
        everywhere = ListOf(kind, "")
        if question not in self.answers and everywhere in self.answers:
            return self._index(everywhere).get(f"in {namespace}", ())
        found: Objects = self._answer(question, ())
        return found

    def owned(self, kind: Kind, namespace: str, uid: str) -> Objects:
        """Those of a kind that name an owner."""
        self.list(kind, namespace)
        question = ListOf(kind, namespace) if ListOf(kind, namespace) in self.answers else ListOf(kind, "")
        return self._index(question).get(uid, ())

    def is_hidden(self, kind: Kind, namespace: str = "", name: str = "") -> bool:
        """Whether the answer is that it may not be read."""
        space = namespace if kind.namespaced else ""
        question = Get(kind, space, name) if name else ListOf(kind, space)
        return self.answers.get(question) is UNREADABLE

    @property
    def unread(self) -> tuple[str, ...]:
        """What may not be read, in words."""
        hidden = [question for question, answer in self.answers.items() if answer is UNREADABLE]
        return tuple(sorted({_words(question) for question in hidden}))

    def told(self, namespace: str) -> Mapping[str, Objects]:
        """The events of a namespace, by what they are about."""
        self.list(EVENT, namespace)
        return self._index(ListOf(EVENT, namespace))

    def logs(self, pod: Object, container: str, *, previous: bool = False) -> tuple[str, ...]:
        """The last lines, none where nobody has asked yet."""
        question = Logs(objects.namespace(pod), objects.name(pod), container, previous)
        found: tuple[str, ...] = self._answer(question, ())
        return found

    def kind(self, name: str, group: str = "") -> Kind | None:
        """The first that is served so; `group` "" is any."""
        return next((k for k in self.kinds if name in (k.name, k.plural) and group in ("", k.group)), None)

    def _index(self, question: ListOf) -> dict[str, Objects]:
        """An answered list by owners (events: by what they are about) and by namespaces, made once."""
        made = self._indexes.get(question)
        if made is None:
            keys = _about if question.kind == EVENT else _owners
            gathered: dict[str, list[Object]] = {}
            for each in self.answers.get(question, ()):
                for key in (*keys(each), f"in {objects.namespace(each)}"):
                    gathered.setdefault(key, []).append(each)
            made = self._indexes[question] = {key: tuple(found) for key, found in gathered.items()}
        return made

    def _answer(self, question: Question, nothing: Any) -> Any:
        if question not in self.answers:
            self.open[question] = None
            return nothing
        return self.answers[question]


def events(look: Lookup, obj: Mapping[str, Any], *, part: str = "") -> list[Object]:
    """What was told of an object, the latest first; with `part`, only of that container (or of none)."""
    there = look.told(objects.namespace(obj) or "default")
    name = f"{obj.get('kind')}/{objects.name(obj)}"
    found = [*there.get(objects.uid(obj) or "-", ()), *there.get(name, ())]
    if part:
        found = [event for event in found if _part(event) in ("", part)]
    return sorted(found, key=last_seen, reverse=True)


def warnings(look: Lookup, obj: Mapping[str, Any], *reasons: str, part: str = "") -> list[Object]:
    """The events of type Warning, the latest first; of these reasons, if any are given."""
    found = events(look, obj, part=part)
    return [e for e in found if e.get("type") == "Warning" and (not reasons or e.get("reason") in reasons)]


def last_seen(event: Mapping[str, Any]) -> float:
    """When it was last told, in unix seconds."""
    series = (event.get("series") or {}).get("lastObservedTime")
    text = event.get("lastTimestamp") or series or event.get("eventTime") or event.get("firstTimestamp")
    text = text or objects.metadata(event).get("creationTimestamp")
    return timestamps.parse(text) if text else 0.0


def owned(look: Lookup, kind: Kind, owner: Mapping[str, Any]) -> list[Object]:
    """The objects of a kind that say they are an object's, by name."""
    return sorted(look.owned(kind, objects.namespace(owner), objects.uid(owner)), key=objects.name)


def matching(found: Iterable[Object], labels: Mapping[str, str]) -> list[Object]:
    """Those that have all these labels."""
    selector = selectors.from_map(labels)
    return [each for each in found if selector.matches(objects.labels(each))]


def since(look: Lookup, text: str | None) -> float:
    """Seconds since a time; 0 where there is none."""
    return max(look.now - timestamps.parse(text), 0.0) if text else 0.0


def _words(question: Question) -> str:
    where = f" in {question.namespace}" if question.namespace else ""
    if isinstance(question, Logs):
        return f"the log of pod/{question.pod}{where}"
    if isinstance(question, Get):
        return f"{question.kind.name.lower()}/{question.name}{where}"
    return f"{question.kind.plural}{where}"


def _owners(obj: Object) -> list[str]:
    return [str(owner.get("uid")) for owner in objects.owner_references(obj)]


def _about(event: Object) -> list[str]:
    """By uid; a node's events bear its name in the uid's place, and those of some tools bear none."""
    about = event.get("involvedObject") or {}
    name, uid = f"{about.get('kind')}/{about.get('name')}", str(about.get("uid") or "")
    return [uid] if uid and uid != about.get("name") else [name]


def _part(event: Object) -> str:
    match = _PART.search(str((event.get("involvedObject") or {}).get("fieldPath") or ""))
    return match[1] if match else ""
