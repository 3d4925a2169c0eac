"""Orders: what a simulated container is to do: by the cluster's rules, then by its pod's annotations.

The last rule that matches and says something of it decides how the image is got, how it starts, lives and
stops, each apart; of what no rule speaks the annotation with the container's name decides, or else the one for
all of the pod's containers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from sampan.meta import objects, selectors
from sampan.node import podspec
from sampan.node.runtime import behaviour
from sampan.node.runtime.behaviour import BehaviourError
from sampan.node.runtime.protocol import ContainerConfig
from sampan.node.runtime.stages import Behaviour, Case, Draw, Exit, Life, Span, Stage, Start, draw
from sampan.node.snapshot import IMAGE_LABEL

PREFIX = "simulated.sampan.dev/"
BEHAVIOUR = PREFIX + "behaviour"
"""A whole behaviour; `<name>.<container>` speaks of one container of the pod, here and below."""
RUN_SECONDS = PREFIX + "run-seconds"
"""Short form: how long a container runs."""
EXIT_CODE = PREFIX + "exit-code"
"""Short form: with what it then ends; 0 if not given."""
START_ERROR = PREFIX + "start-error"
"""Short form: the message with which its start fails."""

Object = dict[str, Any]
_PLACES = ("image", "labels", "namespace", "pod", "container")


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything about a container that its behaviour may depend on. `image` is as its pod's spec has it."""

    uid: str
    namespace: str
    pod: str
    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def draw(self, number: int | str) -> Draw:
        """Chance for one attempt of it, or anything else of which there are several."""
        return draw(self.uid, self.name, str(number))


def subject(pod: Object, container: Object) -> Subject:
    """Of a pod's container."""
    return Subject(
        uid=objects.uid(pod),
        namespace=objects.namespace(pod),
        pod=objects.name(pod),
        name=container["name"],
        image=podspec.image(container),
        labels=objects.labels(pod),
        annotations=objects.annotations(pod),
    )


def subject_of(config: ContainerConfig) -> Subject:
    """Of a container that is to be started."""
    annotations = dict(config.labels)
    return Subject(
        uid=config.pod_uid,
        namespace=config.pod_namespace,
        pod=config.pod_name,
        name=config.name,
        image=annotations.get(IMAGE_LABEL, config.image.reference),
        labels=dict(config.pod_labels),
        annotations=annotations,
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """A behaviour for all containers that match. Texts are patterns (`*`, `?`, `[ab]`); empty ones match all.

    `image` may have a tag or not: `web` is web in every version. `labels` is a label selector as kubectl takes it.
    """

    behaviour: Behaviour
    image: str = ""
    labels: selectors.Selector = selectors.EVERYTHING
    namespace: str = ""
    pod: str = ""
    container: str = ""

    def matches(self, subject: Subject) -> bool:
        """Whether it speaks of this container."""
        named = ((self.namespace, subject.namespace), (self.pod, subject.pod), (self.container, subject.name))
        return (
            all(not pattern or fnmatchcase(name, pattern) for pattern, name in named)
            and (not self.image or any(fnmatchcase(name, self.image) for name in _names(subject.image)))
            and self.labels.matches(subject.labels)
        )


class Rules:
    """The cluster's rules, which all of its simulated nodes go by."""

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = ()
        self._made = 0

    def add(self, what: str, tree: Any, **where: str) -> Rule:
        """From now on containers that match do as the tree (or YAML text) says. Raises BehaviourError.

        `what` is a pattern of images, or a label selector (app=web); `where` may say more, as Rule has it.
        """
        where = {"labels" if "=" in what else "image": what} | where
        if unknown := sorted(where.keys() - _PLACES):
            raise BehaviourError(f"{unknown[0]}: is not known here; known are {', '.join(_PLACES)}")
        read = behaviour.read(tree) if isinstance(tree, str) else behaviour.parse(tree)
        try:
            labels = selectors.parse_labels(where.pop("labels", ""))
        except ValueError as error:
            raise BehaviourError(f"labels: {error}") from None
        self._made += 1
        made = Rule(_keyed(read, f"rule {self._made}"), labels=labels, **where)
        self._rules = (made, *self._rules)
        return made

    def remove(self, rule: Rule) -> None:
        """As if it had never been. Raises ValueError for one that is not there."""
        if rule not in self._rules:
            raise ValueError("there is no such rule (any more)")
        self._rules = tuple(other for other in self._rules if other != rule)

    def behaviour(self, subject: Subject) -> Behaviour:
        """What the container is to do. Raises BehaviourError that names the annotation."""
        ruled = tuple(case for each in self._rules if each.matches(subject) for case in each.behaviour)
        return ruled + _annotated(subject)


def _annotated(subject: Subject) -> Behaviour:
    key, text = _find(subject, BEHAVIOUR)
    if text is None:
        return _short_form(subject)
    try:
        return _keyed(behaviour.read(text), "annotation")
    except BehaviourError as error:
        raise BehaviourError(f"annotation {key}: {error}") from None


def _short_form(subject: Subject) -> Behaviour:
    seconds, code = _number(subject, RUN_SECONDS), _number(subject, EXIT_CODE)
    _, error = _find(subject, START_ERROR)
    if seconds is None and error is None:
        return ()
    life = None if seconds is None else Life((Stage(Span(seconds, seconds)),), Exit(int(code or 0)))
    return (Case(start=Start(error=error) if error else None, life=life),)


def _keyed(cases: Behaviour, source: str) -> Behaviour:
    """With names of their own among the cases of all sources: adding a rule must not change another one's luck."""
    return tuple(replace(case, key=source + case.key) for case in cases)


def _find(subject: Subject, key: str) -> tuple[str, str | None]:
    """The annotation for this container, else that for all, and its name."""
    own = f"{key}.{subject.name}"
    return (own, subject.annotations[own]) if own in subject.annotations else (key, subject.annotations.get(key))


def _number(subject: Subject, short: str) -> float | None:
    key, text = _find(subject, short)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise BehaviourError(f"annotation {key}: {text!r} is not a number") from error
    if not 0 <= value < 1e12:
        raise BehaviourError(f"annotation {key}: {text!r} is out of range")
    return value


def _names(image: str) -> tuple[str, ...]:
    """The image as written, and without its digest and tag."""
    plain = image.partition("@")[0]
    head, colon, tag = plain.rpartition(":")
    return image, plain, head if colon and "/" not in tag else plain
