"""Links, addresses and routes by netlink: the gateway's link, and a pod's cable to the host.

Pods are routed, not bridged: a cable ends on the host by itself, with a route for the pod's one
address, so every packet between pods is forwarded by the host. Service addresses are then translated
and translated back with or without the kernel's br_netfilter, a pod can't speak under another's
address (strict reverse path filter), and no ARP is needed (both ends know each other's address).
The link that bears the gateway address has no ports.

pyroute2's synchronous calls may not be made in a thread that runs an event loop: all of this runs in
errand threads (threads.py), each with its own socket. Importing pyroute2 takes a tenth of a second,
hence only here and only when used.
"""

import contextlib
import ipaddress
import os
from typing import TYPE_CHECKING, Any

from sampan.node.network import namespaces, sysctls
from sampan.node.network.settings import NetworkSettings

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_NO_SUCH_DEVICE = 19
_ON_LINK = 4
_SCOPE_LINK = 253
_PERMANENT = 0x80


def open_socket() -> "IPRoute":
    """A netlink socket in the calling thread's namespace."""
    from pyroute2 import IPRoute

    return IPRoute()


def index_of(netlink: "IPRoute", name: str) -> int | None:
    found = netlink.link_lookup(ifname=name)
    return int(found[0]) if found else None


def ensure_gateway(settings: NetworkSettings) -> None:
    """The gateway's link is up and holds its address, and service addresses are routed to it."""
    with open_socket() as netlink:
        if index_of(netlink, settings.bridge) is None:
            mac = mac_of(settings.gateway)
            netlink.link("add", ifname=settings.bridge, kind="bridge", address=mac, mtu=settings.mtu)
        index = index_of(netlink, settings.bridge)
        _disable_ipv6(settings.bridge)
        netlink.link("set", index=index, state="up")
        netlink.addr("replace", index=index, address=settings.gateway, prefixlen=settings.network.prefixlen)
        netlink.route(
            "replace",
            dst=settings.service_cidr,
            oif=index,
            scope=_SCOPE_LINK,
            prefsrc=settings.gateway,
            priority=index,
        )


def plug_in(settings: NetworkSettings, pod_uid: str, address: str) -> None:
    """Create the pod's namespace with `lo` and `eth0`, and its cable to the host.

    Must run in an errand thread, which goes into the pod's namespace and back. The namespace is bound to
    its file last, so that a file means a complete one; a half-made one ends with the thread.
    """
    with contextlib.ExitStack() as stack:
        host = namespaces.host_fd()
        stack.callback(os.close, host)
        on_host = stack.enter_context(open_socket())  # opened before the move: it stays on the host
        pod = namespaces.enter_new()
        stack.callback(os.close, pod)
        with open_socket() as in_pod:
            _configure_pod_end(in_pod, settings, address, host)
        namespaces.move_to(host)
        _configure_host_end(on_host, settings, address)
        namespaces.bind(pod, settings.namespace_path(pod_uid))


def unplug(settings: NetworkSettings, pod_uid: str, address: str) -> None:
    """Remove the pod's cable and namespace. Repeating is harmless."""
    with open_socket() as netlink:
        remove_link(netlink, settings.link_name(address))
    namespaces.remove(settings.namespace_path(pod_uid))


def remove_all(settings: NetworkSettings) -> None:
    """Remove every pod's cable, then the gateway's link; routes and neighbours go with them."""
    with open_socket() as netlink:
        names = {link.get("ifname"): int(link["index"]) for link in netlink.get_links()}
        for name, index in names.items():
            if name == settings.bridge or _is_cable(settings, name):
                _ignore_missing(netlink, index)


def remove_link(netlink: "IPRoute", name: str) -> None:
    index = index_of(netlink, name)
    if index is not None:
        _ignore_missing(netlink, index)


def mac_of(address: str) -> str:
    """A hardware address made from the IP: a new holder of the address is never mistaken for the old."""
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def _configure_pod_end(netlink: "IPRoute", settings: NetworkSettings, address: str, host: int) -> None:
    """Inside the pod: loopback, the address, and everything else through the gateway."""
    gateway_mac = mac_of(settings.gateway)
    peer = {
        "ifname": settings.link_name(address),
        "net_ns_fd": host,
        "mtu": settings.mtu,
        "address": gateway_mac,
    }
    netlink.link("add", ifname="eth0", kind="veth", address=mac_of(address), mtu=settings.mtu, peer=peer)
    for scope in ("all", "eth0"):
        sysctls.write(f"net.ipv4.conf/{scope}/accept_redirects", "0")
    _disable_ipv6("eth0")
    index = index_of(netlink, "eth0")
    netlink.link("set", index=1, state="up")
    netlink.link("set", index=index, state="up")
    netlink.addr("add", index=index, address=address, prefixlen=32)
    netlink.neigh("add", dst=settings.gateway, lladdr=gateway_mac, ifindex=index, state=_PERMANENT)
    netlink.route("add", dst="default", gateway=settings.gateway, oif=index, flags=_ON_LINK)


def _configure_host_end(netlink: "IPRoute", settings: NetworkSettings, address: str) -> None:
    """On the host: the pod's address, and no other, is found at and accepted from this cable."""
    name = settings.link_name(address)
    index = index_of(netlink, name)
    sysctls.write(f"net.ipv4.conf/{name}/rp_filter", "1")
    sysctls.write(f"net.ipv4.conf/{name}/forwarding", "1")
    _disable_ipv6(name)
    netlink.link("set", index=index, state="up")
    netlink.neigh("add", dst=address, lladdr=mac_of(address), ifindex=index, state=_PERMANENT)
    netlink.route("replace", dst=f"{address}/32", oif=index, scope=_SCOPE_LINK, prefsrc=settings.gateway)


def _is_cable(settings: NetworkSettings, name: str) -> bool:
    return name.startswith(settings.cable_prefix) and name[len(settings.cable_prefix) :].isdigit()


def _disable_ipv6(link: str) -> None:
    """Pods have IPv4 only: no link-local address by which to reach the host past the rules."""
    with contextlib.suppress(FileNotFoundError):
        sysctls.write(f"net.ipv6.conf/{link}/disable_ipv6", "1")


def _ignore_missing(netlink: "IPRoute", index: int) -> None:
    from pyroute2 import NetlinkError

    try:
        netlink.link("del", index=index)
    except NetlinkError as error:
        missing: Any = error.code
        if missing != _NO_SUCH_DEVICE:
            raise
