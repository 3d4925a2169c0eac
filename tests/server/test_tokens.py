"""Service account tokens: what is issued is verified, and nothing else is."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sampan.server.tokens import Grant, TokenError, Tokens

NOW = 1_700_000_000.0
FORMATS = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {"RS256": RSA_KEY, "ES256": ec.generate_private_key(ec.SECP256R1())}
API = "https://kubernetes.default.svc.cluster.local"


def grant(**changes: object) -> Grant:
    fields = {
        "namespace": "default",
        "service_account": "app",
        "service_account_uid": "u-1",
        "audiences": (API,),
        "seconds": 3600,
        "jti": "j-1",
    }
    return Grant(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(params=KEYS)
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return Tokens(KEYS[request.param].private_bytes(*FORMATS))


def test_issued_token_verifies(tokens: Tokens) -> None:
    """A token says what was granted, and its key is published."""
    token = tokens.issue(grant(pod_name="p", pod_uid="pu"), NOW)
    claims = tokens.verify(token, (), NOW + 1)
    assert (claims.namespace, claims.service_account, claims.pod_name, claims.pod_uid) == ("default", "app", "p", "pu")
    key = jwt.PyJWK(tokens.jwks()["keys"][0])
    assert jwt.decode(token, key, audience=API, options={"verify_exp": False})["sub"] == (
        "system:serviceaccount:default:app"
    )
    assert jwt.get_unverified_header(token)["kid"] == tokens.jwks()["keys"][0]["kid"]


@pytest.mark.parametrize("now", [NOW - 10, NOW + 3600])
def test_outside_its_time_refused(tokens: Tokens, now: float) -> None:
    """Neither before nor after its time."""
    with pytest.raises(TokenError):
        tokens.verify(tokens.issue(grant(), NOW), (), now)


def test_other_audience_refused(tokens: Tokens) -> None:
    """A token for a vault is none for the API."""
    token = tokens.issue(grant(audiences=("vault",)), NOW)
    with pytest.raises(TokenError, match="audiences"):
        tokens.verify(token, (), NOW)
    assert tokens.verify(token, ("vault", "other"), NOW).audiences == ("vault",)


def test_forgeries_refused(tokens: Tokens) -> None:
    """No signature, another key, another issuer, the public key as a secret, garbage: all refused."""
    good = tokens.issue(grant(), NOW)
    claims = jwt.decode(good, options={"verify_signature": False})
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body, _ = good.split(".")
    hs256 = base64.urlsafe_b64encode(json.dumps({"alg": "HS256"}).encode()).rstrip(b"=").decode()
    import hashlib
    import hmac

    mac = hmac.new(public, f"{hs256}.{body}".encode(), hashlib.sha256).digest()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(*FORMATS)
    forged = [
        jwt.encode(claims, "", algorithm="none"),
        f"{hs256}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        Tokens(other).issue(grant(), NOW),
        f"{head}.{body}.",
        "garbage",
        "",
    ]
    for token in forged:
        with pytest.raises(TokenError):
            tokens.verify(token, (), NOW)
    with pytest.raises(TokenError):
        tokens.verify(Tokens(RSA_KEY.private_bytes(*FORMATS), "https://else").issue(grant(), NOW), (), NOW)


def test_why_a_token_does_not_hold(tokens: Tokens) -> None:
    """Of a token that says it is ours, what is wrong with it; of any other nothing."""
    own = KEYS["RS256"].private_bytes(*FORMATS)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(*FORMATS)
    good = tokens.issue(grant(), NOW)
    ours = [Tokens(other).issue(grant(), NOW), f"{good.rpartition('.')[0]}.AAAA"]
    others = [Tokens(own, "https://else").issue(grant(), NOW), Tokens(other, "https://else").issue(grant(), NOW), "x"]
    told = []
    for token in (*ours, *others):
        with pytest.raises(TokenError) as refused:
            tokens.verify(token, (), NOW)
        told.append(str(refused.value))
    assert told == [
        "invalid signature, no keys found",
        "go-jose/go-jose: error in cryptographic primitive",
        "",
        "",
        "",
    ]
