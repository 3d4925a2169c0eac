"""Which texts are IP addresses and CIDRs, in the one form that every program reads alike.

Leading zeros and IPv4-mapped IPv6 addresses are refused, since programs differ on what they mean.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

import ipaddress
from collections.abc import Container

from sampan.meta import names
from sampan.meta.status import Cause, invalid_value, required

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_ZEROS = "must not have leading 0s"
_CIDR_ZEROS = "must not have leading 0s in IP or prefix length"


def address(path: str, value: str, family: str = "", known: Container[str] = ()) -> list[Cause]:
    """What is wrong with an IP address, of a family (IPv4, IPv6) or any; `known` ones were there before."""
    if value in known:
        return []
    parsed = _loose(value)
    if parsed is None:
        return [invalid_value(path, value, _ADDRESS)]
    found = []
    if _strict(value) is None:
        found.append(invalid_value(path, value, _ZEROS))
    elif isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        found.append(invalid_value(path, value, "must not be an IPv4-mapped IPv6 address"))
    if family and family != family_of(parsed):
        found.append(invalid_value(path, value, f"must be an {family} address"))
    return found


def canonical_address(value: str) -> list[str]:
    """What is wrong with an object's name that is an IP address."""
    found = [cause.message.partition(f"Invalid value: {_shown(value)}: ")[2] for cause in address("", value)]
    parsed = None if found else _strict(value)
    if parsed is not None and str(parsed) != value:
        return [f'must be in canonical form ("{parsed}")']
    return found


def cidr(path: str, value: str, *, canonical: bool = False, known: Container[str] = ()) -> list[Cause]:
    """What is wrong with a CIDR; `known` ones were there before."""
    if value in known:
        return []
    host, slash, length = value.rpartition("/")
    parsed = _loose(host) if slash and length.isascii() and length.isdigit() else None
    if parsed is None or int(length) > parsed.max_prefixlen:
        return [invalid_value(path, value, _CIDR)]
    found = []
    if _strict(host) is None or (len(length) > 1 and length.startswith("0")):
        found.append(invalid_value(path, value, _CIDR_ZEROS))
    elif isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        found.append(invalid_value(path, value, "must not have an IPv4-mapped IPv6 address"))
    exact = f"{parsed}/{int(length)}"
    if canonical and not found and exact != value:
        found.append(invalid_value(path, value, f'must be in canonical form ("{exact}")'))
    if ipaddress.ip_network(exact, strict=False).network_address != parsed:
        found.append(invalid_value(path, value, "must not have bits set beyond the prefix length"))
    return found


def not_special(path: str, value: str) -> list[Cause]:
    """Addresses that mean "this host" or "this link" lead anywhere but where their writer thinks."""
    parsed = _loose(value)
    if parsed is None:
        return [invalid_value(path, value, "must be a valid IP address")]
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    found = []
    if plain.is_unspecified:
        found.append(invalid_value(path, value, f"may not be unspecified ({value})"))
    if plain.is_loopback:
        found.append(invalid_value(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if plain.is_link_local:
        found.append(invalid_value(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if any(plain in network for network in _LINK_MULTICAST if network.version == plain.version):
        text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        found.append(invalid_value(path, value, text))
    return found


_LINK_MULTICAST: tuple[Network, ...] = (ipaddress.IPv4Network("224.0.0.0/24"), ipaddress.IPv6Network("ff02::/16"))


def address_warnings(path: str, value: str) -> list[str]:
    """The warning about an IPv6 address that is not written as others write it."""
    parsed = _strict(value)
    if _is_own_ipv6(parsed) and str(parsed) != value:
        return [f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{parsed}")']
    return []


def cidr_warnings(path: str, value: str) -> list[str]:
    """The same about an IPv6 CIDR."""
    host, slash, length = value.rpartition("/")
    parsed = _strict(host) if slash else None
    if _is_own_ipv6(parsed) and str(parsed) != host:
        return [f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{parsed}/{length}")']
    return []


def fully_qualified(path: str, value: str) -> list[Cause]:
    """What is wrong with a domain name of at least two labels; a last dot is fine."""
    if not value:
        return [required(path)]
    name = value.removesuffix(".")
    errors = names.dns1123_subdomain(name)
    if errors:
        return [invalid_value(path, name, ",".join(errors))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid_value(path, name, "should be a domain with at least two segments separated by dots")]
    return [invalid_value(path, label, ",".join(e)) for label in labels if (e := names.dns1123_label(label))]


def is_address(value: str) -> bool:
    """Whether a text is an IP address in any form."""
    return _loose(value) is not None


def parse(value: str) -> Address | None:
    """The address, None when it is none."""
    return _strict(value)


def network(value: str) -> Network | None:
    """The network of a CIDR, None when it is none."""
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        return None


def family_of(value: Address | Network) -> str:
    """IPv4 or IPv6."""
    return "IPv4" if value.version == 4 else "IPv6"


def _is_own_ipv6(value: Address | None) -> bool:
    """Whether it is an IPv6 address, and none that stands for an IPv4 one."""
    return isinstance(value, ipaddress.IPv6Address) and value.ipv4_mapped is None


def _strict(value: str) -> Address | None:
    try:
        return None if "%" in value else ipaddress.ip_address(value)
    except ValueError:
        return None


def _loose(value: str) -> Address | None:
    """As old programs read it: leading zeros in an IPv4 address mean nothing."""
    head, colon, tail = value.rpartition(":")
    parts = tail.split(".")
    if len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts):
        tail = ".".join(str(int(part)) for part in parts)
    return _strict(f"{head}{colon}{tail}")


def _shown(value: str) -> str:
    return invalid_value("", value, "").message.removeprefix("Invalid value: ")
