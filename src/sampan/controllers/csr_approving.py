"""Node certificates: a node's request for its own client certificate is approved by itself, if the node may ask so.

Not so where a machine that only has a bootstrap token asks for the name of a node that is there already: it would be
that node from then on. Somebody deletes the old node first, or approves with his own hand.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval
"""

from sampan.control import csr_approval
from sampan.control.controller import Controller
from sampan.control.plan import Key, Plan, Update, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.core.node import NODE
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr
from sampan.meta import objects

BOOTSTRAP_PREFIX = "system:bootstrap:"

_SELF = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
_OTHER = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Asks whether the requester has the right, the narrower one first; approves on the first yes.

    Who has it not may be given it: it is asked again, ever later. Memory: how often it was.
    """
    request = view.get(CERTIFICATESIGNINGREQUEST, key)
    if request is None or objects.is_deleting(request) or csr_approval.is_decided(request):
        return Plan(memory={}) if view.memory else Plan()
    rights = _recognized(request)
    if rights and _is_taken(view, request):
        return Plan()
    for subresource, message in rights:
        question = csr_approval.question(request, subresource)
        answer = view.answer(question)
        if answer is UNANSWERED:
            return Plan(ask=(question,))
        if answer:
            return plan(
                [Update(CERTIFICATESIGNINGREQUEST, csr_approval.approved(request, message, now), kind.APPROVAL)]
            )
    if not rights:
        return Plan()
    tries = view.memory.get("tries", 0)
    memory = {"tries": min(tries + 1, csr_approval.MOST_TRIES)}
    return Plan(again=csr_approval.wait_seconds(tries), memory=memory)


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


def _is_taken(view: View, request: Object) -> bool:
    """Whether who has nothing but a bootstrap token asks for the name of a node that is there."""
    name = kind.request_of(request).common_name.removeprefix(csr.NODE_PREFIX)
    is_joining = str(request["spec"].get("username", "")).startswith(BOOTSTRAP_PREFIX)
    return is_joining and view.get(NODE, ("", name)) is not None


CONTROLLER = Controller(
    "certificatesigningrequest-approving-controller", CERTIFICATESIGNINGREQUEST, reconcile, reads=(NODE,)
)
