"""Certificate requests: what is inside one, and which of the built-in signers would sign it.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from sampan.kit.texts import Texts

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"

_BEGIN = re.compile(rb"-----BEGIN ([^-]+)-----")
_END = b"-----END "
_REQUEST_TYPE = b"CERTIFICATE REQUEST"
_FULL_CLIENT = frozenset(("client auth", "digital signature", "key encipherment"))
_FULL_SERVING = frozenset(("digital signature", "key encipherment", "server auth"))
_NOT_RSA = frozenset(("key encipherment",))


class Malformed(ValueError):
    """A text that is no certificate request; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """The subject and the alternative names that a request asks for."""

    common_name: str
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()

    @property
    def is_bare(self) -> bool:
        """Whether it asks for no alternative names."""
        return not (self.dns_names or self.addresses or self.emails or self.uris)


def parse(encoded: str) -> Request:
    """`encoded` is spec.request: base64 of PEM. Raises Malformed; a signature that is not its own key's, too."""
    return _PARSED[encoded]


def _parse(encoded: str) -> Request:
    request = load(encoded)
    try:
        is_signed = request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise Malformed(f"x509: cannot verify signature: {error}") from error
    if not is_signed:
        raise Malformed("x509: certificate request signature is not valid")
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    except ValueError as error:
        raise Malformed(f"x509: {error}") from error
    return Request(
        next(iter(_attributes(request, NameOID.COMMON_NAME)), ""),
        _attributes(request, NameOID.ORGANIZATION_NAME),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


_PARSED = Texts(_parse, 256, longest=8192)


def load(encoded: str) -> x509.CertificateSigningRequest:
    """The request itself. Raises Malformed."""
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("PEM block type must be CERTIFICATE REQUEST") from error
    kind, block = next(_blocks(pem), (b"", b""))
    if kind != _REQUEST_TYPE:
        raise Malformed("PEM block type must be CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(block + b"\n")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(f"x509: {error}") from error


def _blocks(pem: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The PEM blocks of a text with their types, in one pass however many beginnings have no end."""
    position, end = 0, -1
    while begin := _BEGIN.search(pem, position):
        position = begin.end()
        if end < position:
            end = pem.find(_END, position)
        if end < 0:
            return
        tail = _END + begin.group(1) + b"-----"
        if pem.startswith(tail, end):
            position = end + len(tail)
            yield begin.group(1), pem[begin.start() : position]


def certificate_error(encoded: str) -> str:
    """What is wrong with status.certificate (base64 of PEM); "" when it is one or more certificates."""
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "must contain at least one CERTIFICATE PEM block"
    blocks = list(_blocks(pem))
    for kind, block in blocks:
        if kind != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind.decode("utf-8", "replace")}"'
        if b":" in block:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block + b"\n")
        except (ValueError, UnsupportedAlgorithm) as error:
            return f"x509: {error}"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def expires_at(encoded: str) -> float | None:
    """When the first certificate of status.certificate ends, unix seconds; None when there is none to read."""
    if certificate_error(encoded):
        return None
    return x509.load_pem_x509_certificate(base64.b64decode(encoded)).not_valid_after_utc.timestamp()


def refusal(request: Request, usages: Sequence[str], signer: str) -> str:
    """Why a built-in signer would not sign it; "" when it would."""
    match signer:
        case "kubernetes.io/kube-apiserver-client":
            return _client_refusal(request, usages)
        case "kubernetes.io/kube-apiserver-client-kubelet":
            return kubelet_client_refusal(request, usages)
        case "kubernetes.io/kubelet-serving":
            return _serving_refusal(request, usages)
    return ""


def _client_refusal(request: Request, usages: Sequence[str]) -> str:
    if "system:masters" in request.organizations:
        return f"use of {CLIENT} signer with system:masters group is not allowed"
    for usage in usages:
        if usage not in _FULL_CLIENT:
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def kubelet_client_refusal(request: Request, usages: Sequence[str]) -> str:
    """Why it is not a node's request for its client certificate."""
    if request.organizations != (NODES_GROUP,):
        return "subject organization is not system:nodes"
    for word, values in (
        ("DNS", request.dns_names),
        ("Email", request.emails),
        ("IP", request.addresses),
        ("URI", request.uris),
    ):
        if values:
            return f"{word} subjectAltNames are not allowed"
    if not request.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return _usages_refusal(usages, _FULL_CLIENT)


def _serving_refusal(request: Request, usages: Sequence[str]) -> str:
    if request.organizations != (NODES_GROUP,):
        return "subject organization is not system:nodes"
    if not request.dns_names and not request.addresses:
        return "DNS or IP subjectAltName is required"
    for word, values in (("Email", request.emails), ("URI", request.uris)):
        if values:
            return f"{word} subjectAltNames are not allowed"
    if any("*" in name for name in request.dns_names):
        return "wildcard DNS subjectAltNames are not allowed"
    wrong = _usages_refusal(usages, _FULL_SERVING)
    if wrong:
        return wrong
    is_node = request.common_name.startswith(NODE_PREFIX)
    return "" if is_node else "subject common name does not begin with system:node:"


def _usages_refusal(usages: Sequence[str], full: frozenset[str]) -> str:
    given = frozenset(usages)
    return "" if given in (full, full - _NOT_RSA) else f"usages did not match [{' '.join(sorted(full))}]"


def _attributes(request: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    values = (attribute.value for attribute in request.subject.get_attributes_for_oid(oid))
    return tuple(value if isinstance(value, str) else value.decode("utf-8", "replace") for value in values)
