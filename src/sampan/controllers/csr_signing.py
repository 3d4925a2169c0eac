"""Signers: an approved request for a built-in signer is signed, or fails with the reason why it is not.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

from sampan.control.controller import Controller
from sampan.control.plan import AskSignature, Key, Plan, Update, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr, csr_rules
from sampan.meta import objects, timestamps

LONGEST_SECONDS = 365 * 24 * 3600
SHORTEST_SECONDS = 600


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Asks for the signature, and writes it down."""
    request = view.get(CERTIFICATESIGNINGREQUEST, key)
    if request is None or objects.is_deleting(request) or not _is_due(request):
        return Plan()
    why = _refusal(request)
    if why:
        return plan([Update(CERTIFICATESIGNINGREQUEST, _failed(request, why, now), "status")])
    question = _question(request)
    certificate = view.answer(question)
    if certificate is UNANSWERED:
        return Plan(ask=(question,))
    if certificate is None:
        told = "this cluster has no certificate authority to sign with"
        return Plan(events=(warning("NotSigned", told),))
    status = {**(request.get("status") or {}), "certificate": certificate}
    return plan([Update(CERTIFICATESIGNINGREQUEST, {**request, "status": status}, "status")])


def _is_due(request: Object) -> bool:
    is_ours = objects.get_path(request, "spec.signerName") in csr.SIGNERS
    is_done = kind.FAILED in csr_rules.condition_types(request) or objects.get_path(request, "status.certificate")
    return is_ours and kind.is_approved(request) and not is_done


def _refusal(request: Object) -> str:
    spec = request["spec"]
    try:
        asked = kind.request_of(request)
    except csr.Malformed as error:
        return str(error)
    return csr.refusal(asked, spec.get("usages") or (), spec["signerName"])


def _question(request: Object) -> AskSignature:
    spec = request["spec"]
    wished = spec.get("expirationSeconds")
    seconds = LONGEST_SECONDS if wished is None else min(max(wished, SHORTEST_SECONDS), LONGEST_SECONDS)
    return AskSignature(spec["request"], tuple(spec.get("usages") or ()), seconds)


def _failed(request: Object, why: str, now: float) -> Object:
    condition = {
        "type": kind.FAILED,
        "status": "True",
        "reason": "SignerValidationFailure",
        "message": why,
        "lastUpdateTime": timestamps.format(now),
    }
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}


CONTROLLER = Controller("certificatesigningrequest-signing-controller", CERTIFICATESIGNINGREQUEST, reconcile)
