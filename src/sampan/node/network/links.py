"""Links, addresses and routes by netlink: the gateway's link, and a pod's cable to the host.

Pods are routed, not bridged: a cable ends on the host by itself, with a route for the pod's one
address, so every packet between pods is forwarded by the host. Service addresses are then translated
and translated back with or without the kernel's br_netfilter, a pod can't speak under another's
address (strict reverse path filter), and no ARP is needed (both ends know each other's address).
The link that bears the gateway address has no ports.

All of this blocks, and goes into other namespaces: it runs in errand threads (threads.py).
"""

import contextlib
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator

from sampan.node.network import namespaces, pod_namespaces, shaping, sysctls
from sampan.node.network.netlink import (
    ACCEPT_REDIRECTS,
    FORWARDING,
    ROUTE_LOCALNET,
    RP_FILTER,
    Link,
    Netlink,
    Route,
    index_of,
)
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.network.settings import NetworkSettings

NEW_LINKS_WITHOUT_IPV6 = "net.ipv6.conf/default/disable_ipv6"
"""What a link begins with. To be set in a namespace that is nobody else's."""

_one_at_a_time = threading.Lock()
"""The kernel changes links one at a time anyway; some of its requests are tried again and again until they have a turn."""


def ensure_gateway(settings: NetworkSettings, *, has_pods: bool = True) -> None:
    """The gateway's link is up and holds its address, and service addresses are routed to it.

    Where others make the pods' network, it `has` no `pods`: their addresses aren't looked for there.
    """
    with Netlink() as netlink:
        if index_of(settings.bridge) is None:
            netlink.add_link(Link(settings.bridge, "bridge", mac_of(settings.gateway), settings.mtu))
        index = socket.if_nametoindex(settings.bridge)
        prepare_ipv6(settings.bridge, is_used=bool(settings.pod_cidr6))
        netlink.set_mtu(index, settings.mtu)
        netlink.set_up(index)
        for network, gateway in ((settings.network, settings.gateway), (settings.network6, settings.gateway6)):
            if network is not None:
                lengths = [network.prefixlen, network.max_prefixlen]
                own, other = lengths if has_pods else reversed(lengths)
                with contextlib.suppress(OSError):
                    netlink.delete_address(index, gateway, other)
                netlink.set_address(index, gateway, own)
        for cidr in settings.service_cidrs:
            gateway = settings.gateway6 if ":" in cidr else settings.gateway
            if gateway:
                netlink.set_route(Route(cidr, index, source=gateway, priority=index))


def plug_in(settings: NetworkSettings, pod_uid: str, address: str, request: PodRequest = NOTHING) -> None:
    """Create the pod's namespace (or take the one that it has) with `lo` and `eth0`, and its cable to the host.

    Must run in an errand thread, which goes into the pod's namespace and back. The namespace is bound to
    its file last, so that a file means a complete one; a half-made one ends with the thread.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_one_at_a_time)
        host = namespaces.host_fd()
        stack.callback(os.close, host)
        on_host = stack.enter_context(Netlink())  # opened before the move: it stays on the host
        pod = namespaces.enter(request.netns) if request.netns else namespaces.enter_new()
        stack.callback(os.close, pod)
        with Netlink() as in_pod:
            _configure_pod_end(in_pod, settings, address, host)
        namespaces.move_to(host)
        _configure_host_end(on_host, settings, address)
        shaping.pace(on_host, settings, address, request)
        pod_namespaces.keep(settings, pod, pod_uid)


def unplug(settings: NetworkSettings, pod_uid: str, address: str) -> None:
    """Remove the pod's cable and namespace. Repeating is harmless."""
    for name in (settings.link_name(address), settings.shaper_name(address)):
        if index_of(name) is not None:
            with Netlink() as netlink:
                remove_link(netlink, name)
    pod_namespaces.drop(settings, pod_uid)


def remove_all(settings: NetworkSettings) -> None:
    """Remove every pod's cable, then the gateway's link; routes and neighbours go with them."""
    with Netlink() as netlink:
        for _, name in socket.if_nameindex():
            if name == settings.bridge or _is_pods(settings, name):
                remove_link(netlink, name)


