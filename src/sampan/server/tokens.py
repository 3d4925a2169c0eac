"""Tokens: service account tokens, signed JSON Web Tokens that anybody can check with the published key.

RS256 with an RSA key, ES256 with an elliptic one; no other algorithm is ever accepted.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_JWK_FIELDS = ("kty", "n", "e", "crv", "x", "y")
_WARN_SECONDS = 3607
_EXTENDED_SECONDS = 365 * 24 * 3600

_UNCHECKED: Any = {
    "verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["iss", "sub"],
}  # fmt: skip

Tree = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


NOBODYS = ""
"""Why a token does not hold that nobody here has made: nothing more is said of it."""


class TokenError(Exception):
    """A token that does not hold, and why. `notes` are annotations for the audit log."""

    def __init__(self, why: str, notes: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.notes = notes or {}


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
    secret_name: str = ""
    secret_uid: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `audiences` are those that it and the asker have in common.

    A legacy token lives in the Secret that it names, and has no end.
    """

    namespace: str
    service_account: str
    service_account_uid: str
    audiences: tuple[str, ...]
    jti: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    node_uid: str = ""
    secret_name: str = ""
    secret_uid: str = ""
    expires: float = 0
    warn_after: float = 0
    is_legacy: bool = False


class Tokens:
    """Issues and verifies. `private_key` is PEM; `issuer` is also the audience of the API itself.

    `retired` are the public or private keys (PEM) that signed before: their tokens hold on until they end.
    """

    def __init__(self, private_key: bytes, issuer: str = DEFAULT_ISSUER, retired: Sequence[bytes] = ()) -> None:
        key = _private_key(private_key)
        self.issuer = issuer
        self._key = key
        self._public = [key.public_key(), *map(_public_key, retired)]
        self._ids = [_key_id(public) for public in self._public]

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
            private["node"] = {"name": grant.node_name, **({"uid": grant.node_uid} if grant.node_uid else {})}
        if grant.secret_name:
            private["secret"] = {"name": grant.secret_name, "uid": grant.secret_uid}
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
        return self._sign(claims)

    def issue_legacy(self, grant: Grant) -> str:
        """The token that a Secret of type kubernetes.io/service-account-token holds; it ends with the Secret."""
        claims = {
            "iss": LEGACY_ISSUER,
            f"{LEGACY_ISSUER}/namespace": grant.namespace,
            f"{LEGACY_ISSUER}/secret.name": grant.secret_name,
            f"{LEGACY_ISSUER}/service-account.name": grant.service_account,
            f"{LEGACY_ISSUER}/service-account.uid": grant.service_account_uid,
            "sub": f"system:serviceaccount:{grant.namespace}:{grant.service_account}",
        }
        return self._sign(claims)

    def verify(self, token: str, audiences: tuple[str, ...], now: float) -> Claims:
        """The claims of a token that holds now, for any of the audiences (none = the API). Raises TokenError."""
        wanted = audiences or (self.issuer,)
        payload = self._decode(token)
        if payload.get("iss") == LEGACY_ISSUER:
            return _legacy_claims(payload, tuple(a for a in wanted if a == self.issuer))
        common = tuple(audience for audience in wanted if audience in _audiences(payload))
        if not common:
            raise TokenError(
                f"token audiences {_shown(_audiences(payload))} is invalid for the target audiences {_shown(wanted)}"
            )
        _check_times(payload, now)
        return _claims(payload, common)

    def jwks(self) -> Tree:
        """The JSON Web Key Set at /openid/v1/jwks."""
        return {"keys": [_jwk(key, id) for key, id in zip(self._public, self._ids, strict=True)]}

    def openid_configuration(self) -> Tree:
        """The document at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({_algorithm(key) for key in self._public}),
        }

    def _sign(self, claims: Tree) -> str:
        """https://www.rfc-editor.org/rfc/rfc7515#section-3.1, as jwt.encode does it, in half the time."""
        text = self._head + b"." + _base64(orjson.dumps(claims))
        return (text + b"." + _base64(self._signer.sign(text, self._key))).decode()

    @cached_property
    def _signer(self) -> Any:
        import jwt  # loaded with the first token: a hundredth of the start

        return jwt.get_algorithm_by_name(_algorithm(self._public[0]))

    @cached_property
    def _head(self) -> bytes:
        return _base64(orjson.dumps({"alg": _algorithm(self._public[0]), "kid": self._ids[0]}))

    def _decode(self, token: str) -> Mapping[str, Any]:
        """The payload of a token with one of our signatures; times and audience are the caller's to check."""
        import jwt

        for key in self._candidates(token):
            try:
                return jwt.decode(
                    token, key, algorithms=[_algorithm(key)], issuer=[self.issuer, LEGACY_ISSUER], options=_UNCHECKED
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                raise TokenError(NOBODYS) from error
        raise TokenError("go-jose/go-jose: error in cryptographic primitive" if self._is_ours(token) else NOBODYS)

    def _candidates(self, token: str) -> list[PublicKey]:
        """The keys that may have signed it: the one it names, or all of the algorithm when it names none."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise TokenError(NOBODYS) from error
        named = header.get("kid")
        if named in self._ids:
            return [self._public[self._ids.index(named)]]
        if named:
            raise TokenError("invalid signature, no keys found" if self._is_ours(token) else NOBODYS)
        return [key for key in self._public if _algorithm(key) == header.get("alg")]

    def _is_ours(self, token: str) -> bool:
        """Whether it says that we have made it."""
        return issuer_of(token) in (self.issuer, LEGACY_ISSUER)


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def issuer_of(token: str) -> str:
    """The issuer that a token claims, checked by nothing; "" when it is no JSON Web Token."""
    import jwt

    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.InvalidTokenError:
        return ""


def _audiences(payload: Mapping[str, Any]) -> tuple[str, ...]:
    given = payload.get("aud") or ()
    return (given,) if isinstance(given, str) else tuple(a for a in given if isinstance(a, str))


def _legacy_claims(payload: Mapping[str, Any], audiences: tuple[str, ...]) -> Claims:
    if not audiences:
        raise TokenError("the token is for the API, and for no other audience")
    namespace, name, uid, secret = (
        str(payload.get(f"{LEGACY_ISSUER}/{part}", ""))
        for part in ("namespace", "service-account.name", "service-account.uid", "secret.name")
    )
    if not (namespace and secret and uid) or payload.get("sub") != f"system:serviceaccount:{namespace}:{name}":
        raise TokenError("the token's subject does not match its service account")
    return Claims(namespace, name, uid, audiences, secret_name=secret, expires=float("inf"), is_legacy=True)


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
    account, pod, node, secret = (private.get(part) or {} for part in ("serviceaccount", "pod", "node", "secret"))
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
        secret_name=str(secret.get("name", "")),
        secret_uid=str(secret.get("uid", "")),
        expires=float(payload["exp"]),
        warn_after=float(private.get("warnafter") or 0),
    )


def _shown(audiences: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{audience}"' for audience in audiences) + "]"


def _private_key(pem: bytes) -> PrivateKey:
    """The server's own keys: whether their numbers are prime is not asked at each start, which takes 50 ms."""
    key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError("service account tokens need an RSA or an elliptic curve key")
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("service account tokens need a key on the curve P-256")
    return key


def _public_key(pem: bytes) -> PublicKey:
    if b"PRIVATE KEY" in pem:
        return _private_key(pem).public_key()
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise TypeError("service account tokens need an RSA or an elliptic curve key")
    return key


def _algorithm(key: PublicKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPublicKey) else "ES256"


def _jwk(key: PublicKey, id: str) -> Tree:
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    if isinstance(key, rsa.RSAPublicKey):
        full = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        full = ECAlgorithm.to_jwk(key, as_dict=True)
    shown: Tree = {str(name): value for name, value in full.items() if name in _JWK_FIELDS}
    return {"use": "sig", "kid": id, "alg": _algorithm(key), **shown}


def _key_id(public: PublicKey) -> str:
    """The key's SHA-256 in base64url, as upstream names keys."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
