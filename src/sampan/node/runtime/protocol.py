"""What the agent asks of a container runtime: one protocol, implemented by `oci.py`, `cri/` and `simulated.py`.

Everything is about single containers; a pod is a network namespace, a cgroup and a set of containers, and
putting those together is the agent's work. Times are unix seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from sampan.node.images.model import Image

State = Literal["created", "running", "exited"]
Stream = Literal["stdout", "stderr"]

CREATED: Final = "created"
RUNNING: Final = "running"
EXITED: Final = "exited"

APPARMOR_DEFAULT: Final = "runtime/default"
"""The AppArmor profile that a runtime has for containers that name none."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path (or, with kind `tmpfs`, a fresh file system) that appears at `target` in the container."""

    source: str
    target: str
    read_only: bool = False
    recursive: bool = False
    """Read-only, and so is all that is mounted below it."""
    kind: Literal["bind", "tmpfs"] = "bind"
    propagation: Literal["private", "rslave", "rshared"] = "private"
    size_bytes: int = 0
    """Of a tmpfs; 0 leaves the kernel's default."""
    options: tuple[str, ...] = ()
    """Further ones, such as `nosuid`."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device node of the host (or a directory of such) that the container gets at `target`."""

    source: str
    target: str
    access: str = "rwm"
    """What the device cgroup lets it do: r read, w write, m make the node."""


