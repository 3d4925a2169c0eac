"""Plan: what a controller wants done, as a value. Ordered stages of writes, events, questions, and when to look again.

A stage runs only when the one before succeeded. Writes carry uid and resourceVersion preconditions. What
came of them (names, refusals) is in the next view.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sampan.kinds.kind import Kind, Object

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell. `about` None means the controller's parent object.

    In `message`, {name} is the written object's name and {error} the refusal's text, where the event
    hangs on a write.
    """

    type: str
    reason: str
    message: str
    about: Object | None = None


def normal(reason: str, message: str, about: Object | None = None) -> Event:
    """An event of type Normal."""
    return Event("Normal", reason, message, about)


def warning(reason: str, message: str, about: Object | None = None) -> Event:
    """An event of type Warning."""
    return Event("Warning", reason, message, about)


@dataclass(frozen=True, slots=True)
class Create:
    """Creates `obj` (metadata.name or generateName, and its namespace, inside)."""

    kind: Kind
    obj: Object
    done: Event | None = None
    refused: Event | None = None
    may_exist: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """Replaces an object, or its status when `subresource` is "status". Its resourceVersion is a precondition."""

    kind: Kind
    obj: Object
    subresource: str = ""
    done: Event | None = None
    refused: Event | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Patches one object. For merge and strategic patches uid and resourceVersion go into the patch."""

    kind: Kind
    key: Key
    patch: Any
    type: str = "merge"
    subresource: str = ""
    uid: str = ""
    resource_version: str = ""
    may_be_gone: bool = True
    done: Event | None = None
    refused: Event | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes one object if it still is the one meant. Already gone is success."""

    kind: Kind
    key: Key
    uid: str
    resource_version: str = ""
    grace_seconds: int | None = None
    propagation: str = ""
    done: Event | None = None
    refused: Event | None = None


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    """Deletes every object of a kind in a namespace."""

    kind: Kind
    namespace: str
    done: Event | None = None
    refused: Event | None = None


Write = Create | Update | Patch | Delete | DeleteCollection


@dataclass(frozen=True, slots=True)
class Ask:
    """A live read past the cache: one object. The answer is the object, or None when there is none."""

    kind: Kind
    key: Key


@dataclass(frozen=True, slots=True)
class AskList:
    """A live metadata list of a kind in a namespace ("" = all). The answer is a tuple, or an error's text."""

    kind: Kind
    namespace: str


@dataclass(frozen=True, slots=True)
class AskKinds:
    """All kinds the server serves. The answer has `.kinds` and `.failures`."""


@dataclass(frozen=True, slots=True)
class AskAccess:
    """Whether a user may do something, as a SubjectAccessReview says. The answer is a bool.

    `extra` holds (key, values) pairs; `subresource` may be "".
    """

    user: str
    verb: str
    resource: tuple[str, str]
    subresource: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class AskScale:
    """The scale subresource of an object of any kind, named as owner references do.

    The answer is the Scale, None when there is no such object, or an error's text. A Scale doesn't say whether its object
    is being deleted: `with_deletion` has that asked too, and put into the Scale's metadata, so far as it may be read.
    """

    api_version: str
    kind: str
    key: Key
    with_deletion: bool = False


@dataclass(frozen=True, slots=True)
class AskTarget:
    """The same for who is going to write it: the answer is a Target, or an error's text."""

    api_version: str
    kind: str
    key: Key


@dataclass(frozen=True, slots=True)
class Target:
    """An object's Scale, and of which kind the object is, so far as its path shows it."""

    kind: Kind
    scale: Object


RESOURCE_METRICS, CUSTOM_METRICS, EXTERNAL_METRICS = (f"{kind}metrics.k8s.io" for kind in ("", "custom.", "external."))


@dataclass(frozen=True, slots=True)
class AskMetrics:
    """What a metrics API has of a namespace: of its pods, of an object there, or from outside.

    `api` is one of the three above, `about` (apiVersion, kind, name) of the object; selectors are texts. The answer is a tuple, or an error's text.
    """

    api: str
    namespace: str
    selector: str = ""
    metric: str = ""
    metric_selector: str = ""
    about: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class AskSignature:
    """The cluster's signature under a certificate request (base64 of PEM), for a time from now.

    The answer is the certificate, base64 of PEM; None where the cluster has no authority to sign with.
    """

    request: str
    usages: tuple[str, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class AskHttp:
    """What somebody outside of the API answers. `headers` are (name, value) pairs.

    `is_users` says that a user of the cluster has named the place, in an object of `namespace`: the cluster's own host is
    not asked for them.

    The answer is an HttpAnswer, whatever its code, or an error's text.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    timeout_seconds: float = 10.0
    insecure: bool = False
    is_users: bool = False
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The status code, and the body as text."""

    code: int
    text: str


Question = Ask | AskList | AskKinds | AskAccess | AskScale | AskTarget | AskMetrics | AskSignature | AskHttp


class Stage(NamedTuple):
    """Writes that may go at the same time. Creates go in slow-start batches and stop at the first refusal."""

    writes: tuple[Write, ...]


class Outcome(NamedTuple):
    """What came of one write: the object as answered, or the refusal's Status."""

    write: Write
    name: str = ""
    refusal: Object | None = None

    @property
    def error(self) -> str:
        """The refusal's message, or ""."""
        return str((self.refusal or {}).get("message", ""))


@dataclass(frozen=True, slots=True)
class Plan:
    """`again` asks for another look after so many seconds. With questions, nothing else is carried out yet.

    `rest` is for how many seconds this look is enough, whatever changes: where a look costs much, as each does that is
    about a thousand children. `is_watchdog` says that the next look is only for heartbeats that fail to come. `memory`
    is what the next view of the same key shows, as long as the process lives: for what cannot be read off the objects.
    None leaves what was kept before; an empty one forgets it.
    """

    stages: tuple[Stage, ...] = ()
    events: tuple[Event, ...] = ()
    again: float | None = None
    ask: tuple[Question, ...] = ()
    memory: Mapping[str, Any] | None = None
    is_watchdog: bool = False
    rest: float = 0.0

    @property
    def writes(self) -> tuple[Write, ...]:
        """All writes in order."""
        return tuple(write for stage in self.stages for write in stage.writes)


NOTHING = Plan()


def plan(*stages: Iterable[Write], events: Iterable[Event] = (), again: float | None = None) -> Plan:
    """A plan of these stages, empty ones left out."""
    filled = tuple(Stage(writes) for writes in map(tuple, stages) if writes)
    return Plan(filled, tuple(events), again)


def sooner(*seconds: float | None) -> float | None:
    """The smallest of those that are not None."""
    return min((value for value in seconds if value is not None), default=None)
