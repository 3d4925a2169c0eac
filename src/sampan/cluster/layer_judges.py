"""A layer's admission rules as admission plugins of a server.

They read what the server has stored, so that a rule sees every write that was answered before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cluster.layer_memory import Memory
from sampan.control.plan import Ask, AskList, Question, Update
from sampan.control.view import Objects, View, path_terms
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects
from sampan.meta.status import ApiError, failure
from sampan.platform.review import Attempt, Refusal, Review, Reviewer
from sampan.server import cache, codec
from sampan.server.admission import matching
from sampan.server.admission.chain import Attributes, Concern, Lookup
from sampan.server.served import Served
from sampan.store.protocol import Compare, Put

ROUNDS_OF_QUESTIONS = 5


class Judge:
    """The plugin of one reviewer of a layer."""

    JOINS = True

    def __init__(self, reviewer: Reviewer, served: Served) -> None:
        self._reviewer = reviewer
        self._served = served
        self._memory = Memory()
        self.CONCERNS = OfRules(rules=reviewer.rules)

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError. What is judged again, as its transaction is tried again, starts from the same memory."""
        match = matching.by_rules(self._reviewer.rules, "Equivalent", attributes, self._served)
        if match is None or matching.is_exempt(attributes):
            return
        attempt = _attempt(attributes)
        term, key = self._reviewer.term(attempt), f"layers/{self._reviewer.name}"
        before = attributes.memory.setdefault(key, self._memory.of(term))
        review = self._ask(attempt, before, lookup)
        attributes.call.warnings.extend(review.warnings)
        if not attempt.is_dry_run:
            if review.memory is not None:
                self._memory.keep(term, review.memory)
            for write in review.writes:
                _join(attributes, write)
        if review.refusal is not None:
            raise _refused(attempt, review.refusal, attributes.call.warnings)

    def _ask(self, attempt: Attempt, memory: Mapping[str, Any], lookup: Lookup) -> Review:
        """What the rule says when all its questions are answered."""
        sources = {kind.resource: Stored(kind, lookup) for kind in self._reviewer.reads}
        answers: dict[Question, Any] = {}
        for _ in range(ROUNDS_OF_QUESTIONS):
            review = self._reviewer.review(attempt, View(sources, answers=answers, memory=memory))
            if not review.ask:
                return review
            answers.update((question, _answer(question, lookup)) for question in review.ask)
        raise RuntimeError(f"{self._reviewer.name} has still questions after {ROUNDS_OF_QUESTIONS} rounds")


@dataclass(frozen=True, slots=True)
class OfRules(Concern):
    """Requests on what rules name."""

    rules: tuple[Object, ...] = ()

    def covers(self, kind: Kind, operation: str) -> bool:
        """Whether some rule may fit a request of this sort, in whichever version."""
        return any(_may_fit(rule, kind, operation) for rule in self.rules)


def _may_fit(rule: Object, kind: Kind, operation: str) -> bool:
    plurals = {resource.partition("/")[0] for resource in rule["resources"]}
    named = (("operations", operation), ("apiGroups", kind.group))
    fits = all("*" in rule[field] or value in rule[field] for field, value in named)
    return fits and bool(plurals & {"*", kind.plural})


def _answer(question: Ask | AskList, lookup: Lookup) -> Any:
    if isinstance(question, Ask):
        found = lookup.get(question.kind, *question.key)
        return found.tree if found is not None else None
    return tuple(item.tree for item in lookup.all(question.kind, question.namespace))


def _join(attributes: Attributes, write: Update) -> None:
    """The write is done in the transaction of what was asked about, and only if nobody else was faster."""
    where = cache.prefix(write.kind) + cache.item_key(write.kind, *objects.key(write.obj))
    attributes.compares.append(Compare(where, int(objects.resource_version(write.obj))))
    attributes.writes.append(Put(where, cache.encode(write.obj)))


def _refused(attempt: Attempt, refusal: Refusal, warnings: Sequence[str]) -> ApiError:
    """As an admission plugin refuses: the object by its name, then why. A frame that raises it has no name for it."""
    group, plural = attempt.resource
    what = f"{plural}.{group}" if group else plural
    details: Object = {"name": attempt.name, "group": group, "kind": plural}
    details = {key: value for key, value in details.items() if value}
    if refusal.retry_seconds is not None:
        details["retryAfterSeconds"] = refusal.retry_seconds
    text = f'{what} "{attempt.name}" is forbidden: {refusal.message}' if refusal.code == 403 else refusal.message
    error = failure(refusal.code, refusal.reason, text, details)
    if refusal.retry_seconds is not None:
        error.headers["Retry-After"] = str(refusal.retry_seconds)
    error.headers.update(codec.warning_headers(warnings))
    return error


def _attempt(attributes: Attributes) -> Attempt:
    info, kind = attributes.call.info, attributes.kind
    body = attributes.body_kind
    return Attempt(
        operation=attributes.operation,
        resource=(info.group, kind.plural),
        kind=body or (info.group, info.version, kind.name),
        namespace=attributes.namespace,
        name=attributes.name,
        now=attributes.call.now,
        subresource=attributes.subresource,
        user=attributes.user.name,
        groups=attributes.user.groups,
        obj=attributes.obj,
        old=attributes.old,
        options=attributes.options,
        is_dry_run=attributes.dry_run,
    )


class Stored:
    """A Source: the objects of a kind as a server has them."""

    def __init__(self, kind: Kind, lookup: Lookup) -> None:
        self._kind = kind
        self._lookup = lookup

    def get(self, key: tuple[str, str]) -> Object | None:
        found = self._lookup.get(self._kind, *key)
        return found.tree if found is not None else None

    def __iter__(self) -> Iterator[Object]:
        return (item.tree for item in self._lookup.all(self._kind))

    def items(self, namespace: str = "") -> Objects:
        return [item.tree for item in self._lookup.all(self._kind, namespace)]

    def owned_by(self, uid: str) -> Objects:
        return [obj for obj in self if any(owner.get("uid") == uid for owner in _owners(obj))]

    def controlled_by(self, uid: str) -> Objects:
        return [obj for obj in self if any(o.get("controller") and o.get("uid") == uid for o in _owners(obj))]

    def orphans(self, namespace: str) -> Objects:
        return [obj for obj in self.items(namespace) if not any(owner.get("controller") for owner in _owners(obj))]

    def labelled(self, namespace: str, equalities: dict[str, str]) -> Objects:
        wanted = equalities.items()
        return [obj for obj in self.items(namespace) if wanted <= (obj["metadata"].get("labels") or {}).items()]

    def indexed(self, name: str, term: str) -> Objects:
        terms = path_terms(name)
        return [obj for obj in self if term in terms(obj)]

    def count(self, name: str, term: str) -> int:
        return len(self.indexed(name, term))

    def age_seconds(self, key: tuple[str, str]) -> float:
        return 0.0

    def saw_go(self, uid: str) -> bool:
        return False


def _owners(obj: Object) -> Objects:
    return obj["metadata"].get("ownerReferences") or []
