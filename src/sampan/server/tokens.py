"""Tokens: service account tokens, signed JSON Web Tokens that anybody can check with the published key.

RS256 with an RSA key, ES256 with an elliptic one; no other algorithm is ever accepted.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
_WARN_SECONDS = 3607
_EXTENDED_SECONDS = 365 * 24 * 3600

Tree = dict[str, Any]


class TokenError(Exception):
    """A token that does not hold, and why."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new token says. `seconds` is how long it holds."""

    namespace: str
    service_account: str
    service_account_uid: str
    audiences: tuple[str, ...]
    seconds: int
    jti: str
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    node_uid: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `audiences` are those that it and the asker have in common."""

    namespace: str
    service_account: str
    service_account_uid: str
    audiences: tuple[str, ...]
    jti: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    node_uid: str = ""
    expires: float = 0
    warn_after: float = 0


class Tokens:
    """Issues and verifies. `private_key` is PEM; `issuer` is also the audience of the API itself."""

    def __init__(self, private_key: bytes, issuer: str = DEFAULT_ISSUER) -> None:
        key = serialization.load_pem_private_key(private_key, None)
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TypeError("service account tokens need an RSA or an elliptic curve key")
        if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, ec.SECP256R1):
            raise TypeError("service account tokens need a key on the curve P-256")
        self.issuer = issuer
        self._key = key
        self._public = key.public_key()
        self._algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        self._key_id = _key_id(self._public)

    def issue(self, grant: Grant, now: float) -> str:
        """A signed token for the grant, from `now` on."""
        issued = int(now)
        private: Tree = {
            "namespace": grant.namespace,
            "serviceaccount": {"name": grant.service_account, "uid": grant.service_account_uid},
        }
        if grant.pod_name:
            private["pod"] = {"name": grant.pod_name, "uid": grant.pod_uid}
        if grant.node_name:
            private["node"] = {"name": grant.node_name, "uid": grant.node_uid}
        seconds = grant.seconds
        if grant.pod_name and seconds == _WARN_SECONDS and grant.audiences == (self.issuer,):
            private["warnafter"] = issued + seconds
            seconds = _EXTENDED_SECONDS
        claims = {
            "aud": list(grant.audiences),
            "exp": issued + seconds,
            "iat": issued,
            "iss": self.issuer,
            "jti": grant.jti,
            "kubernetes.io": private,
            "nbf": issued,
            "sub": f"system:serviceaccount:{grant.namespace}:{grant.service_account}",
        }
        return jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._key_id, "typ": None})

    def verify(self, token: str, audiences: tuple[str, ...], now: float) -> Claims:
        """The claims of a token that holds now, for any of the audiences (none = the API). Raises TokenError."""
        wanted = audiences or (self.issuer,)
        payload = self._decode(token)
        common = tuple(audience for audience in wanted if audience in _audiences(payload))
        if not common:
            raise TokenError(
                f"token audiences {_shown(_audiences(payload))} is invalid for the target audiences {_shown(wanted)}"
            )
        _check_times(payload, now)
        return _claims(payload, common)

    def jwks(self) -> Tree:
        """The JSON Web Key Set at /openid/v1/jwks."""
        key = self._public
        if isinstance(key, rsa.RSAPublicKey):
            full = RSAAlgorithm.to_jwk(key, as_dict=True)
        else:
            full = ECAlgorithm.to_jwk(key, as_dict=True)
        shown = {name: full[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in full}
        return {"keys": [{"use": "sig", "kid": self._key_id, "alg": self._algorithm, **shown}]}

    def openid_configuration(self) -> Tree:
        """The document at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._algorithm],
        }

    def _decode(self, token: str) -> Mapping[str, Any]:
        """The payload of a token with our signature; times and audience are the caller's to check."""
        try:
            return jwt.decode(
                token,
                self._public,
                algorithms=[self._algorithm],
                issuer=self.issuer,
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["exp", "iss", "sub"],
                },
            )
        except jwt.InvalidTokenError as error:
            raise TokenError(str(error)) from error


def _audiences(payload: Mapping[str, Any]) -> tuple[str, ...]:
    given = payload.get("aud") or ()
    return (given,) if isinstance(given, str) else tuple(a for a in given if isinstance(a, str))


def _check_times(payload: Mapping[str, Any], now: float) -> None:
    expires, not_before = payload.get("exp"), payload.get("nbf", 0)
    if not isinstance(expires, int | float) or not isinstance(not_before, int | float):
        raise TokenError("the token's times are no numbers")
    if now >= expires:
        raise TokenError("service account token has expired")
    if now < not_before:
        raise TokenError("service account token is not valid yet")


def _claims(payload: Mapping[str, Any], audiences: tuple[str, ...]) -> Claims:
    private = payload.get("kubernetes.io")
    if not isinstance(private, dict):
        raise TokenError("the token has no kubernetes.io claims")
    account, pod, node = (private.get(part) or {} for part in ("serviceaccount", "pod", "node"))
    namespace, name = str(private.get("namespace", "")), str(account.get("name", ""))
    if not namespace or payload.get("sub") != f"system:serviceaccount:{namespace}:{name}":
        raise TokenError("the token's subject does not match its service account")
    return Claims(
        namespace=namespace,
        service_account=name,
        service_account_uid=str(account.get("uid", "")),
        audiences=audiences,
        jti=str(payload.get("jti", "")),
        pod_name=str(pod.get("name", "")),
        pod_uid=str(pod.get("uid", "")),
        node_name=str(node.get("name", "")),
        node_uid=str(node.get("uid", "")),
        expires=float(payload["exp"]),
        warn_after=float(private.get("warnafter") or 0),
    )


def _shown(audiences: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{audience}"' for audience in audiences) + "]"


def _key_id(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """The key's SHA-256 in base64url, as upstream names keys."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
