"""Validating webhooks: all that are concerned are asked at once, and each may refuse.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#validatingadmissionwebhook
"""

import asyncio

from sampan.kinds.admissionregistration.validating_webhook_configuration import VALIDATING_WEBHOOK_CONFIGURATION
from sampan.meta.status import ApiError
from sampan.server.admission import admission_review, matching, webhooks
from sampan.server.admission.chain import Attributes, Concern, Lookup
from sampan.server.admission.matching import Match
from sampan.server.admission.webhooks import CallingFailed, Hook, Hooks


class ValidatingWebhooks:
    """The plugin."""

    CONCERNS = Concern(needs=(VALIDATING_WEBHOOK_CONFIGURATION,))

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError with the first refusal in the order of the webhooks."""
        if matching.is_exempt(attributes):
            return
        concerned: list[tuple[Hook, Match]] = []
        for hook in self._hooks.all(VALIDATING_WEBHOOK_CONFIGURATION, lookup):
            match = await self._hooks.match(hook, attributes, lookup)
            if match is not None:
                concerned.append((hook, match))
        if not concerned:
            return
        asked = (self._ask(hook, attributes, match, lookup) for hook, match in concerned)
        refusals = [each for each in await asyncio.gather(*asked) if each is not None]
        if refusals:
            raise refusals.pop(0)  # an error that the call still had a name for would be a circle

    async def _ask(self, hook: Hook, attributes: Attributes, match: Match, lookup: Lookup) -> ApiError | None:
        try:
            verdict = await self._hooks.call(hook, attributes, match, lookup, mutating=False)
        except CallingFailed as error:
            refusal = webhooks.refused_by_failure(hook, error)
            if refusal is None:
                key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{hook.index}"
                attributes.audit[key] = hook.name
            return refusal
        except ApiError as error:
            return error
        return None if verdict.allowed else admission_review.denial(hook.name, verdict.status)
