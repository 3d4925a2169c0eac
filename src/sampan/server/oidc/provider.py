"""Provider: a token of a configured issuer becomes a user: signature, audience, times, rules, claims.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens
"""

from collections.abc import Mapping
from typing import Any

from sampan.cel.program import EvaluationError, Program
from sampan.kit.clock import Clock
from sampan.server.identity import AUTHENTICATED_GROUP, User
from sampan.server.oidc import settings, signatures
from sampan.server.oidc.distributed import Distributed
from sampan.server.oidc.keys import Keys
from sampan.server.oidc.settings import Issuer
from sampan.server.outbound import Outbound
from sampan.server.tokens import TokenError, issuer_of

KEPT_SECONDS = 10.0
MAX_KEPT = 1024
MAX_TOKEN_BYTES = 1 << 16

Tree = dict[str, Any]


class Provider:
    """One issuer's tokens."""

    def __init__(self, issuer: Issuer, outbound: Outbound | None, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = Keys(issuer, outbound, clock)
        self._distributed = Distributed(issuer, outbound, clock, self._keys)
        self._clock = clock
        self._kept: dict[str, tuple[float, User]] = {}

    def is_mine(self, token: str) -> bool:
        """Whether the token claims to be of this issuer."""
        return len(token) <= MAX_TOKEN_BYTES and issuer_of(token) == self._issuer.url

    async def user(self, token: str) -> User:
        """Whom the token stands for; what held is taken to hold for ten seconds more. Raises TokenError."""
        kept = self._kept.get(token)
        if kept is not None and self._clock.now() < kept[0]:
            return kept[1]
        user, ends = await self._verified(token)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[token] = (min(self._clock.now() + KEPT_SECONDS, ends), user)
        return user

    async def _verified(self, token: str) -> tuple[User, float]:
        """The user and the token's end."""
        claims = await signatures.claims(token, self._keys, self._issuer.url)
        signatures.check(claims, self._issuer.audiences, self._clock.now())
        claims = await self._distributed.expand(claims)
        for rule in self._issuer.claim_rules:
            _check_claim(rule, claims)
        user = self._mapped(claims)
        for rule in self._issuer.user_rules:
            _check_rule(rule, "user", _shown(user))
        groups = user.groups if AUTHENTICATED_GROUP in user.groups else (*user.groups, AUTHENTICATED_GROUP)
        return User(user.name, user.uid, groups, user.extra), float(claims["exp"])

    def _mapped(self, claims: Tree) -> User:
        issuer = self._issuer
        name = _text(issuer.username, claims, "username")
        if not name:
            raise TokenError("oidc: the token gives no username")
        if issuer.username.claim == "email" and claims.get("email_verified", True) is not True:
            raise TokenError("oidc: email not verified")
        extra = {}
        for key, program in issuer.extra:
            values = _texts(_value(program, {"claims": claims}), key)
            if values:
                extra[key] = values
        groups = _groups(issuer.groups, claims)
        return User(name, _text(issuer.uid, claims, "uid"), groups, extra)


def _text(mapping: settings.Mapping, claims: Tree, what: str) -> str:
    if mapping.program is not None:
        value = _value(mapping.program, {"claims": claims})
    elif mapping.claim:
        if mapping.claim not in claims:
            raise TokenError(f"oidc: parse {what} claims {mapping.claim!r}: claim not present")
        value = claims[mapping.claim]
    else:
        return ""
    if not isinstance(value, str):
        raise TokenError(f"oidc: error evaluating {what} claim expression: the value is no text")
    return mapping.prefix + value if value else ""


def _groups(mapping: settings.Mapping, claims: Tree) -> tuple[str, ...]:
    if mapping.program is not None:
        return _texts(_value(mapping.program, {"claims": claims}), "groups")
    if not mapping.claim or claims.get(mapping.claim) is None:
        return ()
    return tuple(mapping.prefix + group for group in _texts(claims[mapping.claim], "groups"))


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """A text, a list of texts, or nothing; empty texts are left out."""
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or any(not isinstance(each, str) for each in values):
        raise TokenError(f"oidc: {what} has to be a text or a list of texts")
    return tuple(each for each in values if each)


def _value(program: Program, variables: Mapping[str, Any]) -> Any:
    try:
        return program.evaluate(variables)
    except EvaluationError as error:
        raise TokenError(f"oidc: error evaluating expression {program.source!r}: {error}") from error


def _check_claim(rule: settings.Rule, claims: Tree) -> None:
    if rule.program is not None:
        _check_rule(rule, "claims", claims)
        return
    if rule.claim not in claims:
        raise TokenError(f"oidc: required claim {rule.claim} not present in ID token")
    if claims[rule.claim] != rule.value:
        raise TokenError(f"oidc: required claim {rule.claim} value does not match")


def _check_rule(rule: settings.Rule, variable: str, value: Tree) -> None:
    assert rule.program is not None  # rules about claims without one are checked before
    if _value(rule.program, {variable: value}) is not True:
        raise TokenError(f"oidc: validation expression '{rule.program.source}' failed: {rule.message}")


def _shown(user: User) -> Tree:
    extra = {key: list(values) for key, values in user.extra.items()}
    return {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
