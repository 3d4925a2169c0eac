"""Certificates: whether a Secret holds a certificate and the key that belongs to it, in a form that Envoy takes."""

import base64
import binascii
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sampan.kinds.kind import Object

_SHORTEST_RSA = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

CERTIFICATE, KEY = "tls.crt", "tls.key"


def of_secret(secret: Object) -> tuple[str, str]:
    """(certificate chain, key) as PEM. Raises ValueError saying what is wrong."""
    data = secret.get("data") or {}
    for name in (CERTIFICATE, KEY):
        if not data.get(name):
            raise ValueError(f"it has no {name}")
    return _checked(data[CERTIFICATE], data[KEY])


@lru_cache(256)
def _checked(certificate: str, key: str) -> tuple[str, str]:
    try:
        chain, secret = base64.b64decode(certificate, validate=True), base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        private = load_pem_private_key(secret, None)
        own, held = leaf.public_key(), private.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("its certificate or key can't be read") from error
    if not (isinstance(own, rsa.RSAPublicKey) and own.key_size >= _SHORTEST_RSA) and not (
        isinstance(own, ec.EllipticCurvePublicKey) and isinstance(own.curve, _CURVES)
    ):
        raise ValueError("its key is of a kind that is not supported")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_bytes(*form) != held.public_bytes(*form):
        raise ValueError("its key does not belong to its certificate")
    return chain.decode(), secret.decode()
