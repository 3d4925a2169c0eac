"""IP addresses and ranges: ip, isIP, ip.isCanonical, family, cidr, containsIP, containsCIDR, masked.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-ip-address-library
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cel.functions import Overload, tenth, traverse
from sampan.cel.types import BOOL, CIDR, INT, IP, STRING, Type
from sampan.cel.values import EvaluationError, Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ip(Opaque):
    """An address."""

    address: Address
    type = IP

    def __str__(self) -> str:
        """In canonical form."""
        return str(self.address)

    def __len__(self) -> int:
        return self.address.max_prefixlen // 8


@dataclass(frozen=True, slots=True)
class Cidr(Opaque):
    """An address, whose host bits may be set, with the length of its prefix."""

    address: Address
    length: int
    type = CIDR

    def __str__(self) -> str:
        """In canonical form, host bits included."""
        return f"{self.address}/{self.length}"

    def __len__(self) -> int:
        return (self.length + 7) // 8

    @property
    def network(self) -> Any:
        """The range of addresses."""
        return ipaddress.ip_network((self.address, self.length), strict=False)


def _parse_address(text: str) -> Address:
    if "%" in text:
        raise ValueError("IP address with zone value is not allowed")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'ParseAddr("{text}"): unable to parse IP') from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError("IPv4-mapped IPv6 address is not allowed")
    return address


def _parse_range(text: str) -> Cidr:
    host, slash, length = text.rpartition("/")
    if not slash:
        raise ValueError(f"netip.ParsePrefix(\"{text}\"): no '/'")
    try:
        address = _parse_address(host)
    except ValueError as wrong:
        raise ValueError(f'netip.ParsePrefix("{text}"): {wrong}') from None
    if not _LENGTH.fullmatch(length):
        raise ValueError(f'netip.ParsePrefix("{text}"): bad bits after slash: "{length}"')
    if int(length) > address.max_prefixlen:
        raise ValueError(f'netip.ParsePrefix("{text}"): prefix length out of range')
    return Cidr(address, int(length))


def _ip(text: str) -> Ip:
    try:
        return Ip(_parse_address(text))
    except ValueError as wrong:
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {wrong}') from None


def _cidr(text: str) -> Cidr:
    try:
        return _parse_range(text)
    except ValueError as wrong:
        raise EvaluationError(f"network address parse error during conversion from string: {wrong}") from None


def _parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def run(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return run


def _contains_ip(range_: Cidr, address: Ip) -> bool:
    return address.address.version == range_.address.version and address.address in range_.network


def _contains_cidr(range_: Cidr, other: Cidr) -> bool:
    if range_.address.version != other.address.version:
        return False
    return other.length >= range_.length and other.address in range_.network


def _contains_cost(*, text: bool, whole: bool) -> Any:
    def cost(args: Sequence[Any]) -> int:
        size = len(args[0])
        total = tenth(size * 2) + (tenth(len(args[1])) if text else 0)
        return total + tenth(size) + 1 if whole else total

    return cost


def _global_unicast(value: Ip) -> bool:
    a = value.address
    broadcast = a.version == 4 and int(a) == 0xFFFFFFFF
    return not (a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local or broadcast)


def _link_local_multicast(value: Ip) -> bool:
    a = value.address
    if isinstance(a, ipaddress.IPv4Address):
        return int(a) >> 8 == 0xE00000
    return int(a) >> 112 & 0xFF0F == 0xFF02


def _masked(range_: Cidr) -> Cidr:
    return Cidr(range_.network.network_address, range_.length)


def _of_ip(name: str, run: Callable[[Ip], Any], result: Type = BOOL) -> list[Overload]:
    return [Overload(f"ip_{name}", (IP,), result, run, member=True)]


def _contains(name: str, kind: Type, run: Any, parse: Any, *, whole: bool) -> list[Overload]:
    return [
        Overload(
            f"cidr_contains_{name}_string",
            (CIDR, STRING),
            BOOL,
            lambda range_, text: run(range_, parse(text)),
            True,
            _contains_cost(text=True, whole=whole),
        ),
        Overload(f"cidr_contains_{name}", (CIDR, kind), BOOL, run, True, _contains_cost(text=False, whole=whole)),
    ]


FUNCTIONS: dict[str, list[Overload]] = {
    "ip": [
        Overload("string_to_ip", (STRING,), IP, _ip, cost=traverse()),
        Overload("cidr_ip", (CIDR,), IP, lambda range_: Ip(range_.address), member=True),
    ],
    "isIP": [Overload("is_ip", (STRING,), BOOL, _parses(_ip), cost=traverse())],
    "ip.isCanonical": [
        Overload("ip_is_canonical", (STRING,), BOOL, lambda text: str(_ip(text)) == text, cost=traverse(2))
    ],
    "family": _of_ip("family", lambda ip: ip.address.version, INT),
    "isUnspecified": _of_ip("is_unspecified", lambda ip: ip.address.is_unspecified),
    "isLoopback": _of_ip("is_loopback", lambda ip: ip.address.is_loopback),
    "isLinkLocalMulticast": _of_ip("is_link_local_multicast", _link_local_multicast),
    "isLinkLocalUnicast": _of_ip("is_link_local_unicast", lambda ip: ip.address.is_link_local),
    "isGlobalUnicast": _of_ip("is_global_unicast", _global_unicast),
    "cidr": [Overload("string_to_cidr", (STRING,), CIDR, _cidr, cost=traverse())],
    "isCIDR": [Overload("is_cidr", (STRING,), BOOL, _parses(_cidr), cost=traverse())],
    "containsIP": _contains("ip", IP, _contains_ip, _ip, whole=False),
    "containsCIDR": _contains("cidr", CIDR, _contains_cidr, _cidr, whole=True),
    "masked": [Overload("cidr_masked", (CIDR,), CIDR, _masked, member=True)],
    "prefixLength": [Overload("cidr_prefix_length", (CIDR,), INT, lambda range_: range_.length, member=True)],
    "string": [Overload("ip_to_string", (IP,), STRING, str), Overload("cidr_to_string", (CIDR,), STRING, str)],
}
