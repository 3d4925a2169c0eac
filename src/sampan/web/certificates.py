"""Certificates: an own authority, and the keys that it signs for servers and clients.

Keys are ECDSA P-256; a key file is written 0600. Names in a client certificate are the identity:
CN is the user, each O a group. All times are unix seconds, given by the caller.

https://kubernetes.io/docs/setup/best-practices/certificates/
"""

import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sampan.kit import files

YEAR_SECONDS = 365 * 24 * 3600
AUTHORITY_YEARS = 10
BACKDATE_SECONDS = 300
SHORT_SECONDS = 8 * 3600


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def save(self, directory: Path, name: str) -> None:
        """Writes NAME.crt and NAME.key (0600)."""
        save(directory, {name: self})

    @staticmethod
    def load(directory: Path, name: str) -> "Pair | None":
        """The saved pair, or None when either file is missing."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        if not (certificate.exists() and key.exists()):
            return None
        return Pair(certificate.read_bytes(), key.read_bytes())


def save(directory: Path, pairs: Mapping[str, Pair]) -> None:
    """Writes NAME.crt and NAME.key (0600) of each. What the directory is in is there: keys don't come back where all was removed."""
    directory.mkdir(exist_ok=True, mode=0o700)
    contents = {}
    for name, pair in pairs.items():
        contents[f"{name}.key"] = (pair.key, 0o600)
        contents[f"{name}.crt"] = (pair.certificate, 0o644)  # last: whoever waits for it finds both
    if contents:
        files.write_together(directory, contents)


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, from its first byte on."""
    files.write_whole(path, data)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is for. `hosts` are DNS names and IP addresses it may serve."""

    common_name: str
    organizations: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def new_authority(common_name: str, now: float, years: int = AUTHORITY_YEARS) -> Pair:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key, now, years * YEAR_SECONDS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def prolong(authority: Pair, now: float, years: int = AUTHORITY_YEARS) -> Pair:
    """The same authority, with the same name and key, until so long from now: what it signed holds with either certificate.

    It begins no later and ends no earlier than before, whatever a wrong clock says.
    """
    former = x509.load_pem_x509_certificate(authority.certificate)
    key = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic curve key")
    start = min(former.not_valid_before_utc.timestamp(), now - BACKDATE_SECONDS)
    end = max(former.not_valid_after_utc.timestamp(), now - BACKDATE_SECONDS + years * YEAR_SECONDS)
    builder = _builder(former.subject, former.subject, key, start + BACKDATE_SECONDS, int(end - start))
    for extension in former.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return Pair(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), authority.key)


def prolonged(trusted: bytes, told: bytes, now: float) -> bytes:
    """The trusted authorities (PEM), each as that one of `told` which ends last, is of its name and key, and holds now.

    A trusted one has signed that one, or what is told counts for nothing; so nobody new is trusted. Raises ValueError.
    """
    former = x509.load_pem_x509_certificates(trusted)
    found = [one for one in x509.load_pem_x509_certificates(told) if _may_be_trusted(one, trusted, now)]
    best = []
    for one in former:
        same = [other for other in found if (other.subject, other.public_key()) == (one.subject, one.public_key())]
        best.append(max((one, *same), key=lambda each: each.not_valid_after_utc))
    if best == former:
        return trusted
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in dict.fromkeys(best))


def _may_be_trusted(one: x509.Certificate, trusted: bytes, now: float) -> bool:
    """Anybody may have made this one: what can't be read in it is read only once it is known to be signed."""
    pem = one.public_bytes(serialization.Encoding.PEM)
    try:
        if not (holds(pem, now) and is_signed_by(pem, trusted)):
            return False
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _UNREADABLE:
        return False


_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def issue(authority: Pair, subject: Subject, now: float, years: int = 1) -> Pair:
    """A certificate signed by the authority, for TLS as client, and as server when it has hosts. It ends with the authority."""
    signer = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic curve key")
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in subject.organizations]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name))
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    left = int(issuer.not_valid_after_utc.timestamp() - now) + BACKDATE_SECONDS
    seconds = max(min(years * YEAR_SECONDS, left), 1)
    builder = _builder(x509.Name(attributes), issuer.subject, key, now, seconds)
    if subject.hosts:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = x509.SubjectAlternativeName([_host(h) for h in subject.hosts])
        builder = builder.add_extension(names, critical=False)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(authority_id, critical=False)
    )
    return _pair(builder.sign(signer, hashes.SHA256()), key)


