"""Where images come from: mirrors, plain HTTP, own authorities and logins, by the registry's name. Pure.

The file has the form that k3s made known (https://docs.k3s.io/installation/private-registry):

    mirrors:
      docker.io: {endpoint: ["https://mirror.example.com"], rewrite: {"^library/(.*)": "hub/$1"}}
      "*":       {endpoint: ["http://10.0.0.5:5000"]}
    configs:
      mirror.example.com:
        auth: {username: u, password: p}            # or auth: base64 of u:p, or identity_token
        tls:  {ca_file: /etc/ca.pem, cert_file: ..., key_file: ..., insecure_skip_verify: false}

A registry's own address is asked after its mirrors. Registries on this machine (localhost, 127.x.x.x) speak plain HTTP.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Tree = Mapping[str, Any]

HOSTS = {"docker.io": "registry-1.docker.io"}
"""Registries that answer under another name than the one in image names."""


class RegistriesError(ValueError):
    """The file can't be meant so; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks: a name and password, or a token of the registry's token service, or one for the registry itself."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for HTTPS; empty: this machine's authorities, and no certificate of ours."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address to ask. `url` has no slash at its end; `path` is the repository's there."""

    url: str
    path: str
    tls: Tls = Tls()
    login: Login | None = None
    is_mirror: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """A registry's stand-ins, in order, and how repositories are called there."""

    endpoints: tuple[str, ...]
    rewrite: tuple[tuple[re.Pattern[str], str], ...] = ()


@dataclass(frozen=True, slots=True)
class Registries:
    """What the file says. An empty one knows every registry by its own name only."""

    mirrors: Mapping[str, Mirror]
    tls: Mapping[str, Tls]
    logins: Mapping[str, Login]

    def endpoints(self, domain: str, path: str) -> tuple[Endpoint, ...]:
        """Whom to ask for a repository, the first first."""
        mirror = self.mirrors.get(domain) or self.mirrors.get("*")
        own = default_url(domain)
        found = [
            self._endpoint(url, _rewritten(path, mirror), domain, is_mirror=url != own)
            for url in (mirror.endpoints if mirror else ())
        ]
        if own not in [endpoint.url for endpoint in found]:
            found.append(self._endpoint(own, path, domain, is_mirror=False))
        return tuple(found)

    def _endpoint(self, url: str, path: str, domain: str, *, is_mirror: bool) -> Endpoint:
        host = urlsplit(url).netloc
        names = (host,) if is_mirror else (domain, host)
        tls = next((self.tls[name] for name in names if name in self.tls), Tls())
        login = next((self.logins[name] for name in names if name in self.logins), None)
        return Endpoint(url, path, tls, login, is_mirror)


NONE = Registries({}, {}, {})


def default_url(domain: str) -> str:
    """A registry's own address."""
    host = HOSTS.get(domain, domain)
    return f"{'http' if _is_here(host) else 'https'}://{host}/v2"


def parse(tree: Any) -> Registries:
    """The file's content. Raises RegistriesError."""
    tree = _mapping({} if tree is None else tree, "the file")
    if unknown := set(tree) - {"mirrors", "configs"}:
        raise RegistriesError(f"unknown field {min(unknown)!r}; there are mirrors and configs")
    mirrors = {
        str(name): _mirror(_mapping(value, f"mirrors.{name}"), f"mirrors.{name}")
        for name, value in _mapping(tree.get("mirrors") or {}, "mirrors").items()
    }
    tls, logins = {}, {}
    for name, value in _mapping(tree.get("configs") or {}, "configs").items():
        where, config = f"configs.{name}", _mapping(value or {}, f"configs.{name}")
        if unknown := set(config) - {"auth", "tls"}:
            raise RegistriesError(f"{where}: unknown field {min(unknown)!r}; there are auth and tls")
        if config.get("tls"):
            tls[str(name)] = _tls(_mapping(config["tls"], f"{where}.tls"), f"{where}.tls")
        if config.get("auth"):
            logins[str(name)] = login(_mapping(config["auth"], f"{where}.auth"), f"{where}.auth")
    return Registries(mirrors, tls, logins)


def login(tree: Tree, where: str) -> Login:
    """A login in any of the forms that Docker's and k3s' files have. Raises RegistriesError."""
    username, password = str(tree.get("username") or ""), str(tree.get("password") or "")
    if tree.get("auth") and not (username or password):
        try:
            both = base64.b64decode(str(tree["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RegistriesError(f"{where}.auth is not base64 of user:password") from error
        username, colon, password = both.rstrip("\0").partition(":")
        if not colon:
            raise RegistriesError(f"{where}.auth is not base64 of user:password")
    identity = str(tree.get("identity_token") or tree.get("identitytoken") or "")
    registry = str(tree.get("registry_token") or tree.get("registrytoken") or "")
    return Login(username, password, identity, registry)


def _mirror(tree: Tree, where: str) -> Mirror:
    if unknown := set(tree) - {"endpoint", "rewrite"}:
        raise RegistriesError(f"{where}: unknown field {min(unknown)!r}; there are endpoint and rewrite")
    endpoints = tree.get("endpoint") or ()
    if not isinstance(endpoints, list | tuple) or not all(isinstance(e, str) for e in endpoints):
        raise RegistriesError(f"{where}.endpoint must be a list of addresses")
    rewrite = []
    for pattern, replacement in _mapping(tree.get("rewrite") or {}, f"{where}.rewrite").items():
        try:
            rewrite.append((re.compile(str(pattern)), re.sub(r"\$(\d+|\{\w+\})", _group, str(replacement))))
        except re.error as error:
            raise RegistriesError(f"{where}.rewrite: {pattern!r}: {error}") from error
    return Mirror(tuple(_url(endpoint, where) for endpoint in endpoints), tuple(rewrite))


def _url(text: str, where: str) -> str:
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise RegistriesError(f"{where}.endpoint: {text!r} is not an address such as https://mirror.example.com")
    path = parts.path.rstrip("/") or "/v2"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _tls(tree: Tree, where: str) -> Tls:
    known = {"ca_file", "cert_file", "key_file", "insecure_skip_verify"}
    if unknown := set(tree) - known:
        raise RegistriesError(f"{where}: unknown field {min(unknown)!r}; there are {', '.join(sorted(known))}")
    ca_file, cert_file, key_file = (str(tree.get(name) or "") for name in ("ca_file", "cert_file", "key_file"))
    return Tls(ca_file, cert_file, key_file, bool(tree.get("insecure_skip_verify")))


def _mapping(value: Any, where: str) -> Tree:
    if not isinstance(value, Mapping):
        raise RegistriesError(f"{where} must be a mapping")
    return value


def _group(found: re.Match[str]) -> str:
    return rf"\g<{found[1].strip('{}')}>"


def _rewritten(path: str, mirror: Mirror | None) -> str:
    for pattern, replacement in mirror.rewrite if mirror else ():
        if pattern.search(path):
            return pattern.sub(replacement, path)
    return path


def _is_here(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
