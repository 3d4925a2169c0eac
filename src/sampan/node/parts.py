"""What a node agent is made of: its settings, and the parts that it is handed."""

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sampan.client.api import Client
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.node.facts import Facts
from sampan.node.handlers import Target
from sampan.node.images.model import Image
from sampan.node.kubelet_config import DEFAULTS, KubeletConfig
from sampan.node.logs import Options
from sampan.node.machine import Machine
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
    """One node of one cluster. `root` is the node's own directory; `pod_cidr` is its part of the pods' network."""

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


class Network(Protocol):
    """The pods' network of this node."""

    async def setup(self) -> None: ...
    async def add(self, pod_uid: str, namespace: str = "") -> Any: ...
    async def remove(self, pod_uid: str) -> None: ...
    async def connect(self, pod_uid: str, port: int) -> socket.socket: ...
    async def attachments(self) -> dict[str, Any]: ...


class Proxy(Protocol):
    """Who makes services reachable."""

    async def apply(self, services: Iterable[Object], slices: Iterable[Object]) -> bool: ...


class Dns(Protocol):
    """Who answers for services' names."""

    def update(self, services: Iterable[Object], slices: Iterable[Object], pods: Iterable[Object]) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


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
    name, is on the node.
    """

    client: Client
    runtime: Runtime
    images: Images
    network: Network
    proxy: Proxy
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
