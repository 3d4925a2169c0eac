"""OIDC as a configured provider: whose tokens are taken, and what user they make."""

from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from sampan.kit.clock import SystemClock
from sampan.server.config import ConfigError, read
from sampan.server.outbound import OutboundError, Target
from sampan.web.message import Peer, Request, Response
from tests.server.configured import configured
from tests.server.conftest import NOW

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ISSUER = "https://issuer.example"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
BODY = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
SIMPLE = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example
    audiences: [sampan, other]
    audienceMatchPolicy: MatchAny
  claimMappings:
    username: {claim: sub, prefix: "oidc:"}
    groups: {claim: groups, prefix: "oidc:"}
    uid: {claim: uid}
  claimValidationRules:
  - {claim: hd, requiredValue: example.org}
"""
CEL = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example
    audiences: [sampan]
  claimMappings:
    username: {expression: "'x-' + claims.sub"}
    groups: {expression: "claims.roles.split(',')"}
    extra:
    - {key: example.org/tenant, valueExpression: claims.tenant}
  claimValidationRules:
  - {expression: "claims.level > 2", message: the level has to be above 2}
  userValidationRules:
  - {expression: "!user.username.startsWith('x-system:')", message: reserved}
"""


class Provider:
    """The issuer, as far as the server calls it."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.issuer = ISSUER
        self.down = False
        self.publish("one", RSA)

    def publish(self, key_id: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        if isinstance(key, rsa.RSAPrivateKey):
            made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.keys.append({**made, "kid": key_id, "use": "sig"})

    async def send(self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = 0) -> Response:
        assert (target.host, target.port) == ("issuer.example", 443)
        self.asked.append(request.path)
        if self.down:
            raise OutboundError("dial tcp: connection refused")
        if request.path == "/keys":
            return Response(200, orjson.dumps({"keys": [{"kty": "odd"}, *self.keys]}))
        assert request.path == "/.well-known/openid-configuration"
        return Response(200, orjson.dumps({"issuer": self.issuer, "jwks_uri": f"{ISSUER}/keys"}))

    async def close(self) -> None: ...


def token(key: Any = RSA, algorithm: str = "RS256", key_id: str = "one", **claims: Any) -> str:
    base = {"iss": ISSUER, "aud": "sampan", "sub": "jane", "exp": NOW + 600, "hd": "example.org", "groups": ["devs"]}
    given = {name: value for name, value in {**base, **claims}.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": key_id})


async def ask(api: Any, credential: str) -> Any:
    return await api.send("POST", WHOAMI, BODY, Peer(), authorization=f"Bearer {credential}")


async def test_claims_become_a_user() -> None:
    """Prefixes, groups and uid; keys are fetched once for many tokens."""
    provider = Provider()
    async with configured(SIMPLE, outbound=provider) as api:
        answer = await ask(api, token(uid="u-7"))
        assert answer.status == 201
        assert answer.tree["status"]["userInfo"] == {
            "username": "oidc:jane", "uid": "u-7", "groups": ["oidc:devs", "system:authenticated"],
        }  # fmt: skip
        assert (await ask(api, token(uid="u", aud=["x", "other"], groups="one"))).status == 201
        assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}}
        await api.create("/api/v1/namespaces/default/serviceaccounts", account)
        asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        own = await api.create("/api/v1/namespaces/default/serviceaccounts/a/token", asked)
        assert (await ask(api, own["status"]["token"])).status == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 1},
        {"exp": None},
        {"nbf": NOW + 60},
        {"aud": "elsewhere"},
        {"aud": None},
        {"iss": "https://issuer.example/"},
        {"hd": "evil.example"},
        {"hd": None},
        {"sub": ""},
        {"sub": 7},
        {"groups": [{"a": 1}]},
        {"uid": None},
        {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)},
        {"key": "x" * 64, "algorithm": "HS256"},
        {"key": None, "algorithm": "none"},
        {"key_id": "unknown"},
    ],
    ids=",".join,
)
async def test_what_does_not_hold_is_refused(changes: dict[str, Any]) -> None:
    """401, whatever is wrong, and nobody else's user."""
    async with configured(SIMPLE, outbound=Provider()) as api:
        answer = await ask(api, token(**{"uid": "u", **changes}))
        assert answer.status == 401


async def test_a_public_key_is_no_secret() -> None:
    """A token signed with the published key as an HMAC secret is refused."""
    import base64
    import hashlib
    import hmac

    async with configured(SIMPLE, outbound=Provider()) as api:
        good = token(uid="u")
        _, payload, _ = good.split(".")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
        public = orjson.dumps(RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True))
        mac = hmac.digest(public, f"{head}.{payload}".encode(), hashlib.sha256)
        forged = f"{head}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert (await ask(api, forged)).status == 401


