"""Ranges: the addresses of ipBlocks, each without its exceptions, as ranges that do not overlap.

A block whose text can't be read, or one of whose exceptions can't, stands for no address at all.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

Range = tuple[int, int]
"""First and last, both included."""


def of_blocks(blocks: Iterable[Mapping[str, Any]], family: int) -> tuple[Range, ...]:
    """What the blocks allow together, of one family (4 or 6)."""
    found: list[Range] = []
    for block in blocks:
        found += _of_block(block, family)
    return merged(found)


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same numbers by the fewest ranges, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def text(ranges: Iterable[Range], family: int) -> str:
    """As nft writes a set of addresses."""
    make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
    return ", ".join(str(make(a)) if a == b else f"{make(a)}-{make(b)}" for a, b in ranges)


def _of_block(block: Mapping[str, Any], family: int) -> list[Range]:
    try:
        whole = ipaddress.ip_network(block.get("cidr") or "", strict=False)
        holes = [ipaddress.ip_network(value, strict=False) for value in block.get("except") or ()]
    except ValueError:
        return []
    if whole.version != family:
        return []
    found: list[Range] = []
    at, end = int(whole.network_address), int(whole.broadcast_address)
    for hole in sorted((int(h.network_address), int(h.broadcast_address)) for h in holes if h.version == family):
        if hole[0] > at:
            found.append((at, min(hole[0] - 1, end)))
        at = max(at, hole[1] + 1)
        if at > end:
            break
    if at <= end:
        found.append((at, end))
    return [(first, last) for first, last in found if first <= last]
