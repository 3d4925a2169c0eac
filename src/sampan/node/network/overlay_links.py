"""Overlay links: keeps the kernel's routes to other nodes' pods as the Node objects say, and nothing else's.

What is ours is known by the routes' protocol number and by the tunnel's name, so that an agent that starts again finds
what an earlier one left, and takes away only what is not wanted any more: packets under way don't notice.
"""

import errno
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sampan.kinds.core.node import NODE
from sampan.kinds.kind import Kind
from sampan.meta import objects
from sampan.node.network import netlink_tables, overlay, sysctls
from sampan.node.network.netlink import Link, Netlink, Route, Tunnel, index_of
from sampan.node.network.overlay import Way
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread

log = logging.getLogger(__name__)

PROTOCOL = 83
"""By which our routes are known among others (`ip route` shows it)."""
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)

Object = dict[str, Any]


class Overlay:
    """Follows the nodes. Of many changes only those that move a way reach the kernel."""

    kinds: tuple[Kind, ...] = (NODE,)

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._ways: dict[str, tuple[Way, ...]] = {}
        self._done: frozenset[Way] | None = None

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Notes the ways to a node that came, changed or went."""
        if new is not None:
            self._ways[objects.name(new)] = overlay.ways(new, self._settings)
        elif old is not None:
            self._ways.pop(objects.name(old), None)

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """The kernel has the ways that are wanted, and no others of ours. OSError, when all that can be is done."""
        wanted = frozenset(way for ways in self._ways.values() for way in ways)
        if wanted == self._done:
            return
        await run_in_fresh_thread(lambda: program(self._settings, wanted))
        self._done = wanted


def program(settings: NetworkSettings, wanted: Iterable[Way]) -> None:
    """Makes the host's routes, and the tunnel with its entries, what is wanted. OSError names the first refusal."""
    ways = frozenset(wanted)
    with Netlink() as netlink:
        tunnel = _ensure_tunnel(netlink, settings) if settings.overlay == overlay.VXLAN else 0
        steps = _entries(netlink, tunnel, ways) if tunnel else []
        steps += _routes(netlink, settings, tunnel, ways)
        failures = [failure for step in steps if (failure := _tried(step)) is not None]
    if failures:
        raise failures[0]


def remove_all(settings: NetworkSettings) -> None:
    """Takes away the tunnel and every route of ours to this cluster's pods."""
    with Netlink() as netlink:
        for step in _routes(netlink, settings, 0, frozenset()):
            step()
        index = index_of(settings.overlay_link)
        if index is not None and settings.overlay == overlay.VXLAN:
            _unless_gone(partial(netlink.delete_link, index))()


Step = Callable[[], None]


def _ensure_tunnel(netlink: Netlink, settings: NetworkSettings) -> int:
    """Its number. One that was made for another address or size is made anew."""
    mac = overlay.mac_of(settings.address)
    known = netlink_tables.links().get(settings.overlay_link)
    if known is not None and (known.mac, known.mtu) != (mac, settings.mtu):
        netlink.delete_link(known.index)
        known = None
    if known is None:
        link = Link(settings.overlay_link, "vxlan", mac, settings.mtu)
        netlink.add_tunnel(Tunnel(link, settings.vni, settings.address, overlay.VXLAN_PORT))
    index = index_of(settings.overlay_link)
    if index is None:
        raise OSError(errno.ENODEV, f"{settings.overlay_link} did not come to be")
    sysctls.write(f"net.ipv4.conf/{settings.overlay_link}/forwarding", "1")
    netlink.set_up(index)
    return index


def _entries(netlink: Netlink, tunnel: int, ways: frozenset[Way]) -> list[Step]:
    """What is to be done about the tunnel's neighbours and ends."""
    ends, known_ends = {(way.mac, way.machine) for way in ways}, netlink_tables.tunnel_ends(tunnel)
    pairs, known = {(way.over, way.mac) for way in ways}, netlink_tables.neighbours(tunnel)
    strange = {address for address, _ in known} - {address for address, _ in pairs}
    return [
        *(_unless_gone(partial(netlink.delete_tunnel_end, tunnel, *end)) for end in sorted(known_ends - ends)),
        *(partial(netlink.set_tunnel_end, tunnel, *end) for end in sorted(ends - known_ends)),
        *(_unless_gone(partial(netlink.delete_neighbour, tunnel, address)) for address in sorted(strange)),
        *(partial(netlink.set_neighbour, tunnel, *pair) for pair in sorted(pairs - known)),
    ]


def _routes(netlink: Netlink, settings: NetworkSettings, tunnel: int, ways: frozenset[Way]) -> list[Step]:
    """What is to be done about routes. A way that changes is replaced, so that there is no moment without one."""
    uplink = tunnel or (index_of(settings.uplink) if settings.uplink else 0) or 0
    wanted = {way.to: Route(way.to, uplink, way.over, _source(settings, way), 0, PROTOCOL) for way in sorted(ways)}
    known = sorted((route for route in netlink_tables.routes(PROTOCOL) if _is_of(route, settings)), key=_to)
    same = {(route.to, route.gateway, route.source) for route in known if route.index == uplink or not uplink}
    return [
        *(_unless_gone(partial(netlink.delete_route, route)) for route in known if route.to not in wanted),
        *(partial(netlink.set_route, way) for way in wanted.values() if (way.to, way.gateway, way.source) not in same),
    ]


def _to(route: Route) -> str:
    return route.to


def _source(settings: NetworkSettings, way: Way) -> str:
    """What this node itself speaks as: an address among its pods', to which all nodes have a way back."""
    return settings.gateway6 if ":" in way.to else settings.gateway


def _is_of(route: Route, settings: NetworkSettings) -> bool:
    """Whether it leads to pods of this cluster; other clusters of this host have ways too."""
    ranges = (settings.cluster_pod_cidr, settings.cluster_pod_cidr6)
    return any(overlay.is_inside(route.to, within) for within in ranges if within)


def _tried(step: Step) -> OSError | None:
    """Why it failed: the others are done all the same."""
    try:
        step()
    except OSError as error:
        log.warning("a way to another node's pods: %s", error)
        return error
    return None


def _unless_gone(step: Step) -> Step:
    """What is gone already needs no removal."""

    def done() -> None:
        try:
            step()
        except OSError as error:
            if error.errno not in _GONE:
                raise

    return done
