"""Subsets of Endpoints in one form: each port once with all its addresses, and nothing said twice.

Ports with the same addresses share a subset. An address that is ready and not ready is not ready.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/
"""

from collections.abc import Iterable, Mapping
from typing import Any

Tree = dict[str, Any]
Identity = tuple[str, str]  # ip, uid of what it belongs to

_PORT_FIELDS = ("name", "port", "protocol", "appProtocol")


def repacked(subsets: Iterable[Tree]) -> list[Tree]:
    """The same endpoints in that form, in a fixed order."""
    known: dict[Identity, Tree] = {}
    by_port: dict[tuple[Any, ...], dict[Identity, bool]] = {}
    ports: dict[tuple[Any, ...], Tree] = {}
    for subset in subsets:
        states = _states(subset, known)
        listed: list[Tree] = subset.get("ports") or [{}]
        for port in listed:
            key = tuple(port.get(field) for field in _PORT_FIELDS)
            ports.setdefault(key, port)
            ready = by_port.setdefault(key, {})
            for identity, is_ready in states.items():
                ready[identity] = is_ready and ready.get(identity, True)
    # Addresses without a port stand apart from those with some.
    groups: dict[tuple[bool, frozenset[tuple[Identity, bool]]], list[Tree]] = {}
    for key, ready in by_port.items():
        port = ports[key]
        groups.setdefault((bool(port), frozenset(ready.items())), []).extend([port] if port else [])
    made = [_subset(states, listed, known) for (_, states), listed in groups.items()]
    return sorted(made, key=lambda s: [_port_order(p) for p in s.get("ports") or ()])


def _states(subset: Mapping[str, Any], known: dict[Identity, Tree]) -> dict[Identity, bool]:
    found: dict[Identity, bool] = {}
    for field, is_ready in (("addresses", True), ("notReadyAddresses", False)):
        for address in subset.get(field) or ():
            identity = (address.get("ip") or "", (address.get("targetRef") or {}).get("uid") or "")
            known.setdefault(identity, address)
            found[identity] = is_ready and found.get(identity, True)
    return found


def _subset(states: Iterable[tuple[Identity, bool]], ports: list[Tree], known: Mapping[Identity, Tree]) -> Tree:
    real = sorted(states)
    made: Tree = {
        "addresses": [known[identity] for identity, is_ready in real if is_ready],
        "notReadyAddresses": [known[identity] for identity, is_ready in real if not is_ready],
        "ports": sorted(ports, key=_port_order),
    }
    return {name: value for name, value in made.items() if value}


def _port_order(port: Mapping[str, Any]) -> tuple[str, int, str]:
    return port.get("name") or "", port.get("port") or 0, port.get("protocol") or ""
