"""Node certificates: a node's request for its own client certificate is approved by itself, if the node may ask so.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval
"""

from sampan.control.controller import Controller
from sampan.control.plan import AskAccess, Key, Plan, Update, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr, csr_rules
from sampan.meta import objects, timestamps

FIRST_WAIT_SECONDS = 0.2
LAST_WAIT_SECONDS = 1000.0
MOST_TRIES = 13
"""After so many the wait does not grow any more."""

_SELF = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
_OTHER = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Asks whether the requester has the right, the narrower one first; approves on the first yes.

    Who has it not may be given it: it is asked again, ever later. Memory: how often it was.
    """
    request = view.get(CERTIFICATESIGNINGREQUEST, key)
    if request is None or objects.is_deleting(request) or _is_decided(request):
        return Plan(memory={}) if view.memory else Plan()
    rights = _recognized(request)
    for subresource, message in rights:
        question = _question(request, subresource)
        answer = view.answer(question)
        if answer is UNANSWERED:
            return Plan(ask=(question,))
        if answer:
            return plan([Update(CERTIFICATESIGNINGREQUEST, _approved(request, message, now), kind.APPROVAL)])
    if not rights:
        return Plan()
    tries = view.memory.get("tries", 0)
    wait = min(FIRST_WAIT_SECONDS * 2.0**tries, LAST_WAIT_SECONDS)
    return Plan(again=wait, memory={"tries": min(tries + 1, MOST_TRIES)})


def _is_decided(request: Object) -> bool:
    types = csr_rules.condition_types(request)
    return kind.APPROVED in types or kind.DENIED in types or bool(objects.get_path(request, "status.certificate"))


def _recognized(request: Object) -> list[tuple[str, str]]:
    """The rights of which one is enough; none for other kinds of requests."""
    spec = request["spec"]
    if spec.get("signerName") != csr.KUBELET_CLIENT:
        return []
    try:
        asked = kind.request_of(request)
    except csr.Malformed:
        return []
    if csr.kubelet_client_refusal(asked, spec.get("usages") or ()):
        return []
    return [_SELF, _OTHER] if spec.get("username") == asked.common_name else [_OTHER]


def _question(request: Object, subresource: str) -> AskAccess:
    spec = request["spec"]
    return AskAccess(
        user=spec.get("username", ""),
        verb="create",
        resource=(CERTIFICATESIGNINGREQUEST.group, CERTIFICATESIGNINGREQUEST.plural),
        subresource=subresource,
        uid=spec.get("uid", ""),
        groups=tuple(spec.get("groups") or ()),
        extra=tuple((name, tuple(values)) for name, values in sorted((spec.get("extra") or {}).items())),
    )


def _approved(request: Object, message: str, now: float) -> Object:
    condition = {
        "type": kind.APPROVED,
        "status": "True",
        "reason": "AutoApproved",
        "message": message,
        "lastUpdateTime": timestamps.format(now),
    }
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}


CONTROLLER = Controller("certificatesigningrequest-approving-controller", CERTIFICATESIGNINGREQUEST, reconcile)
