"""What is observed about one pod on its node, and the commands that follow: the words between rule and agent.

`Observed` is a snapshot that the agent takes; `lifecycle.advance` answers with commands; the agent carries
them out, and what came of them is in the next snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from sampan.node.runtime.protocol import ContainerState

NETWORK = "(network)"
VOLUMES = "(volumes)"
"""Keys of `failures` that are no container's name."""


def volume_key(name: str) -> str:
    """Key of `failures` for the image of a volume."""
    return f"(volume {name})"


def resize_key(name: str) -> str:
    """Key of `failures` for the resize of a container."""
    return f"(resize {name})"


NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Backoff:
    """A container's or image's back-off: how long to wait, as decided at `updated_at`."""

    seconds: float
    updated_at: float


CONFIG_ERROR = "CreateContainerConfigError"
"""The reason of what can't be made from what there is: a value or a path of it is missing, or not allowed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a container could not be started: what its waiting state says, until `retry_at`."""

    reason: str
    message: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class Probes:
    """The verdicts on one container; None while there is none yet."""

    startup: bool | None = None
    liveness: bool | None = None
    readiness: bool | None = None


@dataclass(frozen=True, slots=True)
class Termination:
    """Why the node itself ends a pod for good; its status says so once the last container has ended.

    `disruption` is the message of the condition DisruptionTarget that comes with it; None for no such condition.
    """

    reason: str
    message: str
    grace_seconds: float
    disruption: str | None = None


class Observed(NamedTuple):
    """One pod as the node sees it now.

    `containers` are all attempts that the runtime still has. `starting` names containers whose start is
    under way, `hooking` those whose postStart hook runs, `stopping` ids that are being stopped. `failures`
    and `backoffs` are by container name, `probes` by container id. `resizing` names containers that are being
    given other resources, `resized` has what was given, by id; `unfit` is why a resize has to wait.
    `last_ips` are the addresses that the pod has, or had; `other_host_ips` those of the node beside `host_ip`.
    `devices` is how those of each container are, by its name. `recursive_read_only`: whether mounts can be read-only with all that is below them. `longest_backoff`: how many
    seconds a container waits at most for its restart.
    """

    containers: tuple[ContainerState, ...] = ()
    runtime: str = "runc"
    host_ip: str = ""
    pod_ip: str = ""
    last_ips: tuple[str, ...] = ()
    other_host_ips: tuple[str, ...] = ()
    network_pending: bool = False
    volumes_ready: bool = False
    volumes_pending: bool = False
    starting: frozenset[str] = frozenset()
    hooking: frozenset[str] = frozenset()
    stopping: frozenset[str] = frozenset()
    failures: Mapping[str, Failure] = NOTHING
    backoffs: Mapping[str, Backoff] = NOTHING
    probes: Mapping[str, Probes] = NOTHING
    rejected: tuple[str, str] | None = None
    terminated: Termination | None = None
    torn_down: bool = False
    teardown_pending: bool = False
    resizing: frozenset[str] = frozenset()
    resized: Mapping[str, Any] = NOTHING
    unfit: tuple[str, str] | None = None
    recursive_read_only: bool = True
    devices: Mapping[str, Any] = NOTHING
    longest_backoff: float = 300.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Break off what is being done to begin the pod."""


@dataclass(frozen=True, slots=True)
class SetupNetwork:
    """Give the pod its network namespace and address."""


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    """Fetch what the pod's volumes need and write them."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start this attempt; `backoff` is to be remembered for the next one."""

    name: str
    attempt: int
    backoff: Backoff | None = None


@dataclass(frozen=True, slots=True)
class KillContainer:
    """preStop hook, then the stop signal, then SIGKILL, all within the grace; `message` is the event's.

    The signal waits for the end of the containers (ids) that it `waits_for`.
    """

    id: str
    name: str
    grace_seconds: float
    message: str
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Give a running container these resources (as in a spec)."""

    id: str
    name: str
    resources: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Forget an ended attempt."""

    id: str


@dataclass(frozen=True, slots=True)
class Teardown:
    """Remove the network and the volumes and, when the pod is to be gone, its ended containers and logs."""

    containers: bool


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete the API object, with grace 0 and this uid."""

    uid: str


@dataclass(frozen=True, slots=True)
class Emit:
    """An event about the pod, or about the container at `field_path`."""

    type: str
    reason: str
    message: str
    field_path: str = ""
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again at this time, even if nothing is observed until then."""

    at: float


Command = (
    SetupNetwork
    | PrepareVolumes
    | StartContainer
    | KillContainer
    | RemoveContainer
    | ResizeContainer
    | GiveUp
    | Teardown
    | DeletePod
    | Emit
    | Again
)
