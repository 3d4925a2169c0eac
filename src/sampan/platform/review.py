"""Review: what an admission rule of a layer is. One pure function over one write, the same inside a server and behind a webhook.

`review(attempt, view) -> Review`. It refuses or warns, and changes nothing of what is admitted. `view` shows the kinds that the rule reads,
as they are stored, and what the rule said to remember (`view.memory`).

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.control.plan import Ask, AskList, Update
from sampan.control.view import View
from sampan.kinds.kind import Kind, Object

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One write that somebody tries. `obj` is None on DELETE, `old` on CREATE and CONNECT.

    `resource` is (group, plural) and `kind` (group, version, kind) of what the request is about; with a `subresource`,
    such as eviction or status, `obj` may be a body of another kind. `options` is the tree of DeleteOptions and the like,
    `now` in unix seconds. A dry run must leave no trace: what is to be remembered of one is forgotten.
    """

    operation: str
    resource: tuple[str, str]
    kind: tuple[str, str, str]
    namespace: str
    name: str
    now: float
    subresource: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    obj: Object | None = None
    old: Object | None = None
    options: Mapping[str, Any] | None = None
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, for people. `retry_seconds` asks whoever tried to come again after so long."""

    message: str
    code: int = 403
    reason: str = "Forbidden"
    retry_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """What a rule says of an attempt. `memory` is what it sees the next time under the same term; None leaves it.

    With `ask`, nothing else counts: the rule is asked again when `view.answer` has the answers. `writes` replace the
    status of objects that the view showed, together with what is admitted; when somebody was faster, the rule is asked
    again. Nothing is written for a dry run.
    """

    refusal: Refusal | None = None
    warnings: tuple[str, ...] = ()
    memory: Mapping[str, Any] | None = None
    ask: tuple[Ask | AskList, ...] = ()
    writes: tuple[Update, ...] = ()


ALLOWED = Review()


def _one_term(attempt: Attempt) -> Hashable:
    return ""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A rule and what it is asked about.

    `rules` are those of a ValidatingWebhookConfiguration: trees with operations, apiGroups, apiVersions, resources, scope.
    `reads` are the kinds that its view shows, `writes` those whose status it replaces; `term` says under what its memory
    is kept (one for each user, one for all).
    Where the rule can't be asked, as behind a webhook that is down, a write is let through if `fails_open`.
    `name` is lower-case with dashes.
    """

    name: str
    rules: tuple[Object, ...]
    review: Callable[[Attempt, View], Review]
    reads: tuple[Kind, ...] = ()
    writes: tuple[Kind, ...] = ()
    term: Callable[[Attempt], Hashable] = _one_term
    fails_open: bool = True