def mac_of(address: str) -> str:
    """A hardware address made from the IP: a new holder of the address is never mistaken for the old."""
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def _configure_pod_end(netlink: Netlink, settings: NetworkSettings, address: str, host: int) -> None:
    """Inside the pod: loopback, the address, and everything else through the gateway."""
    gateway_mac = mac_of(settings.gateway)
    peer = Link(settings.link_name(address), "veth", gateway_mac, settings.mtu, host)
    with contextlib.nullcontext() if settings.pod_cidr6 else _new_links_without_ipv6():
        netlink.add_link(Link("eth0", "veth", mac_of(address), settings.mtu), peer)
    sysctls.write("net.ipv4.conf/all/accept_redirects", "0")
    if settings.pod_cidr6:
        prepare_ipv6("eth0", is_used=True)
    index = socket.if_nametoindex("eth0")
    netlink.set_up(1)
    netlink.set_up(index, {ACCEPT_REDIRECTS: 0})
    netlink.set_address(index, address, 32)
    netlink.set_neighbour(index, settings.gateway, gateway_mac)
    netlink.set_route(Route("0.0.0.0/0", index, gateway=settings.gateway))
    if address6 := settings.address6(address):
        netlink.set_address(index, address6, 128)
        netlink.set_neighbour(index, settings.gateway6, gateway_mac)
        netlink.set_route(Route("::/0", index, gateway=settings.gateway6))


def _configure_host_end(netlink: Netlink, settings: NetworkSettings, address: str) -> None:
    """On the host: the pod's address, and no other, is found at and accepted from this cable."""
    name = settings.link_name(address)
    index = socket.if_nametoindex(name)
    prepare_ipv6(name, is_used=bool(settings.pod_cidr6))
    # From loopback it is reached by clients on the host; pods themselves are kept off that.
    netlink.set_up(index, {RP_FILTER: 1, FORWARDING: 1, ROUTE_LOCALNET: 1})
    netlink.set_neighbour(index, address, mac_of(address))
    netlink.set_route(Route(f"{address}/32", index, source=settings.gateway))
    if address6 := settings.address6(address):
        netlink.set_neighbour(index, address6, mac_of(address))
        netlink.set_route(Route(f"{address6}/128", index, source=settings.gateway6))


def _is_pods(settings: NetworkSettings, name: str) -> bool:
    """Whether it is a pod's cable, or the link through which one sends."""
    prefixes = (settings.cable_prefix, settings.shaper_prefix)
    return any(name.startswith(prefix) and name[len(prefix) :].isdigit() for prefix in prefixes)


def prepare_ipv6(link: str, *, is_used: bool, asks_neighbours: bool = False) -> None:
    """No addresses but those that are given: a link-local one would be a way to the host past the rules.

    One that asks its neighbours for their hardware addresses has such a one at once: without it, the kernel does not
    ask on behalf of what it passes on.
    """
    generated = {"addr_gen_mode": "0", "accept_dad": "0"} if asks_neighbours else {"addr_gen_mode": "1"}
    values = {**generated, "accept_ra": "0", "accept_redirects": "0"} if is_used else {}
    with contextlib.suppress(FileNotFoundError):
        sysctls.ensure(f"net.ipv6.conf/{link}/disable_ipv6", "0" if is_used else "1")
    for name, value in values.items():
        with contextlib.suppress(FileNotFoundError):
            sysctls.write(f"net.ipv6.conf/{link}/{name}", value)


@contextlib.contextmanager
def _new_links_without_ipv6() -> Iterator[None]:
    """Links that are made meanwhile in the thread's namespace, which is a pod's, have none from the first.

    To turn it off on a link that is there costs more: as long as anybody changes any link of this machine, the kernel has
    the writer try again and again, which takes a whole processor.
    """
    try:
        usual = sysctls.read(NEW_LINKS_WITHOUT_IPV6)
    except FileNotFoundError:  # nothing has IPv6 here
        yield
        return
    sysctls.write(NEW_LINKS_WITHOUT_IPV6, "1")
    try:
        yield
    finally:
        sysctls.write(NEW_LINKS_WITHOUT_IPV6, usual)


def remove_link(netlink: Netlink, name: str) -> None:
    """Nothing happens when it is gone already. OSError."""
    index = index_of(name)
    if index is None:
        return
    try:
        netlink.delete_link(index)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
