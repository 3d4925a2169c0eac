"""The front proxy: a proxy that has authenticated its client, and says in headers who that is.

It is believed only with a certificate of the front proxy's own authority, and with one of the allowed
names. A certificate of that authority is no identity by itself.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from sampan.server.identity import AUTHENTICATED_GROUP, User
from sampan.web.message import Peer, Request

MAX_KNOWN = 1024
USER_HEADER, GROUP_HEADER, UID_HEADER, EXTRA_PREFIX = (
    "x-remote-user",
    "x-remote-group",
    "x-remote-uid",
    "x-remote-extra-",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """`authority` is PEM; no names at all allow every name."""

    authority: bytes
    names: tuple[str, ...] = ()


class FrontProxy:
    """Tells the proxy's certificates from everybody else's."""

    def __init__(self, settings: Settings) -> None:
        self._authorities = x509.load_pem_x509_certificates(settings.authority)
        self._names = settings.names
        self._issued: dict[bytes, bool] = {}

    def issued(self, peer: Peer) -> bool:
        """Whether the peer's certificate is the front proxy authority's."""
        if not peer.certificate:
            return False
        known = self._issued.get(peer.certificate)
        if known is None:
            if len(self._issued) >= MAX_KNOWN:
                self._issued.clear()
            known = self._issued[peer.certificate] = _is_issued(peer.certificate, self._authorities)
        return known

    def user(self, request: Request) -> User | None:
        """Whom the proxy names, None when it may not, or names nobody."""
        name = request.headers.get(USER_HEADER, "")
        if not name or (self._names and request.peer.common_name not in self._names):
            return None
        headers = request.headers
        groups = tuple(g.strip() for g in headers.get(GROUP_HEADER, "").split(",") if g.strip())
        extra = {
            unquote(k.removeprefix(EXTRA_PREFIX)).lower(): tuple(part.strip() for part in v.split(","))
            for k, v in headers.items()
            if k.startswith(EXTRA_PREFIX)
        }
        if AUTHENTICATED_GROUP not in groups:
            groups = (*groups, AUTHENTICATED_GROUP)
        return User(name, headers.get(UID_HEADER, ""), groups, extra)


def _is_issued(der: bytes, authorities: Sequence[x509.Certificate]) -> bool:
    certificate = x509.load_der_x509_certificate(der)
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
