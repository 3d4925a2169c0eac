"""Whom a client's certificate names. A module of its own, since a process can wait with loading what reads certificates."""

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from sampan.web.message import Peer

_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")


@lru_cache(maxsize=1024)
def peer(certificate: bytes, address: str) -> Peer:
    """Who calls from this address with this certificate (DER): CN is the user, each O a group."""
    subject = x509.load_der_x509_certificate(certificate).subject
    names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    uids = [str(a.value) for a in subject.get_attributes_for_oid(_UID)]
    return Peer(names[0] if names else "", tuple(groups), address, certificate, uids[0] if len(uids) == 1 else "")
