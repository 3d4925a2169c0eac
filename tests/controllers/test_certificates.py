"""Certificate requests: who is approved by itself, what is signed or fails, and when requests go."""

import base64
from typing import Any

import pytest
from cryptography import x509

from sampan.control.plan import AskAccess, AskSignature, Delete, Plan, Update
from sampan.control.view import Snapshot, View
from sampan.controllers import csr_approving, csr_cleaner, csr_signing
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.parts import csr
from sampan.kit.frozen import freeze
from sampan.meta import timestamps
from sampan.web import certificates
from tests.requests import request

NOW = 1_767_225_600.0
CLIENT_USAGES = ["key encipherment", "digital signature", "client auth"]
SERVING_USAGES = ["key encipherment", "digital signature", "server auth"]
NODE = request("system:node:n1", ("system:nodes",))
Tree = dict[str, Any]


def asked(text: str, signer: str = csr.KUBELET_CLIENT, usages: Any = CLIENT_USAGES, **spec: Any) -> Tree:
    spec = {"request": text, "signerName": signer, "usages": usages, "username": "system:node:n1", **spec}
    metadata = {"name": "r", "uid": "u", "creationTimestamp": timestamps.format(NOW)}
    return {"metadata": metadata, "spec": spec, "status": {}}


def approved(obj: Tree, kind: str = "Approved", at: float = NOW, **status: Any) -> Tree:
    condition = {"type": kind, "status": "True", "lastUpdateTime": timestamps.format(at)}
    return {**obj, "status": {"conditions": [condition], **status}}


def plan(module: Any, obj: Tree, answers: Any = None, now: float = NOW) -> Plan:
    sources = {CERTIFICATESIGNINGREQUEST.resource: Snapshot([freeze(obj)])}
    found: Plan = module.reconcile(View(sources, answers=answers or {}), ("", "r"), now)
    return found


def test_a_node_approves_itself() -> None:
    """A node's request for its own client certificate is approved if it may ask so, by the narrower right first."""
    obj = asked(NODE, groups=["system:nodes"])
    (question,) = plan(csr_approving, obj).ask
    assert isinstance(question, AskAccess)
    assert (question.user, question.verb, question.subresource) == ("system:node:n1", "create", "selfnodeclient")
    (write,) = plan(csr_approving, obj, {question: True}).writes
    assert isinstance(write, Update) and write.subresource == "approval"
    (condition,) = write.obj["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Approved", "AutoApproved")
    (other,) = plan(csr_approving, obj, {question: False}).ask
    assert isinstance(other, AskAccess) and other.subresource == "nodeclient"
    assert plan(csr_approving, obj, {question: False, other: False}) == Plan(again=0.2, memory={"tries": 1})


@pytest.mark.parametrize(
    "obj",
    [
        asked(request("system:node:n1", ("system:nodes",), ("n1.example.com",))),
        asked(request("system:node:n1", ("system:masters",))),
        asked(request("jane", ("system:nodes",))),
        asked(NODE, usages=["client auth"]),
        asked(NODE, signer=csr.KUBELET_SERVING, usages=SERVING_USAGES),
        approved(asked(NODE), "Denied"),
        approved(asked(NODE)),
    ],
)
def test_nothing_else_is_approved(obj: Tree) -> None:
    """Requests of other shapes, for other signers, or decided ones, are left to others."""
    assert plan(csr_approving, obj) == Plan()


def test_another_nodes_name_needs_the_wider_right() -> None:
    """A request for another node's certificate is only approved for those who may bootstrap nodes (B18)."""
    (question,) = plan(csr_approving, asked(NODE, username="system:node:n2")).ask
    assert isinstance(question, AskAccess) and question.subresource == "nodeclient"


