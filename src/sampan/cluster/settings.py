"""A cluster's settings: what `sampan up` was asked for, and what it decided, kept in DIR/cluster.json.

Addresses follow from the cluster's index on this host: cluster 0 has services in 10.96.0.0/16 and
pods in 10.244.0.0/16, cluster 1 has 10.97.0.0/16 and 10.243.0.0/16, and so on. Several nodes on this
host have a network between them, 10.160.0.0/24 in cluster 0. In IPv6, if it is wanted, those are fd00:10:96::/112 and
fd00:10:244::/56.
"""

import contextlib
import dataclasses
import fcntl
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sampan.kinds import feature_gates
from sampan.kinds.feature_gates import Gates
from sampan.kit import files

DEFAULT_NAME = "sampan"
DEFAULT_PORT = 6443
MAX_CLUSTERS = 64
IPV4, BOTH_FAMILIES = "IPv4", "IPv4,IPv6"
YEAR_SECONDS = 365 * 24 * 3600
CLUSTER_FILE = "cluster.json"
NAME = re.compile("[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
"""What a cluster can be called."""


class SettingsError(Exception):
    """A cluster's file can't be read: which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`nodes` counts agents on this host; `runtime` is oci, simulated or unix:///SOCKET; `store` sqlite, memory or etcd://HOST:PORT,...;
    `log_format` text or json. `feature_gates` are those that were asked to be open, or not to be. The last three are
    the terms on which control planes that share a store elect their leader.
    """

    name: str
    directory: Path
    index: int = 0
    api_port: int = DEFAULT_PORT
    listen: str = "127.0.0.1"
    nodes: int = 1
    runtime: str = "oci"
    store: str = "sqlite"
    kubeconfig: str = ""
    previous_context: str = ""
    log_format: str = "text"
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    lease_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0
    node_grace_seconds: float = 50.0
    """How long a node may be silent before it is given up."""
    vulnerable_runtime: bool = False
    """Whether a runtime with known escapes will do."""
    rootless: bool = False
    """Whether all of it lives in a user namespace of the invoking user."""
    load_balancer: str = "pool"
    """Where Services of type LoadBalancer get addresses: from the cluster's pool, a CIDR, the "node"s, or "none"."""
    ip_families: str = IPV4
    """Of pods' and Services' addresses."""

    node_ip: str = ""
    """The InternalIP of this host's one node, by which other machines reach it; "" where none do."""
    overlay: str = ""
    """How pods of other machines are reached: vxlan, direct, or "" where there are no other machines."""
    signing_seconds: int = YEAR_SECONDS
    """How long certificates hold that the cluster signs."""
    joined_to: str = ""
    """The API of another machine's cluster, where this is only a node of that."""
    joined_as: str = ""
    """That node's name, and the number of its network of pods."""
    joined_number: int = 0

    api_at: str = ""
    """Where nodes and pods of this host find the API of a further control plane, which has no nodes itself."""
    nodes_at: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The nodes of the first control plane's machine, and their addresses, for a further one."""

    @property
    def context(self) -> str:
        return context_name(self.name)

    @property
    def gates(self) -> Gates:
        """The feature gates that are open."""
        return feature_gates.opened(self.feature_gates)

    @property
    def server_url(self) -> str:
        if self.joined_to:
            return self.joined_to
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)
        return f"https://[{host}]:{self.api_port}" if ":" in host else f"https://{host}:{self.api_port}"

    @property
    def service_cidr(self) -> str:
        return f"10.{96 + self.index}.0.0/16"

    @property
    def pod_cidr(self) -> str:
        return f"10.{244 - self.index}.0.0/16"

    @property
    def is_dual_stack(self) -> bool:
        """Whether pods have IPv6 addresses too, and services can."""
        return self.ip_families == BOTH_FAMILIES

    @property
    def service_cidrs(self) -> tuple[str, ...]:
        """Services' ranges, one of each family."""
        return (self.service_cidr, f"fd00:10:{96 + self.index}::/112") if self.is_dual_stack else (self.service_cidr,)

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Pods' ranges, one of each family."""
        return (self.pod_cidr, f"fd00:10:{244 - self.index}::/56") if self.is_dual_stack else (self.pod_cidr,)

    @property
    def load_balancer_cidr(self) -> str:
        """The pool of load balancers' addresses, "" where there is none."""
        if self.load_balancer == "pool":
            return f"10.{32 + self.index}.0.0/24" + (f",fd00:10:{32 + self.index}::/112" if self.is_dual_stack else "")
        return "" if self.load_balancer in ("node", "none") else self.load_balancer

    @property
    def api_service_ip(self) -> str:
        return f"10.{96 + self.index}.0.1"

    @property
    def dns_service_ip(self) -> str:
        return f"10.{96 + self.index}.0.10"

    @property
    def has_lan(self) -> bool:
        """Whether each node is in a network namespace of its own, as several on one host are."""
        return self.nodes > 1 and self.runtime != "simulated"

    @property
    def lan_link(self) -> str:
        """The bridge by which such nodes reach each other, and this host."""
        return f"sampan{self.index}lan"

    @property
    def lan_cidr(self) -> str:
        return f"10.160.{self.index}.0/24"

    @property
    def lan_cidr6(self) -> str:
        """The same in IPv6; "" where pods have none."""
        return f"fd00:10:160:{self.index:x}::/64" if self.has_lan and self.is_dual_stack else ""

    @property
    def api_address(self) -> str:
        """Where nodes and pods of this host find the API."""
        if self.has_lan:
            return f"10.160.{self.index}.1"
        return self.node_ip or (self.listen if self._is_alone else self.api_at or self.gateway(0))

    @property
    def _is_alone(self) -> bool:
        """Whether there is no node here, so that only the address that was asked for leads here, if one was."""
        return not self.nodes and self.listen not in ("127.0.0.1", "::1", "0.0.0.0", "::")

    def internal_ip(self, node: int) -> str:
        """The InternalIP of the node with this number (from 0)."""
        if self.has_lan:
            return f"10.160.{self.index}.{node + 2}"
        return self.node_ip if self.node_ip and node == 0 else self.gateway(node)

    def internal_ip6(self, node: int) -> str:
        """The same in IPv6; "" where pods have none."""
        return f"fd00:10:160:{self.index:x}::{node + 2:x}" if self.lan_cidr6 else self.gateway6(node)

    def node_addresses(self) -> dict[str, tuple[str, ...]]:
        """The addresses of the nodes on the machine of the (first) control plane."""
        own = {
            name: (self.internal_ip(node), *filter(None, (self.internal_ip6(node),)))
            for node, name in enumerate(self.node_names())
        }
        return {name: tuple(addresses) for name, addresses in self.nodes_at.items()} | own

    def namespace(self, node: int) -> Path:
        """The file that such a node's network namespace is bound to."""
        return self.path("run", "netns", self.node_names()[node])

    def node_names(self) -> list[str]:
        if self.joined_to:
            return [self.joined_as]
        base = self.name if self.name == DEFAULT_NAME else f"{DEFAULT_NAME}-{self.name}"
        return [base, *(f"{base}-{n}" for n in range(2, self.nodes + 1))][: self.nodes]

    def gateway(self, node: int) -> str:
        """The address of the node with this number (from 0) in its pods' network: where its name server is."""
        return f"10.{244 - self.index}.{self.joined_number + node}.1"

    def node_pod_cidr(self, node: int) -> str:
        return f"10.{244 - self.index}.{self.joined_number + node}.0/24"

    def node_pod_cidrs(self, node: int) -> tuple[str, ...]:
        """The node's part of the pods' ranges, one of each family."""
        own = self.node_pod_cidr(node)
        return (own, str(self._network6(node))) if self.is_dual_stack else (own,)

    def gateway6(self, node: int) -> str:
        """As `gateway`, in IPv6; "" where pods have none."""
        return str(self._network6(node)[1]) if self.is_dual_stack else ""

    def _network6(self, node: int) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network(f"fd00:10:{244 - self.index}:{self.joined_number + node:x}::/64")

    def path(self, *parts: str) -> Path:
        return self.directory.joinpath(*parts)

    def save(self) -> None:
        """Writes DIR/cluster.json; only its owner reads it, as etcd's password may be in it."""
        values: dict[str, Any] = {**dataclasses.asdict(self), "directory": str(self.directory)}
        files.write_whole(self.path(CLUSTER_FILE), orjson.dumps(values, option=orjson.OPT_INDENT_2))


