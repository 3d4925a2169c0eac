"""URLs: url, isURL and their parts, as Go's net/url reads a request's URL.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-url-library
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from sampan.cel import types
from sampan.cel.functions import Overload, traverse
from sampan.cel.types import BOOL, STRING, list_of, map_of
from sampan.cel.values import EvaluationError, Opaque

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.ASCII | re.DOTALL)
_BAD_HOST = re.compile(r'[\x00-\x20"<>\\^`{|}\x7f]')
_PATH_SAFE = "/$&+,:;=@!'()*~-_."


@dataclass(frozen=True, slots=True)
class Url(Opaque):
    """The parts of a URL; `host` includes the port."""

    text: str
    scheme: str
    host: str
    path: str
    query: str

    type = types.URL

    def __str__(self) -> str:
        """As it was written."""
        return self.text


def parse(text: str) -> Url:
    """A request's URL: absolute, or an absolute path. Raises ValueError with Go's text."""
    try:
        return _parse(text)
    except ValueError as wrong:
        raise ValueError(f'parse "{text}": {wrong}') from None


def _parse(text: str) -> Url:
    if any(c < " " or c == "\x7f" for c in text):
        raise ValueError("net/url: invalid control character in URL")
    if not text:
        raise ValueError("empty url")
    match = _SCHEME.match(text)
    scheme, rest = (match.group(1).lower(), text[match.end() :]) if match else ("", text)
    if not match and text[0] == ":":
        raise ValueError("missing protocol scheme")
    rest, _, query = rest.partition("?")
    if scheme and not rest.startswith("/"):
        return Url(text, scheme, "", "", query)
    if not rest.startswith("/"):
        raise ValueError("invalid URI for request")
    host, path = "", rest
    if scheme and rest.startswith("//"):
        authority, slash, tail = rest[2:].partition("/")
        host, path = _host(authority.rpartition("@")[2]), slash + tail
    bad = _BAD_ESCAPE.search(path)
    if bad:
        raise ValueError(f'invalid URL escape "{bad.group()}"')
    return Url(text, scheme, host, path, query)


def _host(host: str) -> str:
    if host.startswith("["):
        end = host.find("]")
        if end < 0:
            raise ValueError("missing ']' in host")
        port = host[end + 1 :]
    else:
        bad = _BAD_HOST.search(host)
        if bad:
            raise ValueError(f'invalid character "{bad.group()}" in host name')
        port = host[host.find(":") :] if ":" in host else ""
    if port and not re.fullmatch(r":[0-9]*", port, re.ASCII):
        raise ValueError(f'invalid port "{port}" after host')
    return host


def _url(text: str) -> Url:
    try:
        return parse(text)
    except ValueError as wrong:
        raise EvaluationError(f"URL parse error during conversion from string: {wrong}") from None


def _is_url(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _hostname(url: Url) -> str:
    if url.host.startswith("["):
        return url.host[1 : url.host.find("]")]
    return url.host.partition(":")[0]


def _port(url: Url) -> str:
    return url.host[url.host.rfind("]") + 1 :].partition(":")[2]


def _escaped_path(url: Url) -> str:
    plain = unquote_to_bytes(url.path)
    valid = re.fullmatch(r"(?:%[0-9A-Fa-f]{2}|[A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]])*", url.path, re.ASCII)
    return url.path if valid else quote(plain, safe=_PATH_SAFE)


def _query(url: Url) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in url.query.split("&"):
        if not part or ";" in part or _BAD_ESCAPE.search(part):
            continue
        key, _, value = part.partition("=")
        found.setdefault(_unescape(key), []).append(_unescape(value))
    return found


def _unescape(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="replace")


def _getter(name: str, run: Any, result: types.Type = STRING) -> list[Overload]:
    return [Overload(f"url_{name}", (types.URL,), result, run, member=True)]


FUNCTIONS: dict[str, list[Overload]] = {
    "url": [Overload("string_to_url", (STRING,), types.URL, _url, cost=traverse())],
    "isURL": [Overload("is_url_string", (STRING,), BOOL, _is_url)],
    "getScheme": _getter("get_scheme", lambda url: url.scheme),
    "getHost": _getter("get_host", lambda url: url.host),
    "getHostname": _getter("get_hostname", _hostname),
    "getPort": _getter("get_port", _port),
    "getEscapedPath": _getter("get_escaped_path", _escaped_path),
    "getQuery": _getter("get_query", _query, map_of(STRING, list_of(STRING))),
}
