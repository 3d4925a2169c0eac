"""Old certificate requests go: an hour after they were denied, failed or issued, a day after nobody cared.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#request-signing-process
"""

from sampan.control.controller import Controller
from sampan.control.plan import Delete, Key, Plan, plan, sooner
from sampan.control.view import View
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr
from sampan.meta import objects, timestamps

DECIDED_SECONDS = 3600
PENDING_SECONDS = 24 * 3600


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Deletes it when its time is over, else looks again then."""
    request = view.get(CERTIFICATESIGNINGREQUEST, key)
    if request is None or objects.is_deleting(request):
        return Plan()
    due = _due(request)
    if due is None:
        return Plan()
    if due > now:
        return Plan(again=due - now)
    return plan([Delete(CERTIFICATESIGNINGREQUEST, key, objects.uid(request))])


def _due(request: Object) -> float | None:
    """The first of its deadlines; an approved request that waits for its signer has none."""
    conditions = objects.get_path(request, "status.conditions", [])
    certificate = objects.get_path(request, "status.certificate")
    if not conditions:
        return timestamps.parse(request["metadata"]["creationTimestamp"]) + PENDING_SECONDS
    due = None
    for condition in conditions:
        is_over = condition.get("type") in (kind.DENIED, kind.FAILED)
        if is_over or (condition.get("type") == kind.APPROVED and certificate):
            due = sooner(due, _after(condition, DECIDED_SECONDS))
    return sooner(due, csr.expires_at(certificate)) if certificate and kind.is_approved(request) else due


def _after(condition: Object, seconds: float) -> float | None:
    since = condition.get("lastUpdateTime")
    return timestamps.parse(since) + seconds if since else None


CONTROLLER = Controller("certificatesigningrequest-cleaner-controller", CERTIFICATESIGNINGREQUEST, reconcile)
