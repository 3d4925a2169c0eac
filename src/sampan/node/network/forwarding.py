"""Forwarding: the host passes packets on for its pods while there are nodes on it, and is then as it was before.

A host that forwards IPv6 no longer listens to the routers that gave it its own address and default route, unless it is
told to do so all the same.

What others set meanwhile looks like what we set. So while there are links that lead to somebody's virtual machines,
containers or private network, the host goes on forwarding.

https://docs.kernel.org/networking/ip-sysctl.html
"""

from collections.abc import Iterator
from pathlib import Path

from sampan.node.network import mtu, sysctls
from sampan.node.network.settings import NetworkSettings

IPV4 = "net.ipv4.ip_forward"
IPV6 = "net.ipv6.conf/all/forwarding"
LOOPBACK = "net.ipv4.conf/all/route_localnet"
_ROUTES = Path("/proc/thread-self/net/ipv6_route")
_BY_ROUTERS = 0x00040000 | 0x00010000
"""Flags of a route that a router has told of: to its network, or by default."""
_LINKS = Path("/sys/class/net")
_OWN = "sampan"
_FORWARDED = {"DEVTYPE=bridge", "DEVTYPE=vxlan", "DEVTYPE=wireguard"}
_HEARS_ROUTERS, _EVEN_IF_FORWARDING = "1", "2"


def claim(settings: NetworkSettings) -> None:
    """The host forwards what the pods need."""
    sysctls.claim(settings.run_dir, IPV4, "1", settings.owner)
    if settings.pod_cidr6:
        claim_ipv6(settings.run_dir, settings.owner)


def claim_ipv6(run_dir: Path, owner: str) -> None:
    """The host forwards IPv6, and goes on listening to the routers that it listens to now."""
    for link in listeners():
        name = f"net.ipv6.conf/{link}/accept_ra"
        if sysctls.read(name) == _HEARS_ROUTERS:
            sysctls.claim(run_dir, name, _EVEN_IF_FORWARDING, owner)
    sysctls.claim(run_dir, IPV6, "1", owner)


def claim_loopback(settings: NetworkSettings) -> None:
    """Clients on loopback reach pods of other nodes too; only once rules keep everybody else's packets off it."""
    if settings.uplink or settings.overlay:
        sysctls.claim(settings.run_dir, LOOPBACK, "1", settings.owner)


def release(settings: NetworkSettings, links: Path = _LINKS) -> None:
    """This node needs it no more; what was set for all of them is put back with the last one, if nobody else needs it."""
    keep = bool(needed_by(settings.family, links))
    sysctls.release(settings.run_dir, LOOPBACK, settings.owner)
    for name in (IPV4, *sysctls.claimed(settings.run_dir, "net.ipv6.conf/")):
        sysctls.release(settings.run_dir, name, settings.owner, keep=keep)


def needed_by(own: str, links: Path = _LINKS) -> list[str]:
    """The links for which others may need the host to forward: all but ours, hardware, and the way out of the host."""
    uplink = mtu.default_link()
    return sorted(
        link.name
        for link in links.iterdir()
        if link.name != uplink and not link.name.startswith((own, _OWN)) and _is_forwarded(link)
    )


def _is_forwarded(link: Path) -> bool:
    """A bridge, a tunnel, or one end of a cable whose other end is elsewhere."""
    if (link / "tun_flags").exists():
        return True
    try:
        kind = set((link / "uevent").read_text().split())
        own, other = ((link / name).read_text().strip() for name in ("ifindex", "iflink"))
    except OSError:  # gone meanwhile, or no link
        return False
    is_virtual = not (link / "device").exists() and not any(word.startswith("DEVTYPE=") for word in kind)
    return bool(kind & _FORWARDED) or (is_virtual and other not in ("0", own))


def listeners(routes: Path = _ROUTES) -> list[str]:
    """The links by which routers have told this host of a way."""
    return sorted(set(_told(routes)))


def _told(routes: Path) -> Iterator[str]:
    for line in routes.read_text().splitlines():
        words = line.split()
        if len(words) > 9 and int(words[8], 16) & _BY_ROUTERS:
            yield words[9]
