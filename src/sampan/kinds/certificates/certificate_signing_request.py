"""CertificateSigningRequest: somebody asks for a certificate; one approves it, another signs it.

Who asks is written by the server, never by the asker. Approval and signature go through subresources of
their own, and neither may do the other's work.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, STATUS, Column, Kind, Object, Subresource
from sampan.kinds.parts import cells, csr, csr_rules
from sampan.meta import names, objects
from sampan.meta.status import Cause
from sampan.meta.wire import table

APPROVAL = "approval"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
REQUESTER_FIELDS = ("username", "uid", "groups", "extra")


def condition_text(obj: Object, now: float) -> str:
    """Pending, Approved, Denied; then Failed, Issued."""
    found = csr_rules.condition_types(obj)
    words = ["Denied" if DENIED in found else "Approved" if APPROVED in found else "Pending"]
    words += ["Failed"] if FAILED in found else []
    words += ["Issued"] if objects.get_path(obj, "status.certificate") else []
    return ",".join(words)


def duration_text(obj: Object, now: float) -> str:
    """The lifetime that was asked for."""
    seconds = objects.get_path(obj, "spec.expirationSeconds")
    return cells.NONE if seconds is None else table.human_duration(seconds)


CERTIFICATESIGNINGREQUEST = Kind(
    group="certificates.k8s.io",
    versions=("v1",),
    name="CertificateSigningRequest",
    plural="certificatesigningrequests",
    scope=CLUSTER,
    schema="io.k8s.api.certificates.v1.CertificateSigningRequest",
    short_names=("csr",),
    subresources=(STATUS, Subresource(APPROVAL)),
    unowned={"": ("spec",), "status": ("status.conditions",), APPROVAL: ("spec", "status.certificate")},
    columns=(
        cells.AGE,
        Column("SignerName", lambda o, now: objects.get_path(o, "spec.signerName") or cells.NONE),
        Column("Requestor", "spec.username"),
        Column("RequestedDuration", duration_text),
        Column("Condition", condition_text),
    ),
    selectable={"spec.signerName": "spec.signerName"},
    name_check=names.path_segment,
)


def is_approved(obj: Object) -> bool:
    """Approved, and not denied."""
    found = csr_rules.condition_types(obj)
    return APPROVED in found and DENIED not in found


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Only the two subresources change anything but metadata: approval the conditions, status the rest."""
    if old is None:
        new["status"] = {}
        return
    new["spec"] = objects.copy(old.get("spec") or {})
    if subresource == "status":
        return
    status: dict[str, Any] = objects.copy(old.get("status") or {})
    if subresource == APPROVAL:
        given = (new.get("status") or {}).get("conditions")
        if given:
            status["conditions"] = given
        else:
            status.pop("conditions", None)
    new["status"] = status


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A true request, known usages and signer; conditions and certificate only where they belong."""
    found = csr_rules.causes(new, old)
    return found if old is None else found + csr_rules.update_causes(new, old, subresource)


def request_of(obj: Object) -> csr.Request:
    """What it asks for. Raises csr.Malformed."""
    return csr.parse(objects.get_path(obj, "spec.request", ""))
