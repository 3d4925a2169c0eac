"""Table: the part of the services' nftables table that is the same whatever services there are (pure).

A packet is looked up by its destination in one map for addresses and one for the node's ports, once for each
connection. What still bears a service's address behind that is refused.
"""

from collections.abc import Iterable, Iterator

from sampan.node.network.services.chains import CHOSEN, MASQUERADE, key_of
from sampan.node.network.services.here import family_of
from sampan.node.network.settings import NetworkSettings

KINDS = ("4", "-node4", "6", "-node6")
_MOST_CLIENTS = 1 << 20


def base(settings: NetworkSettings) -> str:
    """Commands that put the table with no services in place of whatever was there."""
    table = settings.services_table
    holders = "".join(line for kind in KINDS for line in _holders(kind))
    return f"""table ip {table}
delete table ip {table}
table inet {table}
delete table inet {table}
table inet {table} {{
{holders}  set hairpins4 {{ type ipv4_addr . ipv4_addr; }}
  set hairpins6 {{ type ipv6_addr . ipv6_addr; }}
{_steps(settings)}{_translating(settings)}{_filtering(settings)}}}
"""


def _steps(settings: NetworkSettings) -> str:
    """Chains that others lead to."""
    return f"""  chain translate {{
    {key_of("4")} vmap @services4
    {key_of("6")} vmap @services6
    {_at_node(settings, "services")}
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx port-unreachable
  }}
  chain check {{
    {key_of("4")} vmap @refused4
    {key_of("6")} vmap @refused6
    {_at_node(settings, "refused")}
  }}
  chain hide {{
    meta mark set meta mark and {0xFFFFFFFF ^ MASQUERADE:#x}
    {_under_gateway(settings)}
    masquerade fully-random
  }}
"""


def _translating(settings: NetworkSettings) -> str:
    """Chains that see the first packet of a connection, and those that clean its mark."""
    return f"""  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {_reach(settings)}
  }}
  chain local {{
    type nat hook output priority -100; policy accept;
    goto translate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    {_masquerades(settings)}
  }}
  chain unmark {{
    type filter hook prerouting priority dstnat + 1; policy accept;
    {_unmark()}
  }}
  chain unmark-local {{
    type route hook output priority -99; policy accept;
    {_unmark()}
  }}
"""


def _filtering(settings: NetworkSettings) -> str:
    """Chains that see every packet."""
    return f"""  chain loopback {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop comment "loopback is nobody else's, though answers may be routed to it"
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ct state new goto check
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ct state new jump check
    {_unserved(settings)}
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    ct state new jump check
    {_unserved(settings)}
  }}
"""


def _holders(kind: str) -> Iterator[str]:
    """The maps for frontends of one kind."""
    address = f"ipv{kind[-1]}_addr"
    frontend = "inet_proto . inet_service" if kind.startswith("-node") else f"{address} . inet_proto . inet_service"
    yield f"  map services{kind} {{ type {frontend} : verdict; }}\n"
    yield f"  map refused{kind} {{ type {frontend} : verdict; }}\n"
    yield f"  map endpoints{kind} {{ type {frontend} . mark : {address} . inet_service; }}\n"
    yield f"  map picks{kind} {{ type {frontend} . mark : mark; }}\n"
    client = "mark" if kind.endswith("6") else f"{address} . {frontend}"
    yield (
        f"  map clients{kind} {{ type {client} : mark; size {_MOST_CLIENTS}; flags dynamic,timeout; timeout 3h; }}\n"
    )
    if not kind.startswith("-node"):
        yield f"  set allowed{kind} {{ type {frontend} . {address}; flags interval; }}\n"


def _at_node(settings: NetworkSettings, map: str) -> str:
    """For packets to those of the node's addresses that its ports are served at."""
    addresses = settings.node_port_addresses
    if not addresses:
        addresses = (settings.address, "127.0.0.0/8", settings.node_ip6 or settings.gateway6)
    rules = []
    for ip, family in (("ip", 4), ("ip6", 6)):
        own = sorted({address for address in addresses if address and family_of(address) == family})
        if own:
            where = f"{ip} daddr {{ {', '.join(own)} }} fib daddr type local"
            rules.append(f"{where} {key_of(f'-node{family}')} vmap @{map}-node{family}")
    return "\n    ".join(rules)


def _reach(settings: NetworkSettings) -> str:
    """Whose packets are translated: those of pods, of other nodes, and of all where the node serves others."""
    if settings.node_port_addresses:
        return "goto translate"
    if settings.has_plugins:
        return f'iifname != "{settings.outside}" goto translate' if settings.outside else "goto translate"
    pods = [("ip", settings.cluster_pod_cidr), ("ip6", settings.cluster_pod_cidr6)]
    rules = [f"{ip} saddr {cidr} goto translate" for ip, cidr in pods if cidr]
    if settings.uplink:
        rules.append(f'iifname "{settings.uplink}" goto translate')
    return "\n    ".join(rules)


def _unmark() -> str:
    return f"meta mark & {CHOSEN:#x} != 0 ct state new ct status dnat meta mark set meta mark and {MASQUERADE:#x}"


def _masquerades(settings: NetworkSettings) -> str:
    """What leaves under the node's own address: as told, from no pod to a cluster address, and to itself."""
    rules = [f"meta mark & {MASQUERADE:#x} != 0 goto hide"]
    families = (
        ("ip", settings.service_cidr, settings.cluster_pod_cidr, "127.0.0.0/8", "4"),
        ("ip6", settings.service_cidr6, settings.cluster_pod_cidr6, "::1", "6"),
    )
    for ip, services, pods, loopback, family in families:
        if services and pods:
            rules.append(f"ct status dnat ct original {ip} daddr {services} {ip} saddr != {pods} goto hide")
            rules.append(f"ct status dnat {ip} saddr {loopback} {ip} daddr != {loopback} goto hide")
            rules.append(f"ct status dnat {ip} saddr . {ip} daddr @hairpins{family} goto hide")
    return "\n    ".join(rules)


def _under_gateway(settings: NetworkSettings) -> str:
    """To pods of this node, whose cables have no address of their own."""
    cables = f'oifname "{settings.family}*"'
    rules = [f"{cables} meta nfproto ipv4 snat ip to {settings.gateway}"]
    if settings.gateway6:
        rules.append(f"{cables} meta nfproto ipv6 snat ip6 to {settings.gateway6}")
    return "\n    ".join(rules)


def _unserved(settings: NetworkSettings) -> str:
    cidrs: Iterable[str] = settings.service_cidrs
    return "\n    ".join(f"{'ip6' if ':' in cidr else 'ip'} daddr {cidr} goto refuse" for cidr in cidrs)