@dataclass(frozen=True, slots=True)
class Resources:
    """cgroup limits of one container; 0 means no limit (for `cpu_shares` the kernel's default)."""

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory_limit: int = 0
    pids_limit: int = 0
    huge_pages: tuple[tuple[str, int], ...] = ()
    """Bytes by the pages' size, as `2MB`; a size that is not named has none."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a runtime can do on this machine, and not on every one."""

    recursive_read_only: bool = True
    apparmor: bool = True
    user_namespaces: bool = False
    """Whether pods can have users of their own."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a pod is to have around its containers, where that is more than a network and a cgroup."""

    pod_uid: str
    handler: str = ""
    """Which runtime its RuntimeClass names; empty for the usual one."""
    own_users: bool = False
    """A user namespace (hostUsers: false)."""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything that decides what a container is. Defaults are those of a container that asks for nothing."""

    pod_uid: str
    pod_namespace: str
    pod_name: str
    name: str
    image: Image
    attempt: int = 0
    command: tuple[str, ...] | None = None
    """Replaces the image's entrypoint (and, as in Kubernetes, drops the image's cmd)."""
    args: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    """Names of devices, `vendor.com/class=name`, that the Container Device Interface's files describe."""
    annotations: tuple[tuple[str, str], ...] = ()
    """For the runtime and its hooks."""
    netns: str | None = None
    """Path of the network namespace; None shares the host's."""
    hostname: str = ""
    cgroup_parent: str = ""
    """Relative to the cgroup mount, as `sampan-default/burstable/pod<uid>`."""
    resources: Resources = field(default_factory=Resources)
    pod_resources: Resources = field(default_factory=Resources)
    """Of `cgroup_parent`: what all containers of the pod have together."""
    user: int | None = None
    """runAsUser; None takes the image's user."""
    group: int | None = None
    supplementary_groups: tuple[int, ...] = ()
    run_as_non_root: bool = False
    read_only_root: bool = False
    privileged: bool = False
    pod_privileged: bool = False
    """Whether any container of its pod is."""
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    """True when allowPrivilegeEscalation is false."""
    seccomp: Literal["Unconfined", "RuntimeDefault", "Localhost"] = "Unconfined"
    seccomp_profile: str = ""
    """Path of the profile (JSON) of type Localhost."""
    apparmor: str = ""
    """Name of a profile that the kernel has loaded, or APPARMOR_DEFAULT; empty for the runtime's own if it has one."""
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    log_path: str = ""
    """File in the CRI log format; its directory must exist. Empty: nothing is kept."""
    stop_signal: str = ""
    """As `SIGTERM`; empty takes the image's, else SIGTERM."""
    oom_score_adj: int = 0
    sysctls: tuple[tuple[str, str], ...] = ()
    host_pid: bool = False
    host_ipc: bool = False
    pid_of: str = ""
    """Container id whose process namespace is joined (of an ephemeral container's target); empty: its own."""
    shares_processes: bool = False
    """One process namespace with its pod's other containers (shareProcessNamespace)."""
    shares_ipc: bool = False
    """One IPC namespace, and one /dev/shm, with its pod's other containers."""
    own_users: bool = False
    """In its pod's user namespace (hostUsers: false)."""
    handler: str = ""
    """Which runtime runs it, as its RuntimeClass says; empty for the usual one."""
    unmasked_proc: bool = False
    """Nothing of /proc is hidden or read-only (procMount: Unmasked)."""
    only_named_groups: bool = False
    """Without the groups that the image's own files give the user (supplementalGroupsPolicy: Strict)."""
    labels: tuple[tuple[str, str], ...] = ()
    """Kept with the container and given back in its state; the simulated runtime reads its orders here."""
    pod_labels: tuple[tuple[str, str], ...] = ()
    """Its pod's labels."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container as observed. `exit_code`, `finished_at`, `reason` and `message` count once it is exited."""

    id: str
    pod_uid: str
    pod_namespace: str
    pod_name: str
    name: str
    attempt: int
    image_ref: str
    image_id: str
    state: State
    pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    reason: str = ""
    """Of an exited container: Completed, Error, OOMKilled, StartError or ContainerStatusUnknown."""
    message: str = ""
    log_path: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class RuntimeFailure(Exception):
    """A container could not be made to do as asked; worded as a pod's status shows it.

    Reasons: FailedCreatePodSandBox, CreateContainerConfigError, CreateContainerError, RunContainerError, ExecFailed, NotFound,
    NotRunning, Unsupported. `state` is the exited container of a failed start (reason StartError, exit code
    128), where there is one: it is kept and listed until it is removed, as any exited container.
    """

    def __init__(self, reason: str, message: str, state: ContainerState | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.state = state


class RuntimeUnusable(Exception):
    """The runtime can't be used at all: what, why, and the mend, in one line."""


class RuntimeGone(RuntimeUnusable):
    """Nobody is there to be asked: there is no socket, or nobody listens at it."""


def not_found(container_id: str) -> RuntimeFailure:
    """There is no such container, as containerd words it."""
    text = f'an error occurred when try to find container "{container_id}": not found'
    return RuntimeFailure("NotFound", text)


def not_running(state: ContainerState) -> RuntimeFailure:
    """The container is there, but not running."""
    return RuntimeFailure("NotRunning", f"container is in CONTAINER_{state.state.upper()} state")


def below_usage(limit: int, usage: int) -> RuntimeFailure:
    """A memory limit that would kill the container at once."""
    text = f"attempting to set pod memory limit ({limit}) below current usage ({usage})"
    return RuntimeFailure("ResizeError", text)


class ExecSession(Protocol):
    """A process in a container, or the container's own (attach), with its streams."""

    def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Chunks as they come, until both streams ended. To be iterated once; back-pressure is kept."""

    async def write(self, data: bytes) -> None:
        """Write to stdin; data for a process that has closed it is dropped."""

    async def close_stdin(self) -> None:
        """End of input. Idempotent; on a terminal it sends the end-of-file character."""

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; nothing happens without a terminal."""

    async def wait(self) -> int:
        """Wait for the end and return the exit code (137 for SIGKILL, and so on; 0 for a detached attach)."""

    async def close(self) -> None:
        """Let go: an exec's process is killed if it still runs, an attached container is left alone. Idempotent."""


AttachSession = ExecSession


class Runtime(Protocol):
    """A container runtime of one node. All methods may be called concurrently."""

    @property
    def version(self) -> str:
        """As a node's `containerRuntimeVersion`: `runc://1.1.5`, `simulated://0.1.0`."""

    @property
    def features(self) -> Features:
        """What it can do here, once opened."""

    @property
    def handlers(self) -> Mapping[str, Features]:
        """The same for each runtime that a RuntimeClass may name, as far as known; "" is the usual one."""

    async def open(self) -> None:
        """Start watching; take over the containers that an earlier agent left. Before anything else."""

    def attend(self, tell: Callable[[str], None]) -> None:
        """Have it told why the node can't be used, and nothing once it can again. Before `open`."""

    async def prepare(self, sandbox: Sandbox) -> str:
        """Get ready for a pod's containers, before its network: the path of the network namespace that it must have.

        Empty: any. Idempotent. RuntimeFailure (FailedCreatePodSandBox) if the pod can't be here.
        """

    async def release(self, pod_uid: str) -> None:
        """Let go of all that the pod's containers had in common, once they have ended. Idempotent."""

    def pods(self) -> set[str]:
        """The pods that something is kept of for `release`."""

    async def start(self, config: ContainerConfig) -> ContainerState:
        """Create and start a container; RuntimeFailure if it cannot be."""

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal (`SIGTERM`) to the container's first process; nothing if it has ended."""

    async def stop(self, container_id: str, signal: str, grace_seconds: float) -> None:
        """Send the signal (empty: the container's own), wait for at most the grace, then SIGKILL; returns when ended."""

    async def update(self, container_id: str, resources: Resources, pod: Resources) -> None:
        """Give a running container, and its pod, other limits; RuntimeFailure if it can't have them."""

    async def remove(self, container_id: str) -> None:
        """Forget a container: kill it if it runs, unmount, delete its files (not its log). Idempotent."""

    async def containers(self) -> list[ContainerState]:
        """Every container there is, also those that an earlier agent started, sorted by id."""

    def exits(self) -> AsyncIterator[ContainerState]:
        """Each container that ends, once, from `open` on. For one consumer."""

    async def exec(
        self, container_id: str, command: tuple[str, ...], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession:
        """Start a process in a running container; RuntimeFailure worded as containerd does if it cannot be."""

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes]:
        """Exit code and output (stdout and stderr together, at most 16 MiB). TimeoutError, with the process killed."""

    async def attach(self, container_id: str) -> AttachSession:
        """The streams of the container's own process from now on."""

    async def reopen_log(self, container_id: str) -> None:
        """Make the container write to a fresh file at its log path (after the old one was renamed)."""

    async def rotate_logs(self) -> None:
        """Rotate every container's log that has grown over 10 MiB, keeping five files."""

    async def close(self) -> None:
        """Stop watching; containers go on running."""

    async def cleanup_all(self) -> None:
        """Remove every container and all that belongs to them: processes, mounts, cgroups, directories."""
