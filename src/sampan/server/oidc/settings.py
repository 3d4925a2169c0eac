"""AuthenticationConfiguration: whose tokens are taken beside the cluster's own, and how they become users.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import Program
from sampan.server.config_reader import ConfigError, Reader

KIND = "AuthenticationConfiguration"
MAX_ISSUERS = 64
_CLAIMS = Environment({"claims": types.DYN})
_USER = Environment({"user": types.DYN})
_EMAIL = re.compile(r"\bclaims\.email\b(?!_)")
_EXTRA_KEY = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9-._~!$&'()*+,;=:@/%]+")
_RESERVED_PREFIXES = ("k8s.io/", "kubernetes.io/")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a value comes from: a claim, with a prefix put before it, or an expression; nothing when neither."""

    claim: str = ""
    prefix: str = ""
    program: Program | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What has to hold: a claim with a value, or an expression; `message` says what does not."""

    claim: str = ""
    value: str = ""
    program: Program | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One provider. `authority` is PEM, None for the system's."""

    url: str
    discovery_url: str
    audiences: tuple[str, ...]
    authority: bytes | None
    username: Mapping
    groups: Mapping
    uid: Mapping
    extra: tuple[tuple[str, Program], ...]
    claim_rules: tuple[Rule, ...]
    user_rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class AnonymousSettings:
    """Whether requests without credentials are let through to authorization, everywhere or at some paths."""

    is_enabled: bool = True
    paths: tuple[str, ...] = ()

    def allows(self, path: str) -> bool:
        """Whether such a request is let through here."""
        return self.is_enabled and (not self.paths or path in self.paths)


@dataclass(frozen=True, slots=True)
class Authentication:
    """All providers."""

    issuers: tuple[Issuer, ...] = ()
    anonymous: AnonymousSettings | None = None


def read(reader: Reader) -> Authentication:
    """Raises ConfigError."""
    issuers = tuple(_issuer(each) for each in reader.each("jwt"))
    anonymous = reader.inner("anonymous")
    reader.done()
    if len(issuers) > MAX_ISSUERS:
        raise ConfigError(f"{reader.at('jwt')} has more than {MAX_ISSUERS} entries")
    for field in ("url", "discovery_url"):
        urls = [value for issuer in issuers if (value := getattr(issuer, field))]
        if len(set(urls)) < len(urls):
            raise ConfigError(f"{reader.at('jwt')} names an issuer twice: each URL may be there once")
    return Authentication(issuers, None if anonymous is None else _anonymous(anonymous))


def _anonymous(reader: Reader) -> AnonymousSettings:
    enabled = reader.flag("enabled")
    paths = tuple(each.text("path") for each in reader.each("conditions"))
    reader.done()
    if paths and not enabled:
        raise ConfigError(f"{reader.at('conditions')} are given, but enabled is false: set it, or remove them")
    return AnonymousSettings(enabled, paths)


def _issuer(reader: Reader) -> Issuer:
    issuer = _inner(reader, "issuer")
    url = _url(issuer, "url")
    discovery = _url(issuer, "discoveryURL") if issuer.has("discoveryURL") else ""
    if discovery and discovery.rstrip("/") == url.rstrip("/"):
        raise ConfigError(f"{issuer.at('discoveryURL')} is the same as url: leave it out")
    audiences = issuer.texts("audiences")
    if not audiences or "" in audiences or len(set(audiences)) < len(audiences):
        raise ConfigError(f"{issuer.at('audiences')} needs at least one audience, each once")
    policy = issuer.text("audienceMatchPolicy", "")
    if policy not in ("", "MatchAny") or (len(audiences) > 1 and not policy):
        raise ConfigError(f"{issuer.at('audienceMatchPolicy')} has to be MatchAny where there are several audiences")
    authority = issuer.text("certificateAuthority", "")
    if issuer.text("egressSelectorType", ""):
        raise ConfigError(f"{issuer.at('egressSelectorType')} is not available: leave it out")
    issuer.done()
    mappings = _inner(reader, "claimMappings")
    username = _mapping(mappings, "username", prefixed=True)
    if not username.claim and username.program is None:
        raise ConfigError(f"{mappings.at('username')} needs a claim or an expression")
    made = Issuer(
        url=url,
        discovery_url=discovery,
        audiences=audiences,
        authority=authority.encode() or None,
        username=username,
        groups=_mapping(mappings, "groups", prefixed=True),
        uid=_mapping(mappings, "uid", prefixed=False),
        extra=tuple(_extra(each) for each in mappings.each("extra")),
        claim_rules=tuple(_claim_rule(each) for each in reader.each("claimValidationRules")),
        user_rules=tuple(_user_rule(each) for each in reader.each("userValidationRules")),
    )
    mappings.done()
    reader.done()
    _check_email(made, reader)
    return made


