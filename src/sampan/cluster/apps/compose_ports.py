"""The ports of a compose service: which its containers listen on, and by which they are reached from outside. Pure."""

import ipaddress
import re
from typing import Any

from sampan.cluster.apps.compose_values import ComposeError, mapping, text
from sampan.cluster.apps.objects import Object, Port

_SHORT = re.compile(
    r"(?:(?:(?P<host>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<published>\d{0,5}(?:-\d{1,5})?):)?"
    r"(?P<target>\d{1,5}(?:-\d{1,5})?)(?:/(?P<protocol>tcp|udp|sctp))?"
)
_LONG = {"target", "published", "protocol", "host_ip", "mode", "name", "app_protocol"}
MAX_RANGE = 1000


def ports(entry: Object, where: str, notes: list[str]) -> list[Port]:
    """Raises ComposeError."""
    found: list[Port] = []
    for item in _list(entry.get("ports"), f"{where}.ports"):
        one = _long(item, f"{where}.ports") if isinstance(item, dict) else text(item)
        found += _short(one, f"{where}.ports", notes, is_published=True)
    for item in _list(entry.get("expose"), f"{where}.expose"):
        found += _short(text(item), f"{where}.expose", notes, is_published=False)
    return found


def _long(item: Object, where: str) -> str:
    one = mapping(item, where)
    for key in one:
        if key not in _LONG and not key.startswith("x-"):
            raise ComposeError(f"{where}.{key} is not supported")
    if "target" not in one:
        raise ComposeError(f"{where}: target is missing")
    host = f"{text(one['host_ip'])}:" if one.get("host_ip") else ""
    published = f"{host}{text(one['published'])}:" if one.get("published") else ""
    protocol = f"/{text(one['protocol'])}" if one.get("protocol") else ""
    return f"{published}{text(one['target'])}{protocol}"


def _short(item: str, where: str, notes: list[str], *, is_published: bool) -> list[Port]:
    found = _SHORT.fullmatch(item)
    if not found:
        raise ComposeError(f"{where}: {item!r} is not a port; write it in quotes, as '8080:80'")
    targets = _range(found["target"], where)
    outside = _range(found["published"] or found["target"], where) if is_published else [0] * len(targets)
    if len(targets) != len(outside):
        raise ComposeError(f"{where}: {item!r}: the ranges are of different lengths")
    if found["host"] and is_published and _is_loopback(found["host"]):
        notes.append(
            f"{where}: {item} is for this machine alone: it is served in the cluster; use kubectl port-forward"
        )
        outside = [0] * len(targets)
    elif found["host"]:
        notes.append(f"{where}: the address in {item} is left out: a Service has one of its own")
    protocol = (found["protocol"] or "tcp").upper()
    return [Port(target, published, protocol) for target, published in zip(targets, outside, strict=True)]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _range(value: str, where: str) -> list[int]:
    first, _, last = value.partition("-")
    low, high = int(first or 0), int(last or first or 0)
    if not 0 < low <= high < 65536 or high - low > MAX_RANGE:
        raise ComposeError(f"{where}: {value!r} is not a port")
    return list(range(low, high + 1))


def _list(value: Any, where: str) -> list[Any]:
    found = [] if value is None else value
    if not isinstance(found, list):
        raise ComposeError(f"{where} must be a list")
    return found
