"""Clues: what a container's last words tell: a name that leads nowhere, a port that is taken, a file that may not be read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.meta import objects
from sampan.platform.health import words
from sampan.platform.health.lookup import Lookup

HOST = r"['\"]?([A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9])['\"]?"
UNRESOLVED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"getaddrinfo (?:ENOTFOUND|EAI_AGAIN) {HOST}",
        rf"lookup {HOST}(?: on [^ ]+)?:.*(?:no such host|server misbehaving)",
        rf"could not (?:resolve|find) host(?:name)?:? {HOST}",
        rf"could not translate host name {HOST}",
        rf"failed to resolve {HOST}",
        rf"unknown (?:\w+ )?(?:server )?host:? {HOST}",
        rf"UnknownHostException:? {HOST}",
        rf"bad address {HOST}",
        rf"can'?t (?:resolve|find) {HOST}",
        rf"unable to resolve host(?: address)? {HOST}",
        rf"{HOST}: (?:Name or service not known|Temporary failure in name resolution|Name does not resolve)",
        rf"host not found in upstream {HOST}",
        rf"{HOST}.*NXDOMAIN",
    )
)
NAMELESS = re.compile(
    r"Name or service not known|Temporary failure in name resolution|nodename nor servname|Name does not resolve",
    re.IGNORECASE,
)
REFUSED = re.compile(r"connection refused|ECONNREFUSED|connect: refused", re.IGNORECASE)
OTHERS = (
    (
        re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE),
        "AddressInUse",
        "the address it listens on is taken already, by another container of the pod or by itself twice",
    ),
    (
        re.compile(r"read-only file ?system", re.IGNORECASE),
        "ReadOnlyFileSystem",
        "it writes where its file system may only be read",
    ),
    (re.compile(r"no space left on device|ENOSPC", re.IGNORECASE), "NoSpace", "there is no space left where it writes"),
    (
        re.compile(r"permission denied|EACCES", re.IGNORECASE),
        "PermissionDenied",
        "it may not read, write or run something",
    ),
)
ENDS = re.compile(r"\.svc(?:\.cluster\.local)?\.?$")
IN_VALUE = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://(?:[^@/]*@)?)?([a-z0-9][a-z0-9.-]*[a-z0-9])(?::\d+)?(?:/.*)?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Clue:
    """`line` is the one that tells it; `wrong` is a name in it that does not exist, `better` one that does."""

    reason: str
    message: str
    line: str
    next: tuple[str, ...] = ()
    wrong: str = ""
    better: str = ""


def find(lines: Sequence[str], pod: Mapping[str, Any], container: Mapping[str, Any], look: Lookup) -> Clue | None:
    """What the lines tell; the last ones first."""
    for line in reversed(lines):
        host = next((match[1] for match in (p.search(line) for p in UNRESOLVED) if match), "")
        if host or NAMELESS.search(line):
            return _unresolved(host, line, pod, container, look)
        if REFUSED.search(line):
            return Clue("ConnectionRefused", f"whatever it connects to refuses: {words.clipped(line, 160)}", line)
        for pattern, reason, message in OTHERS:
            if pattern.search(line):
                return Clue(reason, f"{message}: {words.clipped(line, 160)}", line)
    return None


def _unresolved(host: str, line: str, pod: Mapping[str, Any], container: Mapping[str, Any], look: Lookup) -> Clue:
    namespace = objects.namespace(pod)
    host = host or _told_by_environment(container, namespace, look)
    if not host:
        message = "a name that it looks up does not exist"
        return Clue(
            "NameNotResolved",
            message,
            line,
            ("look which host name it is given, and compare: kubectl get services -A",),
        )
    better = near_service(host, namespace, look)
    message = f"the name {host} does not exist{words.meant(better)}"
    where = _place(host, container)
    if better:
        step = f"change {host} to {better}" + (f": {where}" if where else " where the program is told of it")
    else:
        step = f"make a Service of the name {host}, or correct the name" + (f": {where}" if where else "")
    steps = (step,) if better else (step, f"{words.in_namespace(namespace)} get services")
    return Clue("NameNotResolved", message, line, steps, host, better)


def near_service(host: str, namespace: str, look: Lookup) -> str:
    """The Service that may have been meant by a host name, as the pod would have to call it; "" for none."""
    name, _, rest = ENDS.sub("", host).partition(".")
    services = look.list(SERVICE, rest or namespace)
    found = words.nearest_object(name, services)
    if found:
        return f"{found}.{rest}" if rest else found
    everywhere = look.list(SERVICE)
    elsewhere = sorted(objects.namespace(each) for each in everywhere if objects.name(each) == name)
    if elsewhere:
        return f"{name}.{elsewhere[0]}"
    if rest:
        spaces = sorted({objects.namespace(each) for each in everywhere if objects.name(each) == name})
        return f"{name}.{spaces[0]}" if spaces else ""
    return ""


def _told_by_environment(container: Mapping[str, Any], namespace: str, look: Lookup) -> str:
    """A host among a container's variables that is nearly a Service's name."""
    services = {objects.name(each) for each in look.list(SERVICE, namespace)}
    for name in _hosts(container):
        first = name.partition(".")[0]
        if first not in services and words.nearest(first, services):
            return name
    return ""


def _hosts(container: Mapping[str, Any]) -> list[str]:
    values = [str(each.get("value") or "") for each in container.get("env") or ()]
    return [match[1] for match in (IN_VALUE.match(value) for value in values) if match and not match[1].isdigit()]


def _place(host: str, container: Mapping[str, Any]) -> str:
    """Which variable, argument or command has the host, if one does."""
    for each in container.get("env") or ():
        if host in str(each.get("value") or ""):
            return f"containers[{container.get('name')}].env[{each.get('name')}]"
    for name in ("args", "command"):
        if any(host in str(word) for word in container.get(name) or ()):
            return f"containers[{container.get('name')}].{name}"
    return ""
