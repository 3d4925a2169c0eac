"""What mutating and validating webhooks share: which are concerned by a request, and one call of one of them.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import logging
from dataclasses import dataclass
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.kit.ids import Ids
from sampan.meta import objects, status
from sampan.server import aside
from sampan.server.admission import admission_review, expressions, matching, mutation
from sampan.server.admission.admission_metrics import AdmissionMetrics
from sampan.server.admission.admission_review import BadAnswer, Verdict
from sampan.server.admission.chain import Attributes, Lookup
from sampan.server.admission.matching import Match
from sampan.server.authz.authorizer import Authorizer
from sampan.server.review_call import CallError, ReviewCall
from sampan.server.served import Served
from sampan.server.versions import Versions

LOG = logging.getLogger(__name__)
_INPUTS = Inputs()

Tree = dict[str, Any]


class CallingFailed(Exception):
    """The webhook gave no verdict; whether that refuses the request is its failurePolicy's to say."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of a configuration, with its place among all of them."""

    configuration: str
    index: int
    tree: Tree

    @property
    def name(self) -> str:
        return str(self.tree["name"])

    @property
    def key(self) -> str:
        return f"{self.configuration}/{self.name}"

    @property
    def fails_open(self) -> bool:
        return bool(self.tree.get("failurePolicy") == "Ignore")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Finds and calls webhooks."""

    served: Served
    versions: Versions
    authorizer: Authorizer
    calls: ReviewCall
    ids: Ids
    metrics: AdmissionMetrics

    def all(self, kind: Kind, lookup: Lookup) -> list[Hook]:
        """The webhooks of all configurations of this kind, ordered by the configurations' names."""
        found = [
            (objects.name(item.tree), hook) for item in lookup.all(kind) for hook in item.tree.get("webhooks") or ()
        ]
        return [Hook(name, index, hook) for index, (name, hook) in enumerate(found)]

    async def match(self, hook: Hook, attributes: Attributes, lookup: Lookup) -> Match | None:
        """As what the webhook is to see the request; None when it is not concerned. Raises ApiError."""
        tree = hook.tree
        if not matching.by_object(tree.get("objectSelector"), attributes):
            return None
        policy = tree.get("matchPolicy") or "Equivalent"
        match = matching.by_rules(tree.get("rules") or (), policy, attributes, self.served)
        if match is None or not matching.by_namespace(tree.get("namespaceSelector"), attributes, lookup):
            return None
        conditions = tree.get("matchConditions")
        if conditions:
            seen = await self.seen(attributes, match)
            variables = expressions.request_variables(attributes, match, seen, self.authorizer)
            try:
                fails = tree.get("failurePolicy") or "Fail"
                if not await aside.run(expressions.conditions_hold, conditions, _INPUTS, variables, fails):
                    return None
            except expressions.Failed as error:
                kind = attributes.kind
                raise status.forbidden(kind.group, kind.plural, attributes.name, str(error)) from error
        return match

    async def seen(self, attributes: Attributes, match: Match) -> tuple[Tree | None, Tree | None]:
        """The object and the old one in the version that was matched."""
        return await mutation.seen(attributes, match, self.versions)

    async def call(
        self, hook: Hook, attributes: Attributes, match: Match, lookup: Lookup, *, mutating: bool
    ) -> Verdict:
        """The webhook's verdict. Raises CallingFailed, ApiError 400 for a dry run that it does not support."""
        counted = self.metrics.called(hook.name, attributes, self.metrics.monotonic(), mutating=mutating)
        try:
            verdict = await self._asked(hook, attributes, match, lookup, mutating=mutating)
        except CallingFailed:
            counted.failed(closed=not hook.fails_open)
            raise
        if verdict.allowed:
            counted.allowed()
        else:
            counted.denied(admission_review.denial(hook.name, verdict.status).code)
        return verdict

    async def _asked(
        self, hook: Hook, attributes: Attributes, match: Match, lookup: Lookup, *, mutating: bool
    ) -> Verdict:
        tree = hook.tree
        if attributes.dry_run and tree.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise status.bad_request(f"admission webhook {status.show(hook.name)} does not support dry run")
        uid = self.ids.uid()
        spoken = admission_review.version(tree.get("admissionReviewVersions") or ())
        if not spoken:
            raise _failed(hook, "could not create admission objects: webhook does not accept known AdmissionReview")
        body = admission_review.document(attributes, match, uid, await self.seen(attributes, match))
        body["apiVersion"] = f"{admission_review.GROUP}/{spoken}"
        try:
            answer = await self.calls.post(tree["clientConfig"], body, lookup, float(tree.get("timeoutSeconds") or 10))
        except CallError as error:
            raise _failed(hook, f"failed to call webhook: {error}") from error
        try:
            verdict = admission_review.read(answer, uid, spoken, mutating=mutating)
        except BadAnswer as error:
            raise _failed(hook, str(error)) from error
        attributes.call.warnings.extend(verdict.warnings)
        for key, value in verdict.annotations.items():
            attributes.note(f"{hook.name}/{key}", value)
        return verdict


def refused_by_failure(hook: Hook, error: CallingFailed) -> status.ApiError | None:
    """What the failure of a call means: an error, or nothing when the webhook fails open."""
    if hook.fails_open:
        LOG.warning("Failed calling webhook, failing open %s: %s", hook.name, error)
        return None
    LOG.warning("Failed calling webhook, failing closed %s: %s", hook.name, error)
    return status.internal(str(error))


def _failed(hook: Hook, why: str) -> CallingFailed:
    return CallingFailed(f"failed calling webhook {status.show(hook.name)}: {why}")