def test_an_approved_request_is_signed() -> None:
    """The signature is asked for with the lifetime, and written into the status."""
    obj = approved(asked(NODE, expirationSeconds=3600))
    (question,) = plan(csr_signing, obj).ask
    assert question == AskSignature(NODE, tuple(CLIENT_USAGES), 3600)
    (write,) = plan(csr_signing, obj, {question: "Y2VydA=="}).writes
    assert isinstance(write, Update) and write.subresource == "status"
    assert write.obj["status"]["certificate"] == "Y2VydA=="
    assert not plan(csr_signing, asked(NODE)).ask
    assert not plan(csr_signing, approved(asked(NODE, signer="example.com/own"))).ask
    (event,) = plan(csr_signing, obj, {question: None}).events
    assert "no certificate authority" in event.message


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (asked(NODE, usages=SERVING_USAGES), "usages did not match"),
        (asked(request("x", ("system:masters",)), signer=csr.CLIENT), "system:masters group is not allowed"),
        (asked(request("x"), signer=csr.CLIENT, usages=["server auth"]), "invalid usage for client certificate"),
        (asked(request("x"), signer=csr.CLIENT, usages=["digital signature"]), "missing required usage"),
        (asked(NODE, signer=csr.KUBELET_SERVING, usages=SERVING_USAGES), "DNS or IP subjectAltName is required"),
        (
            asked(
                request("system:node:n1", ("system:nodes",), ("*.example.com",)), csr.KUBELET_SERVING, SERVING_USAGES
            ),
            "wildcard DNS subjectAltNames are not allowed",
        ),
        (asked(request("x", ("a",), ("h.example.com",)), csr.KUBELET_SERVING, SERVING_USAGES), "not system:nodes"),
        (asked("eA=="), "PEM block type must be CERTIFICATE REQUEST"),
    ],
)
def test_a_bad_request_fails(obj: Tree, why: str) -> None:
    """What a signer would not sign fails with the reason, even approved: masters, wildcards, other usages (B18)."""
    (write,) = plan(csr_signing, approved(obj)).writes
    assert isinstance(write, Update)
    condition = write.obj["status"]["conditions"][-1]
    assert (condition["type"], condition["reason"]) == ("Failed", "SignerValidationFailure")
    assert why in condition["message"]
    assert not plan(csr_signing, write.obj).writes


def test_old_requests_go() -> None:
    """A day when nobody decided, an hour after a decision, at once when the certificate has ended."""
    hour, day = 3600.0, 86400.0
    assert plan(csr_cleaner, asked(NODE), now=NOW + hour).again == day - hour
    assert isinstance(plan(csr_cleaner, asked(NODE), now=NOW + day).writes[0], Delete)
    assert plan(csr_cleaner, approved(asked(NODE)), now=NOW + day) == Plan()
    for obj in (approved(asked(NODE), "Denied"), approved(asked(NODE), "Failed")):
        assert plan(csr_cleaner, obj, now=NOW + 60).again == hour - 60
        assert isinstance(plan(csr_cleaner, obj, now=NOW + hour).writes[0], Delete)
    authority = certificates.new_authority("ca", NOW)
    order = certificates.Order(base64.b64decode(NODE), tuple(CLIENT_USAGES), 600)
    certificate = base64.b64encode(certificates.sign(authority, order, NOW)).decode()
    issued = approved(asked(NODE), certificate=certificate)
    assert plan(csr_cleaner, issued, now=NOW + 60).again == 540
    assert isinstance(plan(csr_cleaner, issued, now=NOW + 600).writes[0], Delete)


def test_a_signature_says_what_was_asked() -> None:
    """Subject, names, usages and lifetime are the request's; the authority's own end is the latest."""
    authority = certificates.new_authority("ca", NOW)
    text = request("system:node:n1", ("system:nodes",), ("n1.example.com", "10.0.0.1"))
    usages = ("digital signature", "key encipherment", "server auth")
    pem = certificates.sign(authority, certificates.Order(base64.b64decode(text), usages, 7200), NOW)
    made = x509.load_pem_x509_certificate(pem)
    assert made.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1.example.com"]
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in extended] == ["1.3.6.1.5.5.7.3.1"]
    plain = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert plain.digital_signature and plain.key_encipherment and not plain.key_cert_sign
    assert made.not_valid_before_utc.timestamp() == NOW - 300
    assert made.not_valid_after_utc.timestamp() == NOW + 7200
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    long = certificates.Order(base64.b64decode(text), usages, 365 * 86400 * 50)
    ended = x509.load_pem_x509_certificate(certificates.sign(authority, long, NOW)).not_valid_after_utc
    assert ended.timestamp() == certificates.expires_at(authority)
