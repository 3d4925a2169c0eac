"""Inquiry: one pod's claims, asked about one node after the other. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control.steps import run
from sampan.kinds.parts import node_match, pod_devices, resource_rules
from sampan.meta import objects
from sampan.scheduling.demand import Demand
from sampan.scheduling.devices import extended, wishes
from sampan.scheduling.devices.answers import Answers
from sampan.scheduling.devices.extended import Wanted
from sampan.scheduling.devices.search import Answer
from sampan.scheduling.devices.wishes import FindClass, Problem
from sampan.scheduling.framework import FailureError
from sampan.scheduling.plugins import dynamic_resources as plugin
from sampan.scheduling.steps import Steps
from sampan.scheduling.verdict import Snapshot, Verdict

Object = dict[str, Any]
Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an inquiry needs: answers, classes, and the class behind each extended resource."""

    answers: Answers
    find: FindClass
    resources: Mapping[str, str]


class Inquiry:
    """What there was when it began. `left_over` is a claim for extended resources from an attempt that failed.

    `lost` are the uids of claims whose devices cannot be got ready; `unavailable` are allocated claims that kept the
    pod from a node, by the order of their entries.
    """

    def __init__(self, pod: Demand, claims: Sequence[Object], desk: Desk, left_over: Object | None = None) -> None:
        self.pod, self.claims, self.left_over = pod, claims, left_over
        self.lost: frozenset[str] = frozenset()
        self.unavailable: dict[int, Object] = {}
        self.wanted = [claim for claim in claims if pod_devices.allocation(claim) is None]
        self._desk = desk
        self._terms = {at: _terms(claim) for at, claim in enumerate(claims) if pod_devices.allocation(claim)}
        self._named = {name: cls for name, cls in desk.resources.items() if name in pod.requests}
        self._labels = [*(plugin.label(claim) for claim in self.wanted), f"{pod.namespace}/<extended-resources>"]
        self._problems: dict[frozenset[str], tuple[Problem | None, Wanted | None]] = {}

    @property
    def has_choice(self) -> bool:
        """Whether some alternatives are better than others."""
        requests = (each for claim in self.wanted for each in claim["spec"].get("devices", {}).get("requests") or ())
        return any(each.get("firstAvailable") for each in requests)

    def problem(self, at: int, snapshot: Snapshot) -> tuple[Problem | None, Wanted | None]:
        """What has to be found for the pod on a node (None: nothing), and the part that is for extended resources."""
        delegated = self._delegated(at, snapshot)
        found = self._problems.get(delegated)
        if found is None:
            specs = [claim.get("spec") or {} for claim in self.wanted]
            own = extended.wanted(self.pod.pod, {r: self._named[r] for r in delegated}) if delegated else None
            if own is not None:
                specs.append(own.spec)
            problem = self._desk.answers.problem(specs, self._desk.find) if specs else None
            found = self._problems[delegated] = (problem, own)
        return found

    def verdict(self, at: int, snapshot: Snapshot) -> Verdict | None:
        """Why the node is not for the pod. Raises FailureError."""
        if reason := self._unfit(at, snapshot):
            return plugin.verdict(reason)
        missing = self._missing(at, snapshot)
        answer = self.answer(at, snapshot)
        if answer is not None and answer.picks is None:
            if answer.error:
                text = wishes.named(answer.error, self._labels)
                raise FailureError(f'running "{plugin.NAME}" filter plugin: {text}')
            return plugin.verdict(answer.reason)
        self.unavailable.update(missing)
        return plugin.verdict(plugin.NOT_HERE) if missing else None

    def answer(self, at: int, snapshot: Snapshot) -> Answer | None:
        """What was found for the pod on a node; None when nothing has to be."""
        return run(self.steps(at, snapshot))

    def steps(self, at: int, snapshot: Snapshot) -> Steps[Answer | None]:
        """The same, in steps."""
        problem, _ = self.problem(at, snapshot)
        if problem is None:
            return None
        return (yield from self._desk.answers.steps(problem, snapshot.names[at], snapshot.labels[at]))

    def _delegated(self, at: int, snapshot: Snapshot) -> frozenset[str]:
        """The extended resources that the node does not have by itself."""
        if not self._named:
            return frozenset()
        return frozenset(name for name in self._named if not snapshot.allocatable[at].get(name))

    def _unfit(self, at: int, snapshot: Snapshot) -> str:
        if not self._named:
            return ""
        if self.left_over is not None:
            return plugin.LEFT_OVER
        has = snapshot.allocatable[at]
        others = (name for name in self.pod.requests if name not in self._named and _is_extended(name))
        return plugin.NOT_TO_BE_HAD if any(name not in has for name in others) else ""

    def _missing(self, at: int, snapshot: Snapshot) -> dict[int, Object]:
        """Allocated claims that cannot be used on the node, or that will never be ready."""
        name, labels = snapshot.names[at], snapshot.labels[at]
        found: dict[int, Object] = {}
        for number, terms in self._terms.items():
            is_here = terms is None or any(term.matches(name, labels) for term in terms)
            if not is_here or objects.uid(self.claims[number]) in self.lost:
                found[number] = self.claims[number]
        return found


def _is_extended(resource: str) -> bool:
    return resource_rules.is_extended(resource) or resource.startswith(extended.PREFIX)


def _terms(claim: Object) -> Any:
    """Where an allocated claim can be used; None for everywhere."""
    selector = (pod_devices.allocation(claim) or {}).get("nodeSelector")
    return None if selector is None else node_match.terms(selector)
