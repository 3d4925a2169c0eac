"""OIDC groups that a token does not hold itself: they are asked for where it says, and have to be signed as well."""

from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from sampan.server.outbound import Target
from sampan.web.message import Peer, Request, Response
from tests.server.configured import configured
from tests.server.conftest import NOW

OWN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER, DIRECTORY = "https://issuer.example", "https://directory.example"
CONFIG = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: https://issuer.example, audiences: [sampan]}
  claimMappings:
    username: {claim: sub, prefix: ""}
    groups: {claim: groups, prefix: "oidc:"}
"""
Tree = dict[str, Any]


class Web:
    """The issuer and a directory of groups, each with a key, as far as the server calls them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer = Response(200, b"")

    async def send(self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = 0) -> Response:
        url = f"https://{target.host}"
        if request.path == "/.well-known/openid-configuration":
            return Response(200, orjson.dumps({"issuer": url, "jwks_uri": f"{url}/keys"}))
        if request.path == "/keys":
            key = {ISSUER: OWN, DIRECTORY: OTHER}[url]
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            return Response(200, orjson.dumps({"keys": [{**public, "kid": "one", "use": "sig"}]}))
        self.asked.append((url + request.path, request.headers.get("authorization", "")))
        return self.answer

    async def close(self) -> None: ...


def signed(key: rsa.RSAPrivateKey, **claims: Any) -> str:
    base = {"iss": ISSUER, "aud": "sampan", "sub": "jane", "exp": NOW + 600}
    return jwt.encode({**base, **claims}, key, "RS256", headers={"kid": "one"})


def pointing(**source: str) -> str:
    """A token whose groups are elsewhere."""
    return signed(OWN, _claim_names={"groups": "src"}, _claim_sources={"src": source})


async def groups(api: Any, token: str) -> list[str] | str:
    """The user's groups, or why there is none."""
    body = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    state = (await api.create("/apis/authentication.k8s.io/v1/tokenreviews", body))["status"]
    found: list[str] | str = state["user"]["groups"] if state.get("authenticated") else state["error"]
    return found


@pytest.mark.parametrize(("issuer", "key"), [(ISSUER, OWN), (DIRECTORY, OTHER)])
async def test_groups_are_asked_for(issuer: str, key: rsa.RSAPrivateKey) -> None:
    """With the credential that the token gives; who answers may sign with its own key. Once for many requests."""
    web = Web()
    web.answer = Response(200, signed(key, iss=issuer, groups=["devs", "ops"]).encode())
    async with configured(CONFIG, outbound=web) as api:
        token = pointing(endpoint=f"{DIRECTORY}/groups/jane", access_token="secret")
        assert await groups(api, token) == ["oidc:devs", "oidc:ops", "system:authenticated"]
        body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer = await api.send("POST", path, body, Peer(), authorization=f"Bearer {token}")
        assert answer.tree["status"]["userInfo"]["groups"] == ["oidc:devs", "oidc:ops", "system:authenticated"]
        assert web.asked == [(f"{DIRECTORY}/groups/jane", "Bearer secret")]
        assert await groups(api, pointing(endpoint=f"{DIRECTORY}/open")) == await groups(api, token)
        assert web.asked[1] == (f"{DIRECTORY}/open", "")


async def test_nobody_is_asked_for_what_the_token_holds_or_does_not_promise() -> None:
    """Its own groups count; a source without an endpoint, or of another claim, gives none."""
    web = Web()
    async with configured(CONFIG, outbound=web) as api:
        elsewhere = {"src": {"endpoint": f"{DIRECTORY}/x"}}
        own = signed(OWN, groups=["mine"], _claim_names={"groups": "src"}, _claim_sources=elsewhere)
        assert await groups(api, own) == ["oidc:mine", "system:authenticated"]
        other = signed(OWN, _claim_names={"address": "src"}, _claim_sources=elsewhere)
        assert await groups(api, other) == ["system:authenticated"]
        assert await groups(api, pointing(JWT="x")) == ["system:authenticated"]
        assert web.asked == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            Response(403, b""),
            'while getting distributed claim "groups": oidc: https://directory.example/g answered 403',
        ),
        (Response(200, b"no token"), "getting untrusted issuer from endpoint"),
        (Response(200, signed(OTHER, groups=["g"]).encode()), "verify distributed claim token"),
        (Response(200, signed(OWN, groups=["g"], exp=NOW - 1).encode()), "token is expired"),
        (Response(200, signed(OWN, groups=["g"], aud="another").encode()), "expected audience"),
        (Response(200, signed(OWN).encode()), "did not contain claim: groups"),
        (Response(200, signed(OTHER, iss="http://a.example", groups=["g"]).encode()), "is not an https URL"),
    ],
    ids=["refused", "no token", "another key", "over", "another audience", "no groups", "issuer without TLS"],
)
async def test_groups_that_cannot_be_had_refuse_the_token(answer: Response, why: str) -> None:
    """Rather than make a user without groups."""
    web = Web()
    web.answer = answer
    async with configured(CONFIG, outbound=web) as api:
        found = await groups(api, pointing(endpoint=f"{DIRECTORY}/g"))
        assert isinstance(found, str)
        assert "oidc: could not expand distributed claims: " in found
        assert why in found


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"_claim_names": "x"}, "error parsing distributed claim names"),
        ({"_claim_names": {"groups": "a"}}, "oidc: no claim sources"),
        ({"_claim_names": {"groups": "a"}, "_claim_sources": {"a": 1}}, "could not parse claim sources"),
        ({"_claim_names": {"groups": "a"}, "_claim_sources": {"b": {}}}, "contained a source a missing"),
        ({"_claim_names": {"groups": "a"}, "_claim_sources": {"a": {"endpoint": "http://x/y"}}}, "not an https URL"),
    ],
)
async def test_a_token_that_points_nowhere_is_refused(claims: Tree, why: str) -> None:
    """Its own words have to make sense."""
    async with configured(CONFIG, outbound=Web()) as api:
        assert why in await groups(api, signed(OWN, **claims))
