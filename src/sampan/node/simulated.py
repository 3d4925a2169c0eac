"""A node that touches nothing of the host: addresses that lead nowhere, volumes that are only named.

For `--runtime simulated`, tests and simulation. It says so in the node's containerRuntimeVersion.
"""

import errno
import hashlib
import ipaddress
import math
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import timestamps
from sampan.node import podspec
from sampan.node.agent import Agent
from sampan.node.env import ConfigError
from sampan.node.exposition import Exposition
from sampan.node.facts import Facts
from sampan.node.handlers import Target
from sampan.node.images import reference
from sampan.node.images.model import Image, ImageError
from sampan.node.logs import Options
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.outcome import Outcome
from sampan.node.parts import Parts
from sampan.node.podfiles import PodFiles
from sampan.node.runtime import orders, stages
from sampan.node.runtime.behaviour import BehaviourError
from sampan.node.runtime.orders import Rules
from sampan.node.runtime.protocol import ContainerState, RuntimeFailure
from sampan.node.runtime.simulated import SimulatedRuntime
from sampan.node.runtime.stages import Moment
from sampan.node.usage import WINDOW_SECONDS, Figures

FACTS = Facts(
    cpus=32,
    memory_bytes=256 << 30,
    disk_bytes=1 << 40,
    architecture="amd64",
    operating_system="linux",
    os_image="Simulated",
    kernel="simulated",
    machine_id="",
    boot_id="",
    hostname="simulated",
)
"""The same on every machine, so that nothing about the host shows."""

Object = dict[str, Any]
FOLLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """What a simulated node shares with the others: time, ids, an owner for its tasks, rules of behaviour."""

    clock: Clock
    ids: Ids
    tasks: Tasks
    rules: Rules = field(default_factory=Rules)


def parts(client: Client, pod_cidr: str, world: World, left: Parts | None = None) -> Parts:
    """All of a simulated node. What runs there, its addresses and its images are those that another agent `left`."""
    made = SimulatedRuntime(world.clock, world.tasks, world.ids, world.rules)
    runtime = made if left is None else _runtime(left)
    return Parts(
        client=client,
        runtime=runtime,
        images=SimulatedImages(),
        network=SimulatedNetwork(pod_cidr) if left is None else left.network,
        dns=SimulatedDns(),
        volumes=SimulatedVolumes(),
        clock=world.clock,
        ids=world.ids,
        facts=FACTS,
        files=SimulatedFiles(Path("/simulated")),
        handlers=SimulatedHandlers(world.clock, runtime),
        puller=SimulatedPuller(world.clock, world.rules) if left is None else left.puller,
        logs=SimulatedLogs(world.clock, runtime),
        meter=SimulatedMeter(world.clock, runtime),
        has_driver=lambda name: True,
    )


def continue_from(mine: Parts, before: Parts) -> None:
    """What runs on a node, its addresses and its images are as another's are."""
    for here, there in zip(_moving(mine), _moving(before), strict=True):
        here.continue_from(there)


def reconsider(parts: Parts) -> None:
    """Has what runs on the node do as the rules now say."""
    _runtime(parts).reconsider()


@dataclass(frozen=True, slots=True)
class Seen:
    """A simulated container from outside: its state, what it uses (None unless it runs), what it logged.

    `lines` have their times (unix seconds); None where its behaviour says nothing of logs.
    """

    state: ContainerState
    moment: Moment | None
    lines: list[tuple[float, str]] | None


def containers(agent: Agent, namespace: str, pod: str) -> dict[str, Seen]:
    """The newest attempt of each container of a pod, by name; none if the pod is not on this node."""
    runtime, record = _runtime(agent.parts), agent.running(namespace, pod)
    states = sorted(record.states.values(), key=lambda state: state.attempt) if record is not None else []
    return {state.name: Seen(state, runtime.moment(state.id), runtime.lines(state.id)) for state in states}


def states(parts: Parts) -> list[ContainerState]:
    """All containers of a node, those that ended and are kept too."""
    return _runtime(parts).states()


def _runtime(parts: Parts) -> SimulatedRuntime:
    assert isinstance(parts.runtime, SimulatedRuntime)
    return parts.runtime


def _moving(parts: Parts) -> tuple[Any, ...]:
    return parts.runtime, parts.network, parts.puller


@dataclass(frozen=True, slots=True)
class SimulatedAttachment:
    """An address without a network."""

    netns_path: str
    ip: str

    @property
    def ips(self) -> tuple[str, ...]:
        """All its addresses."""
        return (self.ip,)


