"""Certificate requests: the server says who asks; approving and signing need rights on the signer.

Also here: nobody asks for system:masters, and a node asks for its own certificates only.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#certificateapproval
"""

from typing import Any

from sampan.kinds.certificates import certificate_signing_request
from sampan.kinds.certificates.certificate_signing_request import APPROVAL, CERTIFICATESIGNINGREQUEST
from sampan.kinds.parts import csr
from sampan.meta import objects, status, timestamps
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.authz import decision
from sampan.server.authz.authorizer import Authorizer
from sampan.server.identity import User

Tree = dict[str, Any]

MASTERS = "system:masters"


class CertificateRequests:
    """CertificateApproval, CertificateSigning and CertificateSubjectRestriction in one."""

    CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(CERTIFICATESIGNINGREQUEST,))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """Stamps the requester, and the time of new conditions."""
        obj = attributes.obj
        if obj is None:
            return
        if attributes.operation == CREATE:
            _stamp(obj.setdefault("spec", {}), attributes.user)
        elif attributes.subresource:
            _date(obj, attributes.old or {}, attributes.call.now)

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 403."""
        obj, old = attributes.obj, attributes.old
        if obj is None:
            return
        if attributes.operation == CREATE:
            _refuse(attributes, _subject_refusal(obj, attributes.user))
        elif attributes.operation == UPDATE and old is not None:
            verb = _verb(attributes.subresource, obj, old)
            signer = objects.get_path(old, "spec.signerName", "")
            if verb and not self._may(attributes.user, verb, signer):
                _refuse(attributes, f'user not permitted to {verb} requests with signerName "{signer}"')

    def _may(self, user: User, verb: str, signer: str) -> bool:
        """On the signer itself, or on all of its domain."""
        domain = signer.partition("/")[0]
        return any(
            self._authorizer.authorize(
                user,
                decision.Attributes(verb=verb, group=CERTIFICATESIGNINGREQUEST.group, resource="signers", name=name),
            ).allowed
            for name in (signer, f"{domain}/*")
        )


def _stamp(spec: Tree, user: User) -> None:
    for name in certificate_signing_request.REQUESTER_FIELDS:
        spec.pop(name, None)
    spec["username"] = user.name
    if user.uid:
        spec["uid"] = user.uid
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}


def _date(obj: Tree, old: Tree, now: float) -> None:
    """Conditions without times get them; one whose status stays keeps its transition time."""
    state = obj.get("status") or {}
    before = {c.get("type"): c for c in (old.get("status") or {}).get("conditions") or ()}
    for condition in state.get("conditions") or ():
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = timestamps.format(now)
        if not condition.get("lastTransitionTime"):
            same = before.get(condition.get("type")) or {}
            kept = same.get("lastTransitionTime") if same.get("status") == condition.get("status") else None
            condition["lastTransitionTime"] = kept or timestamps.format(now)


def _subject_refusal(obj: Tree, user: User) -> str:
    signer = objects.get_path(obj, "spec.signerName", "")
    if signer not in (csr.CLIENT, csr.KUBELET_CLIENT, csr.KUBELET_SERVING):
        return ""
    try:
        request = certificate_signing_request.request_of(obj)
    except csr.Malformed as error:
        return f"failed to parse CSR: {error}"
    if signer == csr.CLIENT:
        is_master = MASTERS in request.organizations
        return f"use of {csr.CLIENT} signer with {MASTERS} group is not allowed" if is_master else ""
    is_node = user.name.startswith(csr.NODE_PREFIX) and csr.NODES_GROUP in user.groups
    if is_node and request.common_name != user.name:
        return f"can only create a node CSR with CN={user.name}"
    return ""


def _verb(subresource: str, obj: Tree, old: Tree) -> str:
    """The right that a write needs."""
    if subresource == APPROVAL:
        return "approve"
    path = "status.certificate"
    return "sign" if subresource == "status" and objects.get_path(obj, path) != objects.get_path(old, path) else ""


def _refuse(attributes: Attributes, why: str) -> None:
    if why:
        kind = CERTIFICATESIGNINGREQUEST
        raise status.forbidden(kind.group, kind.plural, attributes.name, why)
