"""Addresses of this host: which one others reach it at, and on which link it is."""

import contextlib
import ipaddress
import socket

_ELSEWHERE = ("203.0.113.1", 9)
"""A documentation address (RFC 5737): nothing is sent, the kernel only says which way it would go."""


def reachable_at(listen: str) -> str:
    """The IPv4 address by which other machines reach what listens there; "" for loopback, or if there is none."""
    address = ipaddress.ip_address(listen)
    if address.version == 6 or address.is_loopback:
        return ""
    return listen if not address.is_unspecified else towards(*_ELSEWHERE)


def towards(host: str, port: int) -> str:
    """This host's own address on the way to another; "" when there is no way."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def link_of(address: str) -> str:
    """The link that has the address; "" when none has."""
    from sampan.node.network import netlink_tables

    with contextlib.suppress(OSError):
        return netlink_tables.addresses().get(address, "")
    return ""
