"""Mutating webhooks: asked one after another, in the order of their configurations' names; each may patch the object.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#mutatingadmissionwebhook
"""

from typing import Any

import orjson

from sampan.kinds.admissionregistration.mutating_webhook_configuration import MUTATING_WEBHOOK_CONFIGURATION
from sampan.meta import objects, status
from sampan.meta.patch import json_patch
from sampan.server.admission import admission_review, matching, mutation, reinvocation, webhooks
from sampan.server.admission.chain import Attributes, Concern, Lookup
from sampan.server.admission.matching import Match
from sampan.server.admission.webhooks import CallingFailed, Hook, Hooks

_PLUGIN = "MutatingAdmissionWebhook"
_ANNOTATION = "mutation.webhook.admission.k8s.io/"
_PATCH_ANNOTATION = "patch.webhook.admission.k8s.io/"

Tree = dict[str, Any]


class MutatingWebhooks:
    """The plugin."""

    CONCERNS = Concern(needs=(MUTATING_WEBHOOK_CONFIGURATION,))

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """Changes the object as the webhooks say. Raises ApiError when one of them refuses."""
        if matching.is_exempt(attributes):
            return
        hooks = self._hooks.all(MUTATING_WEBHOOK_CONFIGURATION, lookup)
        if not hooks:
            return
        again = reinvocation.of(attributes, _PLUGIN)
        again.begin(attributes)
        try:
            for hook in hooks:
                match = await self._hooks.match(hook, attributes, lookup)
                if match is None or not again.may_run(attributes, hook.key):
                    continue
                if await self._run(hook, attributes, match, lookup):
                    again.changed()
                    attributes.again = True
                again.ran(hook.key, hook.tree.get("reinvocationPolicy"))
        finally:
            again.end(attributes)

    async def _run(self, hook: Hook, attributes: Attributes, match: Match, lookup: Lookup) -> bool:
        """One webhook's turn; whether it changed the object."""
        where = f"round_{attributes.round}_index_{hook.index}"
        changed = False
        try:
            changed = await self._patched(hook, attributes, match, lookup)
        except CallingFailed as error:
            refusal = webhooks.refused_by_failure(hook, error)
            if refusal is not None:
                try:
                    raise refusal from error
                finally:
                    del refusal  # which knows the call that knows it: no circle is left
            attributes.audit[f"failed-open.{_ANNOTATION}{where}"] = hook.name
        finally:
            noted = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
            attributes.audit[f"{_ANNOTATION}{where}"] = orjson.dumps(noted).decode()
        return changed

    async def _patched(self, hook: Hook, attributes: Attributes, match: Match, lookup: Lookup) -> bool:
        verdict = await self._hooks.call(hook, attributes, match, lookup, mutating=True)
        if not verdict.allowed:
            raise admission_review.denial(hook.name, verdict.status)
        if not verdict.patch:
            return False
        shown, _ = await self._hooks.seen(attributes, match)
        if shown is None:
            why = "attempted to modify the object, which is not supported for this operation"
            raise status.internal(f"admission webhook {status.show(hook.name)} {why}")
        try:
            patched = json_patch.apply(objects.copy(shown), verdict.patch)
        except status.ApiError as error:
            why = error.why if isinstance(error, json_patch.Refused) else str(error)
            raise status.internal(why) from error
        if not isinstance(patched, dict):
            raise status.internal("the patched object is not an object")
        noted = {"configuration": hook.configuration, "webhook": hook.name, "patch": verdict.patch}
        key = f"{_PATCH_ANNOTATION}round_{attributes.round}_index_{hook.index}"
        attributes.audit[key] = orjson.dumps({**noted, "patchType": "JSONPatch"}).decode()
        tree = await mutation.settled(patched, attributes, match, self._hooks.served, self._hooks.versions)
        return mutation.take(attributes, tree)
