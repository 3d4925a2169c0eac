"""Network settings: which addresses, names and folders one node's pod network uses.

Everything the network leaves on the host bears a name from here, so that it can be found again
after a restart and taken away without touching anybody else's.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

_LONGEST_LINK_NAME = 15


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """One node's network.

    `bridge` is `<family><node number>`, such as sampan0n1, the link that holds the gateway address; a
    pod's cable adds p and the number of its address: sampan0n1p5. Nodes of one cluster on one host share
    the family (sampan0n). `pod_cidr` is this node's part of `cluster_pod_cidr`. `state_dir` is root-owned
    and holds the leases and the namespace files. `table` names the nft tables: `<table>` for the pods'
    rules and `<table>-services` for the services'. `run_dir` is shared by all clusters of the host.

    `node_ip` is the node's InternalIP where that isn't the gateway, `node_ip6` likewise. The fields that end in 6 are
    set when pods have IPv6 addresses too. `uplink` is the link by which other nodes are reached, if any, and `overlay` how
    their pods are: "direct" by routes, "vxlan" with the network identifier `vni`, or "" not at all; beside the
    cluster's pods, what comes that way from networks of `reachable_from` gets to this node's pods too.
    `node_port_addresses` are the addresses and networks at which the node's ports are served, the node's own and
    loopback if there is none; `load_balancer_cidr` is what load balancers get their addresses from (of both
    families: with a comma), `dns_ip` where the cluster's name service is reached (likewise).

    Where the node `has_plugins` that make pods' networks, pods may have any address, and come by any link but the one
    that leads `outside`. `shows_namespaces` says that others than this agent are to find the files of pods' namespaces.
    """

    cluster: str
    node: str
    bridge: str
    pod_cidr: str
    cluster_pod_cidr: str
    service_cidr: str
    state_dir: Path
    table: str
    mtu: int = 1500
    run_dir: Path = Path("/run/sampan")
    node_ip: str = ""
    node_ip6: str = ""
    pod_cidr6: str = ""
    cluster_pod_cidr6: str = ""
    service_cidr6: str = ""
    uplink: str = ""
    overlay: str = ""
    node_port_addresses: tuple[str, ...] = ()
    load_balancer_cidr: str = ""
    vni: int = 0
    reachable_from: tuple[str, ...] = ()
    dns_ip: str = ""
    has_plugins: bool = False
    outside: str = ""
    shows_namespaces: bool = False

    def __post_init__(self) -> None:
        longest = f"{self.cable_prefix}{self.network.num_addresses - 2}"
        if len(longest) > _LONGEST_LINK_NAME:
            raise ValueError(
                f"bridge name {self.bridge!r} is too long: {longest} has over {_LONGEST_LINK_NAME} characters"
            )

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.pod_cidr)

    @property
    def gateway(self) -> str:
        """The bridge's own address: the node's InternalIP, and every pod's default gateway."""
        return str(self.network[1])

    @property
    def address(self) -> str:
        """The node's InternalIP."""
        return self.node_ip or self.gateway

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The node's InternalIPs and its gateways."""
        known = (self.address, self.gateway, self.node_ip6, self.gateway6)
        return tuple(dict.fromkeys(address for address in known if address))

    @property
    def network6(self) -> ipaddress.IPv6Network | None:
        """The pods' IPv6 network; none where they have IPv4 only."""
        return ipaddress.IPv6Network(self.pod_cidr6) if self.pod_cidr6 else None

    @property
    def gateway6(self) -> str:
        """The bridge's own IPv6 address, every pod's other default gateway; "" where pods have IPv4 only."""
        return str(self.network6[1]) if self.network6 else ""

    @property
    def family(self) -> str:
        """What all bridges of this cluster on this host begin with."""
        return self.bridge.rstrip("0123456789")

    @property
    def service_cidrs(self) -> list[str]:
        """Where services and load balancers have their addresses."""
        return [c for c in (self.service_cidr, self.service_cidr6, *self.load_balancer_cidr.split(",")) if c]

    @property
    def overlay_link(self) -> str:
        """The link through which pods of other machines are reached, where that is a tunnel."""
        return f"{self.family.removesuffix('n')}vx"

    @property
    def services_table(self) -> str:
        return f"{self.table}-services"

    @property
    def policies_table(self) -> str:
        return f"{self.table}-policies"

    @property
    def policies_mark(self) -> Path:
        """Where it is noted that there is a table for policies."""
        return self.state_dir / "policies"

    @property
    def are_namespaces_shown(self) -> bool:
        """Whether the files of pods' namespaces are where everybody finds them."""
        return self.shows_namespaces or self.has_plugins

    @property
    def namespaces_dir(self) -> Path:
        """Where paths of pods' namespaces are."""
        return self.shown_dir if self.are_namespaces_shown else self.hidden_dir

    @property
    def shown_dir(self) -> Path:
        return self.state_dir / "netns"

    @property
    def hidden_dir(self) -> Path:
        """A link into the mount namespace that has them."""
        return self.state_dir / "pods"

    @property
    def keeper(self) -> Path:
        """The file that this mount namespace is bound to."""
        return self.state_dir / "keeper" / "mounts"

    @property
    def owner(self) -> str:
        """How this node signs what it shares with others on the host."""
        return f"{self.cluster}/{self.node}"

    def namespace_path(self, pod_uid: str) -> Path:
        """The file a pod's network namespace is bound to."""
        return self.namespaces_dir / pod_uid

    @property
    def cable_prefix(self) -> str:
        """What the host's ends of the pods' cables begin with; a number follows."""
        return f"{self.bridge}p"

    def link_name(self, address: str) -> str:
        """The host's end of the cable of the pod with this address; the same after a restart."""
        return f"{self.cable_prefix}{self._number(address)}"

    @property
    def shaper_prefix(self) -> str:
        """What the links begin with through which pods send at a limited rate."""
        return f"{self.bridge}i"

    def shaper_name(self, address: str) -> str:
        """The link through which the pod with this address sends, if its rate is limited."""
        return f"{self.shaper_prefix}{self._number(address)}"

    def address6(self, address: str) -> str:
        """The IPv6 address of the pod with this IPv4 address: both have the same number; "" where there are none."""
        return str(self.network6[self._number(address)]) if self.network6 else ""

    def _number(self, address: str) -> int:
        return int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
