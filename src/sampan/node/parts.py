"""What a node agent is made of: its settings, and the parts that it is handed."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sampan.client.api import Client
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.node.exposition import Exposition
from sampan.node.facts import Facts
from sampan.node.handlers import Target
from sampan.node.images.model import Image
from sampan.node.kubelet_config import DEFAULTS, KubeletConfig
from sampan.node.logs import Options
from sampan.node.machine import Machine
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.outcome import Outcome
from sampan.node.podfiles import PodFiles
from sampan.node.runtime.protocol import ContainerState, Runtime
from sampan.node.usage import Meter

if TYPE_CHECKING:
    from sampan.node.csi.volumes import CsiVolumes
    from sampan.node.plugins.plugins import Plugins
    from sampan.node.pull_credentials import PullCredentials

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One node of one cluster. `root` is the node's own directory; `pod_cidr` is its part of the pods' network.

    `internal_ip6` and `pod_cidr6` are the same in IPv6, where pods have such addresses too.
    """

    cluster: str
    node: str
    root: Path
    internal_ip: str
    pod_cidr: str = ""
    port: int = 10250
    dns_ip: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    labels: dict[str, str] = field(default_factory=dict)
    kubelet: KubeletConfig = DEFAULTS
    is_simulated: bool = False
    internal_ip6: str = ""
    pod_cidr6: str = ""
    cgroup: str = "sampan"
    """What the pods' cgroups are below."""

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The node's own addresses."""
        return (self.internal_ip, self.internal_ip6) if self.internal_ip6 else (self.internal_ip,)

    @property
    def local_volumes(self) -> Path:
        """Where the folders are that persistent volumes are made of."""
        return self.root / "local-volumes"


class Attachment(Protocol):
    """A pod's place in the network."""

    @property
    def netns_path(self) -> str: ...
    @property
    def ip(self) -> str: ...
    @property
    def ips(self) -> tuple[str, ...]: ...


class Network(Protocol):
    """The pods' network of this node."""

    async def setup(self) -> None: ...
    async def add(self, pod_uid: str, request: PodRequest = NOTHING) -> Any: ...
    async def remove(self, pod_uid: str) -> None: ...
    async def connect(self, pod_uid: str, port: int) -> socket.socket: ...
    async def attachments(self) -> dict[str, Any]: ...


class Follower(Protocol):
    """Who keeps a part of the node's network as the API says; networking.py says what more it may have."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it wants to know."""
        ...

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Makes it so. `objects` are those of each kind, by its plural. Raises what it is to be asked again for."""
        ...


class Guard(Protocol):
    """Who sees to it that nothing runs in a pod before the network policies for it are in force."""

    async def cover(self, pod: Object, addresses: Sequence[str]) -> None:
        """Returns when they are. Raises why they can't be."""
        ...


class Dns(Protocol):
    """Who answers for services' names, which it hears of as a follower."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def tell(self, found: Exposition) -> None:
        """Adds its figures."""
        ...


class PodVolumes(Protocol):
    """Who writes a pod's volumes: name to host path."""

    async def prepare(self, pod: Object, given: Any) -> dict[str, str]: ...
    async def mount_subpath(self, pod_uid: str, volume_path: str, inner: str, *, slot: str) -> str: ...
    async def discard(self, name: str) -> None: ...
    def pods(self) -> set[str]: ...
    async def teardown(self, pod_uid: str) -> None: ...


class Images(Protocol):
    """The node's images."""

    def resolve(self, ref: str) -> Image | None: ...
    def list(self) -> Sequence[Image]: ...


class Puller(Protocol):
    """Who gets images from elsewhere. `attempt` is the container's that is to be started, from 0."""

    def is_needed(self, pod: Object, container: Object, attempt: int) -> bool:
        """Whether the image must be got first, though one of its name is there. Raises ConfigError."""
        ...

    async def pull(self, pod: Object, container: Object, number: tuple[int, int], secrets: Sequence[Object]) -> str:
        """Why it failed, or nothing. `number`: the container's attempt, and the how many-th pull for it."""
        ...


class Logs(Protocol):
    """Who keeps containers' logs where there are no files."""

    def read(self, state: ContainerState, options: Options, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """As `logs.read`. Raises RuntimeFailure when there are none."""
        ...

    def tail(self, state: ContainerState, options: Options) -> bytes:
        """As `logs.tail`."""
        ...


class Handlers(Protocol):
    """Who carries out probes and hooks."""

    async def run(self, handler: Object, target: Target, timeout_seconds: float) -> Outcome: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that touches the world. Facts, files and handlers are this machine's where none are given.

    Without a puller, only images that are there already can be run. `has_driver`: whether a driver of devices, by its
    name, is on the node. `contact` returns when the API server answers, where it may still be starting.
    """

    client: Client
    runtime: Runtime
    images: Images
    network: Network
    dns: Dns
    volumes: PodVolumes
    clock: Clock
    ids: Ids
    facts: Facts | None = None
    files: PodFiles | None = None
    handlers: Handlers | None = None
    puller: Puller | None = None
    logs: Logs | None = None
    meter: Meter | None = None
    csi: "CsiVolumes | None" = None
    machine: Machine | None = None
    plugins: "Plugins | None" = None
    credentials: "PullCredentials | None" = None
    has_driver: Callable[[str], bool] = lambda name: False
    followers: tuple[Follower, ...] = ()
    guard: Guard | None = None
    contact: Callable[[], Awaitable[None]] | None = None