def _inner(reader: Reader, name: str) -> Reader:
    found = reader.inner(name)
    if found is None:
        raise ConfigError(f"{reader.at(name)} is missing")
    return found


def _url(reader: Reader, name: str) -> str:
    text = reader.text(name)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigError(f"{reader.at(name)} is {text!r}: it has to be https://HOST[/PATH], without query or user")
    return text


def _mapping(reader: Reader, name: str, *, prefixed: bool) -> Mapping:
    inner = reader.inner(name)
    if inner is None:
        return Mapping()
    claim, has_prefix = inner.text("claim", ""), prefixed and inner.has("prefix")
    prefix = inner.text("prefix", "") if prefixed else ""
    program = _program(inner, "expression", _CLAIMS) if inner.has("expression") else None
    inner.done()
    if claim and program is not None:
        raise ConfigError(f"{inner.path} has a claim and an expression: keep one of them")
    if prefixed and claim and not has_prefix:
        raise ConfigError(f'{inner.at("prefix")} is missing: with a claim it has to be there, "" for none')
    if has_prefix and not claim:
        raise ConfigError(f"{inner.at('prefix')} needs a claim: an expression puts a prefix itself")
    return Mapping(claim, prefix, program)


def _extra(reader: Reader) -> tuple[str, Program]:
    key, program = reader.text("key"), _program(reader, "valueExpression", _CLAIMS)
    reader.done()
    domain = key.partition("/")[0] + "/"
    if not _EXTRA_KEY.fullmatch(key) or any(domain.endswith(("." + r, r)) for r in _RESERVED_PREFIXES):
        raise ConfigError(f"{reader.at('key')} is {key!r}: a lower-case path with a domain of yours, example.org/key")
    return key, program


def _claim_rule(reader: Reader) -> Rule:
    claim = reader.text("claim", "")
    rule = Rule(
        claim,
        reader.text("requiredValue", ""),
        _program(reader, "expression", _CLAIMS) if reader.has("expression") else None,
        reader.text("message", ""),
    )
    reader.done()
    if bool(claim) == (rule.program is not None):
        raise ConfigError(f"{reader.path} needs either a claim or an expression")
    return rule


def _user_rule(reader: Reader) -> Rule:
    rule = Rule(program=_program(reader, "expression", _USER), message=reader.text("message", ""))
    reader.done()
    return rule


def _program(reader: Reader, name: str, environment: Environment) -> Program:
    source = reader.text(name)
    try:
        return environment.compile(source)
    except CompileError as error:
        raise ConfigError(f"{reader.at(name)}: {error}") from error


def _check_email(issuer: Issuer, reader: Reader) -> None:
    """An e-mail address that nobody verified must not become a name."""
    program = issuer.username.program
    if program is None or not _EMAIL.search(program.source):
        return
    others = [rule.program.source for rule in issuer.claim_rules if rule.program is not None]
    others += [program.source, *(each.source for _, each in issuer.extra)]
    if not any("claims.email_verified" in source for source in others):
        raise ConfigError(
            f"{reader.at('claimMappings.username.expression')} uses claims.email: claims.email_verified has to be "
            "used in it, in extra, or in a claim validation rule"
        )