class SimulatedImages:
    """Every image is there, under its own name: nothing of it is ever run."""

    def resolve(self, ref: str) -> Image | None:
        """An image without content. Raises ImageError for what is no name."""
        try:
            name = str(reference.parse(ref))
        except ValueError as error:
            raise ImageError(str(error)) from error
        return Image("sha256:" + hashlib.sha256(name.encode()).hexdigest(), (name,))

    def list(self) -> tuple[Image, ...]:
        """None takes space."""
        return ()


class SimulatedPuller:
    """Behaves as if images came from somewhere: the first time on this node, or always, as the pull policy has it."""

    def __init__(self, clock: Clock, rules: Rules) -> None:
        self._clock, self._rules = clock, rules
        self._here: set[str] = set()

    def continue_from(self, other: "SimulatedPuller") -> None:
        """The same images are here."""
        self._here = set(other._here)

    def is_needed(self, pod: Object, container: Object, attempt: int) -> bool:
        """Whether the container's behaviour says something of pulls, and the image is not here."""
        is_here = podspec.image(container) in self._here and container.get("imagePullPolicy") != "Always"
        return not is_here and self._behaviour(pod, container, attempt) is not None

    async def pull(self, pod: Object, container: Object, number: tuple[int, int], secrets: Sequence[Object]) -> str:
        """Takes its time, and then fails or not; pull secrets make no difference."""
        attempt, count = number
        wanted = self._behaviour(pod, container, attempt) or stages.Pull()
        share = orders.subject(pod, container).draw(f"pull {count}")("takes")
        await self._clock.sleep(wanted.takes.at(share))
        if count <= wanted.fails and wanted.error:
            return wanted.error
        self._here.add(podspec.image(container))
        return ""

    def _behaviour(self, pod: Object, container: Object, attempt: int) -> stages.Pull | None:
        subject = orders.subject(pod, container)
        try:
            behaviour = self._rules.behaviour(subject)
        except BehaviourError as error:
            raise ConfigError(str(error)) from error
        return stages.case_of(behaviour, attempt, subject.draw(attempt)).pull


