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
    def family(self) -> str:
        """What all bridges of this cluster on this host begin with."""
        return self.bridge.rstrip("0123456789")

    @property
    def services_table(self) -> str:
        return f"{self.table}-services"

    @property
    def namespaces_dir(self) -> Path:
        return self.state_dir / "netns"

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
        index = int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
        return f"{self.cable_prefix}{index}"
