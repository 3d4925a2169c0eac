"""Approving certificate requests: what those who do it by themselves have in common."""

from sampan.control.plan import AskAccess
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr_rules
from sampan.meta import objects, timestamps

FIRST_WAIT_SECONDS = 0.2
LAST_WAIT_SECONDS = 1000.0
MOST_TRIES = 13
"""After so many the wait does not grow any more."""


def wait_seconds(tries: int) -> float:
    """When to look again after so many looks."""
    return min(FIRST_WAIT_SECONDS * 2.0**tries, LAST_WAIT_SECONDS)


def is_decided(request: Object) -> bool:
    """Whether there is nothing left to approve."""
    types = csr_rules.condition_types(request)
    return kind.APPROVED in types or kind.DENIED in types or bool(objects.get_path(request, "status.certificate"))


def question(request: Object, subresource: str) -> AskAccess:
    """Whether who asks may have such a request approved by itself."""
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


def approved(request: Object, message: str, now: float) -> Object:
    """The request with its approval."""
    condition = {
        "type": kind.APPROVED,
        "status": "True",
        "reason": "AutoApproved",
        "message": message,
        "lastUpdateTime": timestamps.format(now),
    }
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}
