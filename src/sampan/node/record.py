"""What the agent remembers of one pod: the object, what it holds on the node, what is under way."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sampan.meta import objects, timestamps
from sampan.node import backoff
from sampan.node.beginnings import Beginnings
from sampan.node.observed import Backoff, Failure, Observed, Probes, Termination
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState

PULL_SETTLES_SECONDS = 1.0
"""How long ErrImagePull is shown before it becomes ImagePullBackOff."""


@dataclass(frozen=True, slots=True)
class PullError:
    """An image that could not be had, and when that was found.

    `is_remote`: it was asked for elsewhere, so only asking again tells whether it can be had now.
    """

    image: str
    message: str
    at: float
    retry_at: float = 0.0
    is_remote: bool = False

    def failure(self, now: float) -> Failure:
        """As the waiting state says it."""
        if now - self.at < PULL_SETTLES_SECONDS:
            return Failure("ErrImagePull", self.message, self.retry_at)
        text = f'Back-off pulling image "{self.image}": ErrImagePull: {self.message}'
        return Failure("ImagePullBackOff", text, self.retry_at)


class Here(NamedTuple):
    """The node as its pods see it, now."""

    runtime: str
    host_ips: tuple[str, ...]
    now: float
    recursive_read_only: bool = True
    longest_backoff: float = 300.0


@dataclass(eq=False)
class PodRecord:
    """One pod on this node. Mutable; belongs to the agent's loop."""

    pod: dict[str, Any]
    is_gone: bool = False
    is_static: bool = False
    """From a file of the node; the API has only a mirror of it."""
    pod_ip: str = ""
    last_ips: tuple[str, ...] = ()
    """The addresses it had last, also once they are given back: a pod that ended at once shows them all the same."""
    netns: str | None = None
    volumes: dict[str, str] | None = None
    states: dict[str, ContainerState] = field(default_factory=dict)
    starting: set[str] = field(default_factory=set)
    hooking: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    """Containers, by name, that the node has ended and not yet made anew."""
    kills: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """The ends that are under way, by the containers' ids."""
    next_end: asyncio.Event | None = None
    """Set at the next end of a container, where somebody waits for it."""
    failures: dict[str, Failure] = field(default_factory=dict)
    pull_errors: dict[str, PullError] = field(default_factory=dict)
    backoffs: dict[str, Backoff] = field(default_factory=dict)
    pull_backoffs: dict[str, Backoff] = field(default_factory=dict)
    pulls_begun: dict[str, int] = field(default_factory=dict)
    pulling: dict[str, asyncio.Task[str]] = field(default_factory=dict)
    beginnings: Beginnings = field(default_factory=Beginnings)
    network_pending: bool = False
    volumes_pending: bool = False
    teardown_pending: bool = False
    torn_down: bool = False
    told: dict[str, Any] | None = None
    """The status as it was written last."""
    held: asyncio.TimerHandle | None = None
    held_since: float = 0.0
    held_until: float = 0.0
    resizing: set[str] = field(default_factory=set)
    resized: dict[str, Any] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None
    terminated: Termination | None = None
    """Why the node itself ends the pod."""
    devices: dict[str, Any] = field(default_factory=dict)
    """How the devices of its containers are, by the containers' names."""
    needs: dict[str, int] = field(default_factory=dict)
    is_doubtful: bool = False
    """What was written last may be stored or not."""

    @property
    def uid(self) -> str:
        return objects.uid(self.pod)

    @property
    def is_ending(self) -> bool:
        """Whether the pod is to end: deleted, or by its node."""
        return self.is_gone or self.terminated is not None or objects.is_deleting(self.pod)

    def take(self, pod: dict[str, Any]) -> bool:
        """Takes over a newer version of the object; whether it was newer."""
        if version(pod) <= version(self.pod):
            return False
        self.pod = pod
        return True

    def take_state(self, state: ContainerState) -> None:
        """Takes over a container's state; one that has ended stays so."""
        known = self.states.get(state.id)
        if known is None or known.state != EXITED:
            self.states[state.id] = state
        if state.state == RUNNING and state.id not in self.stopping:
            self.replaced.discard(state.name)
        if state.state == EXITED:
            self.stopping.discard(state.id)
            self.kills.pop(state.id, None)
            if self.next_end is not None:
                self.next_end.set()
                self.next_end = None

    async def wait_ended(self, container_ids: Iterable[str], seconds: float) -> None:
        """Returns when all these containers have ended, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(i in self.states and self.states[i].state != EXITED for i in container_ids):
                    self.next_end = self.next_end or asyncio.Event()
                    await self.next_end.wait()

    def take_place(self, netns: str, ips: tuple[str, ...]) -> None:
        """Has its place in the network."""
        self.netns, self.pod_ip, self.last_ips = netns, ips[0], ips

    @property
    def pod_ips(self) -> tuple[str, ...]:
        """Its addresses, while it has them."""
        return self.last_ips if self.pod_ip else ()

    def let_out(self) -> None:
        """What was not told yet is told, or never will be."""
        if self.held is not None:
            self.held.cancel()
            self.held = None

    def pull_failed(self, name: str, error: PullError) -> None:
        """Remembers that an image is missing, with back-off."""
        waited = self.pull_backoffs[name] = backoff.after(self.pull_backoffs.get(name), error.at)
        self.pull_errors[name] = replace(error, retry_at=error.at + waited.seconds)

    def try_again(self, reason: str) -> None:
        """What failed for this reason need not wait any longer."""
        for name, failure in self.failures.items():
            if failure.reason == reason:
                self.failures[name] = replace(failure, retry_at=0.0)

    def observe(self, here: Here, probes: dict[str, Probes], unfit: tuple[str, str] | None) -> Observed:
        """A snapshot for the rule; `unfit` is why its resize has to wait."""
        runtime, now = here.runtime, here.now
        failures = {**self.failures, **{name: e.failure(now) for name, e in self.pull_errors.items()}}
        return Observed(
            containers=tuple(self.states.values()),
            runtime=runtime,
            host_ip=here.host_ips[0],
            other_host_ips=here.host_ips[1:],
            pod_ip=self.pod_ip,
            last_ips=self.last_ips,
            network_pending=self.network_pending,
            volumes_ready=self.volumes is not None,
            volumes_pending=self.volumes_pending,
            starting=frozenset(self.starting),
            hooking=frozenset(self.hooking),
            stopping=frozenset(self.stopping),
            failures=failures,
            backoffs=dict(self.backoffs),
            probes=probes,
            rejected=self.rejected,
            terminated=self.terminated,
            torn_down=self.torn_down,
            teardown_pending=self.teardown_pending,
            resizing=frozenset(self.resizing),
            resized=dict(self.resized),
            unfit=unfit,
            devices=self.devices,
            recursive_read_only=here.recursive_read_only,
            longest_backoff=here.longest_backoff,
        )

    def as_deleted(self, now: float) -> dict[str, Any]:
        """The object; one that the API no longer has, as if its deletion had been asked for."""
        if not self.is_gone:
            return self.pod
        metadata = {"deletionTimestamp": timestamps.format(now), **self.pod["metadata"]}
        if self.is_static:
            return {**self.pod, "metadata": metadata}
        return {**self.pod, "metadata": {**metadata, "deletionGracePeriodSeconds": 1}}


def version(obj: dict[str, Any]) -> int:
    """The resourceVersion as a number, to tell newer from older."""
    text = objects.resource_version(obj)
    return int(text) if text.isdigit() else 0