class SimulatedLogs:
    """What containers' behaviours write, for whoever asks as for any log."""

    def __init__(self, clock: Clock, runtime: SimulatedRuntime) -> None:
        self._clock, self._runtime = clock, runtime

    def read(self, state: ContainerState, options: Options, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Raises RuntimeFailure for a container that is said nothing of logs."""
        if self._runtime.lines(state.id) is None:
            text = f'container "{state.name}" is simulated, and its behaviour says nothing of a log'
            raise RuntimeFailure("Unsupported", text)
        return self._read(state.id, options, is_over)

    def tail(self, state: ContainerState, options: Options) -> bytes:
        """As of now."""
        return _text(_newest(self._runtime.lines(state.id) or [], options.tail_lines), options)

    async def _read(self, container_id: str, options: Options, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        left = math.inf if options.limit_bytes is None else options.limit_bytes
        tail, last = options.tail_lines, -math.inf
        while True:
            is_last = is_over() or not options.follow
            lines = [each for each in self._runtime.lines(container_id) or () if each[0] > last]
            text = _text(_newest(lines, tail), options)
            piece = text if left == math.inf else text[: int(left)]
            left -= len(piece)
            if piece:
                yield piece
            if is_last or left <= 0:
                return
            tail, last = None, max((at for at, _ in lines), default=last)
            await self._clock.sleep(FOLLOW_SECONDS)


class SimulatedMeter:
    """What containers' behaviours use; a node uses what its containers do."""

    def __init__(self, clock: Clock, runtime: SimulatedRuntime) -> None:
        self._clock, self._runtime = clock, runtime
        self._booted = clock.now()

    def container(self, state: ContainerState) -> Figures | None:
        """As of now."""
        used = self._runtime.spent(state.id, WINDOW_SECONDS)
        moment = self._runtime.moment(state.id)
        if used is None or moment is None:
            return None
        memory = round(moment.memory)
        return Figures(self._clock.now(), state.started_at, used[1], used[0], memory, memory)

    def node(self) -> Figures | None:
        """The sum of those of its containers that run."""
        found = [figures for state in self._runtime.states() if (figures := self.container(state)) is not None]
        memory = sum(figures.memory for figures in found)
        cores, spent = sum(f.cores for f in found), sum(f.cpu_seconds for f in found)
        return Figures(self._clock.now(), self._booted, cores, spent, memory, memory)


def _newest(lines: list[tuple[float, str]], count: int | None) -> list[tuple[float, str]]:
    return lines if count is None else lines[max(len(lines) - count, 0) :]


def _text(lines: Iterable[tuple[float, str]], options: Options) -> bytes:
    """The wanted ones of some lines; all of them are written to stdout."""
    if options.stream == "Stderr":
        return b""
    wanted = [each for each in lines if options.since is None or each[0] >= options.since]
    shown = (f"{timestamps.format_micro(at)} {line}" if options.timestamps else line for at, line in wanted)
    return "".join(line + "\n" for line in shown).encode()


FIRST_ADDRESS = 2
"""Of a pod CIDR, counted from its network's address: the one before is the node's own."""


class SimulatedNetwork:
    """Hands out the addresses of a pod CIDR, in order; a freed one comes again last."""

    def __init__(self, pod_cidr: str) -> None:
        self._all = ipaddress.IPv4Network(pod_cidr)
        self._next = FIRST_ADDRESS
        self._freed: deque[str] = deque()
        self._given: dict[str, SimulatedAttachment] = {}

    def continue_from(self, other: "SimulatedNetwork") -> None:
        """The same addresses are given."""
        self._next, self._freed, self._given = other._next, other._freed.copy(), dict(other._given)

    async def setup(self) -> None:
        """Nothing to set up."""

    async def add(self, pod_uid: str, request: PodRequest = NOTHING) -> SimulatedAttachment:
        """An address for the pod; the same one again if it has one."""
        if pod_uid not in self._given:
            self._given[pod_uid] = SimulatedAttachment("", self._address())
        return self._given[pod_uid]

    async def remove(self, pod_uid: str) -> None:
        """Takes the address back."""
        if attachment := self._given.pop(pod_uid, None):
            self._freed.append(attachment.ip)

    async def connect(self, pod_uid: str, port: int) -> socket.socket:
        """Nobody listens: nothing really runs."""
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    async def attachments(self) -> dict[str, SimulatedAttachment]:
        """What is given, by pod uid."""
        return dict(self._given)

    async def teardown(self) -> None:
        """Forgets all."""
        self._given.clear()

    def _address(self) -> str:
        if self._next < self._all.num_addresses - 1:
            self._next += 1
            return str(self._all[self._next - 1])
        if not self._freed:
            raise OSError("no address is left in the node's pod CIDR")
        return self._freed.popleft()


class SimulatedDns:
    """Names are not served on a simulated node."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def tell(self, found: Exposition) -> None:
        """Nothing to tell."""


class SimulatedVolumes:
    """Volumes by name only; what they refer to is still fetched, so that what is missing shows."""

    async def prepare(self, pod: Object, given: Any) -> dict[str, str]:
        """A path for each volume, at which there is nothing."""
        return {volume["name"]: f"/simulated/{volume['name']}" for volume in pod["spec"].get("volumes") or ()}

    async def mount_subpath(self, pod_uid: str, volume_path: str, inner: str, *, slot: str) -> str:
        """A path at which there is nothing."""
        return f"{volume_path}/{inner}"

    async def discard(self, name: str) -> None:
        """Nothing to delete."""

    def pods(self) -> set[str]:
        """Nothing is kept."""
        return set()

    async def teardown(self, pod_uid: str) -> None:
        """Nothing to take away."""


class SimulatedFiles(PodFiles):
    """Names of files of which none is there."""

    def prepare(self, pod: Object, hosts: str, resolv: str, hostname: str) -> None:
        """Writes nothing."""

    def prepare_container(self, pod: Object, name: str, attempt: int) -> None:
        """Makes nothing."""

    def remove(self, pod: Object) -> None:
        """Nothing to delete."""

    def remove_by_uid(self, uid: str) -> None:
        """Nothing to delete."""

    def last_words(self, uid: str, name: str, attempt: int) -> str:
        """None: a simulated container writes nothing."""
        return ""


class SimulatedHandlers:
    """Probes say what the container's behaviour says; hooks succeed at once; a sleep takes its time."""

    def __init__(self, clock: Clock, runtime: SimulatedRuntime) -> None:
        self._clock, self._runtime = clock, runtime

    async def run(self, handler: Object, target: Target, timeout_seconds: float) -> Outcome:
        """A success, unless the container's stage has its probe fail."""
        if "sleep" in handler:
            await self._clock.sleep(min(float(handler["sleep"]["seconds"]), timeout_seconds))
        moment = self._runtime.moment(target.container_id)
        output = getattr(moment, target.purpose, "") if moment is not None else ""
        return Outcome(not output, output)

    async def close(self) -> None:
        """Nothing is open."""