def request(subject: Subject) -> Pair:
    """A request (PKCS#10, in the certificate's place) for such a certificate, and the new key that it is for."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in subject.organizations]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if subject.hosts:
        names = x509.SubjectAlternativeName([_host(h) for h in subject.hosts])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(key, hashes.SHA256())
    return Pair(made.public_bytes(serialization.Encoding.PEM), _private_pem(key))


@dataclass(frozen=True, slots=True)
class Order:
    """What a requester wants signed: a PKCS#10 request (PEM), key usages in Kubernetes' words, a lifetime from now."""

    request: bytes
    usages: tuple[str, ...]
    seconds: int


def sign(authority: Pair, order: Order, now: float) -> bytes:
    """The certificate (PEM) for an order; it never outlives the authority. Raises ValueError for a bad request.

    Subject and alternative names are those of the request: whether they may be is decided before.
    """
    signer = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic curve key")
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    request = x509.load_pem_x509_csr(order.request)
    start = dt.datetime.fromtimestamp(now - BACKDATE_SECONDS, dt.UTC)
    end = now + order.seconds - (BACKDATE_SECONDS if order.seconds >= SHORT_SECONDS else 0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(min(dt.datetime.fromtimestamp(end, dt.UTC), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, is_critical in _usages(order.usages):
        builder = builder.add_extension(extension, critical=is_critical)
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = builder.add_extension(names, critical=not list(request.subject))
    except x509.ExtensionNotFound:
        pass
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


def _usages(words: tuple[str, ...]) -> list[tuple[x509.ExtensionType, bool]]:
    """Key usages by their names in Kubernetes, as extensions with whether they are critical."""
    plain = {_KEY_USAGES[word] for word in words if word in _KEY_USAGES}
    if {"encipher_only", "decipher_only"} & plain:
        plain.add("key_agreement")  # they say how that is used
    found: list[tuple[x509.ExtensionType, bool]] = []
    if plain:
        found.append((x509.KeyUsage(**{name: name in plain for name in set(_KEY_USAGES.values())}), True))
    extended = dict.fromkeys(_EXTENDED_USAGES[word] for word in words if word in _EXTENDED_USAGES)
    if extended:
        found.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(dotted) for dotted in extended]), False))
    return found


def expires_at(pair: Pair) -> float:
    """When the certificate stops being valid, unix seconds."""
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()


def lifetime(certificate: bytes) -> tuple[float, float]:
    """From when to when it is valid, unix seconds."""
    read = x509.load_pem_x509_certificate(certificate)
    return read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()


def last_end(certificates: bytes) -> float:
    """When the one of these (PEM) ends that ends last, unix seconds. Raises ValueError."""
    return max(each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(certificates))


def holds(certificate: bytes, now: float) -> bool:
    """Whether it is valid now: one that was made while the clock was ahead may not be yet."""
    start, end = lifetime(certificate)
    return start <= now < end


def is_self_issued(certificate: bytes) -> bool:
    """Whether it is nobody else's to make anew."""
    read = x509.load_pem_x509_certificate(certificate)
    return read.issuer == read.subject


def key_hash(certificate: bytes) -> str:
    """By what others recognize an authority: sha256:HEX of its public key (SubjectPublicKeyInfo)."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    packed = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(packed).hexdigest()}"


def of_key_hash(bundle: bytes, wanted: str) -> bytes:
    """Those of the certificates (PEM) whose key has this hash."""
    found = (one.public_bytes(serialization.Encoding.PEM) for one in x509.load_pem_x509_certificates(bundle))
    return b"".join(one for one in found if hmac.compare_digest(key_hash(one), wanted))


def is_of_key(certificate: bytes, key: bytes) -> bool:
    """Whether it is a certificate of this private key."""
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
        return public == serialization.load_pem_private_key(key, None).public_key()
    except ValueError:
        return False


def is_signed_by(certificate: bytes, authorities: bytes) -> bool:
    """Whether one of these certificates (PEM) has signed it."""
    read = x509.load_pem_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(authorities):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            read.verify_directly_issued_by(authority)
            return True
    return False


def serves(pair: Pair, hosts: tuple[str, ...]) -> bool:
    """Whether the certificate names all these hosts."""
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not hosts
    return {_host(h) for h in hosts} <= set(names)


def new_signing_key() -> bytes:
    """A private key (PEM, PKCS1) for service account tokens: RSA 2048, so that every client library verifies it."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return _private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, seconds: int
) -> x509.CertificateBuilder:
    start = dt.datetime.fromtimestamp(now - BACKDATE_SECONDS, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(seconds=seconds))
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(key: object) -> bytes:
    """As kubeadm writes it: of which kind it is says its first line, where Java's clients look for it."""
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))