async def test_new_keys_are_found() -> None:
    """A key that is named for the first time is looked for, but not at every request."""
    provider = Provider()
    clock = Stepped()
    async with configured(SIMPLE, outbound=provider, clock=clock) as api:
        assert (await ask(api, token(uid="u"))).status == 201
        provider.publish("two", EC)
        new = token(EC, "ES256", "two", uid="u")
        assert (await ask(api, new)).status == 401
        asked = len(provider.asked)
        assert (await ask(api, new)).status == 401
        assert len(provider.asked) == asked
        clock.passed += 11
        assert (await ask(api, new)).status == 201
        assert (await ask(api, token(EC, "ES256", "one", uid="u"))).status == 401


async def test_an_issuer_that_is_down_or_another_is_no_issuer() -> None:
    """Without keys no token holds; service accounts are not concerned."""
    for broken in ("down", "other"):
        provider = Provider()
        provider.down = broken == "down"
        provider.issuer = ISSUER if provider.down else "https://evil.example"
        async with configured(SIMPLE, outbound=provider) as api:
            assert (await ask(api, token(uid="u"))).status == 401
            assert (await api.send("GET", "/api/v1/namespaces")).status == 200


async def test_expressions_make_the_user_and_judge_it() -> None:
    """Username, groups and extra by CEL; rules over claims and over the user."""
    async with configured(CEL, outbound=Provider()) as api:
        good = {"roles": "a,b", "tenant": "t1", "level": 3}
        answer = await ask(api, token(**good))
        assert answer.tree["status"]["userInfo"] == {
            "username": "x-jane", "groups": ["a", "b", "system:authenticated"], "extra": {"example.org/tenant": ["t1"]},
        }  # fmt: skip
        assert (await ask(api, token(**{**good, "level": 2}))).status == 401
        assert (await ask(api, token(**{**good, "tenant": None}))).status == 401
        assert (await ask(api, token(**{**good, "sub": "system:admin"}))).status == 401


async def test_token_review_answers_for_the_issuer() -> None:
    """For the API's own audience, and for no other."""
    async with configured(SIMPLE, outbound=Provider()) as api:
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token(uid="u")}}
        answer = await api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert answer["status"]["authenticated"] is True
        assert answer["status"]["user"]["username"] == "oidc:jane"
        review["spec"]["audiences"] = ["vault"]
        answer = await api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert "authenticated" not in answer["status"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("url: https://issuer.example", "url: http://issuer.example"), "has to be https"),
        (("audiences: [sampan, other]", "audiences: []"), "at least one audience"),
        (('prefix: "oidc:"', ""), "prefix is missing"),
        (("claim: sub,", 'claim: sub, expression: "1",'), "claim and an expression"),
        (("uid: {claim: uid}", "uuid: {claim: uid}"), "uuid is not known here"),
        (("uid: {claim: uid}", 'uid: {expression: "claims +"}'), "uid.expression: .*"),
        (("    audienceMatchPolicy: MatchAny\n", ""), "has to be MatchAny"),
        (("claim: hd, requiredValue: example.org", "requiredValue: x"), "either a claim or an expression"),
        (('claim: sub, prefix: "oidc:"', "expression: claims.email"), "email_verified"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(change: tuple[str, str], why: str) -> None:
    """With the place, and what to write."""
    with pytest.raises(ConfigError, match=why):
        read(SIMPLE.replace(*change).encode())


async def test_anonymous_only_where_it_is_allowed() -> None:
    """At the paths that are named; elsewhere, and where it is off, 401."""
    head = "{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, anonymous: "
    async with configured(head + "{enabled: true, conditions: [{path: /readyz}]}}") as api:
        assert (await api.send("GET", "/readyz", b"", Peer())).status == 200
        assert (await api.send("GET", "/livez", b"", Peer())).status == 401
    async with configured(head + "{enabled: false}}") as api:
        assert (await api.send("GET", "/readyz", b"", Peer())).status == 401
    async with configured() as api:
        assert (await api.send("GET", "/livez", b"", Peer())).status == 200
        assert (await api.send("GET", "/version", b"", Peer())).status == 200
        for path in ("/api", "/metrics", "/livez/ping", "/openapi/v2", "/api/v1/namespaces"):
            assert (await api.send("GET", path, b"", Peer())).status == 403


class Stepped(SystemClock):
    """A clock whose monotonic time a test moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return super().monotonic() + self.passed