def context_name(name: str) -> str:
    """The kubeconfig context of a cluster: sampan, or sampan-NAME."""
    return DEFAULT_NAME if name == DEFAULT_NAME else f"{DEFAULT_NAME}-{name}"


def load(directory: Path) -> Settings | None:
    """The settings of the cluster in a directory, or None when there is none. SettingsError when they are broken."""
    path = directory / CLUSTER_FILE
    try:
        values = orjson.loads(path.read_bytes())
        known = {f.name for f in dataclasses.fields(Settings)}
        return Settings(**{k: v for k, v in values.items() if k in known} | {"directory": directory})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged ({error}); mend it by hand, or delete {directory} and start anew"
        ) from error


def known_clusters() -> list[Settings]:
    """Every cluster that `known_directories` finds and whose file can be read."""
    found = []
    for directory in known_directories():
        with contextlib.suppress(SettingsError):
            cluster = load(directory)
            if cluster is not None:
                found.append(cluster)
    return found


def home(user_home: Path | None = None) -> Path:
    """Where clusters live by default: ~/.local/share/sampan, or $XDG_DATA_HOME/sampan."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else (user_home or Path.home()) / ".local" / "share") / "sampan"


def known_directories() -> list[Path]:
    """Every data directory that `sampan ls` should look at: the default ones and those noted elsewhere."""
    root = home()
    found = sorted(path.parent for path in root.glob(f"*/{CLUSTER_FILE}")) if root.exists() else []
    noted = root / "elsewhere"
    others = [Path(line) for line in noted.read_text().splitlines()] if noted.exists() else []
    return [*found, *(p for p in others if os.path.exists(p / CLUSTER_FILE) and p not in found)]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """While it is held, no other `sampan up` of this user chooses addresses and ports."""
    root = home()
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def note(directory: Path) -> None:
    """Remembers a data directory that is not under the default root. Whoever calls it is alone: see `locked`."""
    root = home()
    if directory.parent == root:
        return
    root.mkdir(parents=True, exist_ok=True)
    noted = root / "elsewhere"
    lines = noted.read_text().splitlines() if noted.exists() else []
    if str(directory) not in lines:
        files.write_whole(noted, "".join(f"{line}\n" for line in [*lines, str(directory)]).encode(), 0o644)


def forget(directory: Path) -> None:
    """The opposite of `note`; waits while an `up` chooses, for it may note one."""
    noted = home() / "elsewhere"
    if not noted.exists() or str(directory) not in noted.read_text().splitlines():
        return
    with locked():
        lines = [line for line in noted.read_text().splitlines() if line != str(directory)]
        if lines:
            files.write_whole(noted, "".join(f"{line}\n" for line in lines).encode(), 0o644)
        else:
            noted.unlink()
