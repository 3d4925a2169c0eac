"""The runtime behind a CRI socket (containerd): pods' sandboxes and containers made by its calls.

It keeps everything itself; what only this node knows travels with the containers as an annotation, so an agent that
comes back finds all it needs there. Images that were loaded into the node's own store are handed over when first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.kit.turns import Turns
from sampan.node.images import rooted
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import container as containers
from sampan.node.runtime import host, logs, pod_limits, spec
from sampan.node.runtime.cri import cni, health, requests, sessions
from sampan.node.runtime.cri.cgroup_roots import CgroupRoots
from sampan.node.runtime.cri.handover import Handover
from sampan.node.runtime.cri.images import CriImages
from sampan.node.runtime.cri.link import CALL_SECONDS, Facts, Link
from sampan.node.runtime.cri.sandboxes import Sandboxes
from sampan.node.runtime.cri.watch import Watched, Watcher
from sampan.node.runtime.protocol import (
    CREATED,
    RUNNING,
    AttachSession,
    ContainerConfig,
    ContainerState,
    ExecSession,
    Features,
    Resources,
    RuntimeFailure,
    RuntimeUnusable,
    Sandbox,
    below_usage,
    not_found,
    not_running,
)

log = logging.getLogger(__name__)

CONCURRENT_STARTS = 8
LONG_START_SECONDS = 10.0
GIVE_UP_SECONDS = 10.0
LOG_CHECK_SECONDS = 2.0
CONFIG_SECONDS = 10.0
CHANGING_LOOKS, CHANGING_SECONDS = 100, 0.1
MAX_OUTPUT_BYTES = 16 << 20
RESERVED = re.compile(r'is reserved for "([0-9a-f]+)"')
"""What containerd says to a name that it is just making something of, or has made."""
_KEPT = logs.Kept()
_BROKEN_OFF = ("context canceled", "signal: killed")
"""What containerd says of a start whose caller went away: its own, or its runtime program's, end."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Which runtime, and what of it is this node's."""

    socket: str
    root: str
    """A directory of the node's own; it tells this node's containers from others' of the same runtime."""
    images: str
    """Where the node's own image store is."""
    run_dir: Path = Path("/run/sampan")
    kept_logs: logs.Kept = _KEPT

    @property
    def owner(self) -> str:
        """What this node's containers are labelled with."""
        return os.path.realpath(self.root)

    @property
    def mark(self) -> str:
        """The same in a few letters."""
        return hashlib.sha256(self.owner.encode()).hexdigest()[:12]


class CriRuntime:
    """The node's containers. `open` first; then as `protocol.Runtime` says."""

    def __init__(
        self, settings: Settings, link: Link, clock: Clock, tasks: Tasks, images: CriImages | None = None
    ) -> None:
        self._images = images
        self._settings, self._link, self._clock, self._tasks = settings, link, clock, tasks
        self._sandboxes = Sandboxes(link, settings.owner, clock)
        self._watcher = Watcher(link, settings.owner, clock)
        self._handover = Handover(link, settings, clock)
        self._health = health.Health(link, clock)
        self._slots = Turns(CONCURRENT_STARTS, LONG_START_SECONDS)
        self._cgroups = CgroupRoots(os.path.join(settings.root, "cgroups"))
        self._version = "containerd://unknown"
        self._handlers: dict[str, Features] = {"": Features(False, False)}
        self._host: spec.Host | None = None
        self._facts: Facts | None = None
        self.plugin: cni.Plugin | None = None
        self._tell: Callable[[str], None] = _overlook

    @property
    def version(self) -> str:
        """As `containerd://1.6.20`, once opened."""
        return self._version

    @property
    def features(self) -> Features:
        """As the runtime says, once opened."""
        return self._handlers[""]

    @property
    def handlers(self) -> Mapping[str, Features]:
        """Those that its configuration names, once opened."""
        return self._handlers

    async def prepare(self, sandbox: Sandbox) -> str:
        """Refuses what the runtime can't do; the rest is done when the first container starts."""
        if sandbox.handler not in self._handlers:
            text = f'no runtime for "{sandbox.handler}" is configured'
            raise RuntimeFailure("FailedCreatePodSandBox", f"failed to get sandbox runtime: {text}")
        if sandbox.own_users:
            text = f'RuntimeClass handler "{sandbox.handler}" does not support user namespaces'
            raise RuntimeFailure("FailedCreatePodSandBox", text)
        return ""

    def pods(self) -> set[str]:
        """Those that have a sandbox."""
        return self._sandboxes.pods()

    def attend(self, tell: Callable[[str], None]) -> None:
        """Has it told when the runtime does not answer or is not ready, and when all is well again (nothing)."""
        self._tell = tell

    async def open(self) -> None:
        """Puts the network plugin in place and takes over what is there. Raises RuntimeUnusable."""
        facts = self._facts = await self._link.facts()
        self._version = f"{facts.name}://{facts.version}"
        self._handlers = dict(facts.handlers)
        self._host = host.inspect()
        self.plugin = cni.Plugin(facts, self._settings.run_dir, self._settings.mark)
        if not cni.comes_first(facts) and await self._sandboxes.strangers():
            raise RuntimeUnusable(
                f"the runtime at unix://{self._link.path} already runs pods of another cluster: "
                "give sampan a containerd of its own, with --runtime unix:///SOCKET"
            )
        await asyncio.to_thread(self.plugin.install)
        await self._sandboxes.load()
        await self._adopt()
        await self._network_ready()
        await self._handover.ensure_sandbox_image(facts.sandbox_image)
        if self._images is not None:
            self._images.kept.add(facts.sandbox_image)
            await self._images.refresh()
            self._tasks.spawn(self._images.follow(), "images")
        self._tasks.spawn(self._watcher.run(), "containers")
        self._tasks.spawn(self._health.watch(self._tell), "health of the runtime")
        self._tasks.spawn(self._look_after_logs(), "container logs")

    def cgroups(self) -> dict[str, str]:
        """The cgroups (relative paths) of the containers that run, by their ids."""
        found = self._watcher.found.items()
        return {name: watched.cgroup for name, watched in found if watched.state.state == RUNNING}

    def layer(self, container_id: str) -> str:
        """The folder of what a container wrote into its own file system, while it runs; the kernel knows it."""
        watched = self._watcher.found.get(container_id)
        return _upper(watched.state.pid) if watched is not None and watched.pidfd >= 0 else ""

    async def start(self, config: ContainerConfig) -> ContainerState:
        """Makes and starts a container, in its pod's sandbox. A failed start leaves an exited container.

        Nothing is begun while the runtime is down.
        """
        await self._health.wait_up()
        async with self._slots.one():
            assert self._host is not None, "the runtime is not open"
            assert self._facts is not None, "the runtime is not open"
            _refuse_unknown(config, self._facts)
            wanted = requests.container(config, self._settings.owner, self._host)
            if config.pod_uid not in self._sandboxes.pods():
                await self._have_sandbox_image(self._facts.sandbox_image)
            await self._handover.ensure(config.image)
            try:
                pod_limits.apply(config.cgroup_parent, config.pod_resources)
                os.makedirs(os.path.dirname(config.log_path), exist_ok=True)
            except OSError as error:
                raise RuntimeFailure("CreateContainerError", f"failed to create container: {error}") from error
            return await self._made(config, wanted)

    async def kill(self, container_id: str, signal: str) -> None:
        """Signals the first process."""
        self._get(container_id).signal(containers.signal_number(signal))

    async def stop(self, container_id: str, signal: str, grace_seconds: float) -> None:
        """Asks, waits, kills. Another signal than the image's is sent from here: the interface has no word for it."""
        watched = self._watcher.found.get(container_id)
        if watched is None or watched.ended.is_set():
            return
        signal = signal or watched.stop_signal
        if signal and grace_seconds > 0 and watched.pidfd >= 0:
            watched.signal(containers.signal_number(signal))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await watched.ended.wait()
                    return
            grace_seconds = 0
        seconds = max(0, math.ceil(grace_seconds))
        try:
            await self._link.call("StopContainer", {"container_id": container_id, "timeout": seconds}, seconds + 120.0)
            await self._watcher.look()
        except RpcError as error:
            if error.code != "NotFound":
                raise RuntimeFailure("KillContainerError", str(error)) from error
            await self._look()

    async def update(self, container_id: str, resources: Resources, pod: Resources) -> None:
        """Changes the limits of both cgroups; a memory limit below what is used now is refused."""
        watched = self._running(container_id)
        parent = os.path.dirname(watched.cgroup)
        for cgroup, limit in ((watched.cgroup, resources.memory_limit), (parent, pod.memory_limit)):
            used = host.memory_used(cgroup)
            if limit and used > limit:
                raise below_usage(limit, used)
        request = {"container_id": container_id, "linux": requests.changed_resources(resources)}
        try:
            pod_limits.widen(parent, pod)
            await self._link.call("UpdateContainerResources", request)
            pod_limits.apply(parent, pod)
        except (OSError, RpcError) as error:
            raise RuntimeFailure("ResizeError", f"failed to resize the pod: {error}") from error

    async def remove(self, container_id: str) -> None:
        """Ends it if need be and deletes all but its log; the last one of an ended pod takes its sandbox along."""
        watched = self._watcher.found.get(container_id)
        if watched is None:
            return
        await self.stop(container_id, "", 0)
        await self._discard(container_id)
        self._watcher.forget(container_id)
        if not self._of(watched.state.pod_uid):
            await self._quietly(self._sandboxes.remove_stopped(watched.state.pod_uid))

    async def release(self, pod_uid: str) -> None:
        """The pod is over: its sandbox ends, and goes once there are no containers of it. Raises RuntimeFailure."""
        try:
            await self._sandboxes.stop(pod_uid)
            await self._watcher.look()
            if not self._of(pod_uid):
                await self._sandboxes.remove_stopped(pod_uid)
        except RpcError as error:
            raise RuntimeFailure("KillPodSandboxError", f"failed to stop the pod's sandbox: {error}") from error

    async def containers(self) -> list[ContainerState]:
        """All, sorted by id."""
        return [watched.state for _, watched in sorted(self._watcher.found.items())]

    async def exits(self) -> AsyncIterator[ContainerState]:
        """Each end, once."""
        while True:
            yield await self._watcher.ends.get()

    async def exec(
        self, container_id: str, command: tuple[str, ...], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession:
        """Starts a process in the container, over the runtime's streaming server."""
        self._running(container_id)
        request = {"container_id": container_id, "cmd": list(command), "tty": tty, "stdin": stdin}
        request |= {"stdout": True, "stderr": not tty}
        return await sessions.opened(await self._url("Exec", request), self._tasks, tty=tty, stdin=stdin)

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes]:
        """Runs a process in the container to its end. The runtime ends one over its time: a broken-off call would leave it."""
        self._running(container_id)
        request = {"container_id": container_id, "cmd": list(command), "timeout": math.ceil(timeout_seconds)}
        try:
            limit = timeout_seconds + CALL_SECONDS if timeout_seconds else 1e6  # by then it is known who is silent
            answer = await self._health.unless_down(self._link.call("ExecSync", request, limit))
        except RpcError as error:
            if error.code == "DeadlineExceeded":
                raise TimeoutError from error
            raise RuntimeFailure("ExecFailed", error.message) from error
        return answer["exit_code"], (answer["stdout"] + answer["stderr"])[:MAX_OUTPUT_BYTES]

    async def attach(self, container_id: str) -> AttachSession:
        """The streams of the container's own process."""
        watched = self._running(container_id)
        request = {"container_id": container_id, "stdin": watched.stdin, "tty": watched.tty}
        request |= {"stdout": True, "stderr": not watched.tty}
        url = await self._url("Attach", request)
        return await sessions.opened(url, self._tasks, tty=watched.tty, stdin=watched.stdin)

    async def reopen_log(self, container_id: str) -> None:
        """Tells the runtime to open the log file anew."""
        self._running(container_id)
        await self._quietly(self._link.call("ReopenContainerLog", {"container_id": container_id}))

    async def rotate_logs(self) -> None:
        """Rotates what has grown too large."""
        now, kept = self._clock.now(), self._settings.kept_logs
        for watched in list(self._watcher.found.values()):
            path = watched.state.log_path
            if watched.state.state == RUNNING and logs.is_too_large(path, kept):
                try:
                    logs.rotate(path, now, kept)
                    await self._quietly(self._link.call("ReopenContainerLog", {"container_id": watched.state.id}))
                except (
                    OSError,
                    RuntimeFailure,
                ) as error:  # it has just ended, or the disk is full: the others' are looked at
                    log.warning("rotating the log of %s: %s", watched.state.id, error)

    async def close(self) -> None:
        """Stops watching; containers go on."""
        self._watcher.close()
        self._link.close()

    async def cleanup_all(self) -> None:
        """Removes all containers and sandboxes of this node, the network plugin, and the images that it handed over."""
        await self._sandboxes.remove_all()
        self._watcher.close()
        self._watcher.found.clear()
        self._cgroups.remove()
        await self._handover.take_back()
        if self.plugin is not None:
            self.plugin.uninstall()
        self.forget_pods()
        await asyncio.to_thread(rooted.remove_tree, self._settings.root)

    def forget_pods(self) -> None:
        """What the network plugin was told of them."""
        cni.forget_all(self._settings.run_dir, self._settings.mark)

    async def _adopt(self) -> None:
        """What was left half made is removed: an earlier agent was killed while it made it."""
        for each in await self._watcher.list():
            if requests.state(each).state == CREATED:
                await self._discard(each["id"])
            elif _is_half_made((await self._watcher.add(each["id"], each["pod_sandbox_id"])).state):
                await self._discard(each["id"])
                self._watcher.forget(each["id"])
        inhabited = {watched.state.pod_uid for watched in self._watcher.found.values()}
        for uid in self._sandboxes.pods() - inhabited:
            await self._sandboxes.stop(uid)
            await self._sandboxes.remove_stopped(uid)

    async def _network_ready(self) -> None:
        """Waits until the runtime has read the plugin's configuration. RuntimeUnusable when it takes another one."""
        deadline = self._clock.monotonic() + CONFIG_SECONDS
        while not cni.comes_first(await self._link.facts()):
            if self._clock.monotonic() > deadline:
                raise RuntimeUnusable(
                    f"the runtime at unix://{self._link.path} does not take up {self.plugin}: is there another "
                    "configuration that comes first?"
                )
            await self._clock.sleep(0.05)

    async def _have_sandbox_image(self, name: str) -> None:
        try:
            await self._handover.ensure_sandbox_image(name)
        except RuntimeFailure as failure:
            raise RuntimeFailure("FailedCreatePodSandBox", failure.message) from failure

    async def _made(self, config: ContainerConfig, wanted: requests.Tree) -> ContainerState:
        """Runs it, made anew once if what it needs has died. Raises RuntimeFailure."""
        for is_last in (False, True):
            creating = asyncio.ensure_future(self._created(config, wanted))
            try:
                made = await asyncio.shield(creating)
            except RpcError as error:
                if is_last or not await self._is_mended(config, error.message):
                    raise RuntimeFailure("CreateContainerError", error.message) from error
            except asyncio.CancelledError:
                await asyncio.shield(self._give_up(creating))
                raise
            else:
                return await self._begun(made, creating)
        raise AssertionError("the last try returns or raises")

    async def _begun(self, made: tuple[str, str], creating: asyncio.Future[tuple[str, str]]) -> ContainerState:
        """Starts it. A cancelled caller has it all the same, if it comes soon: its process may run, and is to end well."""
        starting = asyncio.ensure_future(self._started(*made))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            state = await asyncio.shield(self._late(starting, creating))
            if state is None:
                raise
            return state

    async def _late(
        self, starting: asyncio.Future[ContainerState], creating: asyncio.Future[tuple[str, str]]
    ) -> ContainerState | None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                return await starting
        except TimeoutError:
            await self._give_up(creating)
            return None

    async def _created(self, config: ContainerConfig, wanted: requests.Tree) -> tuple[str, str]:
        """The container's id and its sandbox's. Raises RpcError, and RuntimeFailure for the sandbox."""
        self._cgroups.remember(config.cgroup_parent)
        sandbox_id = await self._sandboxes.get(config)
        place = {**requests.sandbox(config, self._settings.owner, 0), "hostname": config.hostname}
        request = {"pod_sandbox_id": sandbox_id, "config": wanted, "sandbox_config": place}
        return (await self._link.call("CreateContainer", request))["container_id"], sandbox_id

    async def _is_mended(self, config: ContainerConfig, why: str) -> bool:
        """Whether another try may do better: sandbox dead, image removed, or a dead agent's call that came late."""
        if late := RESERVED.search(why):
            await self._discard(late[1])
            return True
        if "not found" not in why and "not running" not in why:
            return False
        if "sandbox" in why:
            self._sandboxes.lost(config.pod_uid)
            return True
        self._handover.forget(config.image.id)
        await self._handover.ensure(config.image)
        return "image" in why

    async def _started(self, container_id: str, sandbox_id: str) -> ContainerState:
        failure = ""
        try:
            await self._link.call("StartContainer", {"container_id": container_id})
        except RpcError as error:
            failure = error.message
        try:
            watched = await self._watcher.add(container_id, sandbox_id)
        except RpcError as error:
            raise RuntimeFailure("RunContainerError", failure or str(error)) from error
        if failure:
            raise RuntimeFailure("RunContainerError", failure, watched.state)
        if watched.ended.is_set():
            self._watcher.ends.put_nowait(watched.state)
        return watched.state

    async def _give_up(self, creating: asyncio.Future[tuple[str, str]]) -> None:
        """Lets it come about first: broken off, the runtime would clear up at a time that nobody is told.

        What hangs is broken off all the same: it goes with its pod's sandbox.
        """
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                container_id, _ = await creating
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._discard(container_id)
        except (RuntimeFailure, RpcError):
            pass  # it was not made, or is removed with its pod
        except Exception as error:  # noqa: BLE001 (whoever gave it up goes on with that)
            log.warning("a start was given up, and what it had made may be left: %r", error)

    async def _discard(self, container_id: str) -> None:
        """Removes it, whatever its state; waits for one that an earlier agent was just starting or removing."""
        for _ in range(CHANGING_LOOKS):
            try:
                await self._link.call("RemoveContainer", {"container_id": container_id})
            except RpcError as error:
                if error.code == "NotFound":
                    return
                if "ing state" not in error.message:
                    raise RuntimeFailure("RuntimeError", str(error)) from error
                await self._clock.sleep(CHANGING_SECONDS)
            else:
                return
        raise RuntimeFailure("RuntimeError", f"container {container_id} can't be removed")

    async def _url(self, method: str, request: requests.Tree) -> str:
        try:
            return str((await self._health.unless_down(self._link.call(method, request)))["url"])
        except RpcError as error:
            raise RuntimeFailure("ExecFailed", error.message) from error

    async def _look_after_logs(self) -> None:
        while True:
            await self._clock.sleep(LOG_CHECK_SECONDS)
            await self.rotate_logs()

    async def _look(self) -> None:
        await self._quietly(self._watcher.look())

    async def _quietly(self, call: object) -> None:
        """What is not there any more need not be asked for; what fails otherwise raises RuntimeFailure."""
        try:
            await call  # type: ignore[misc]
        except RpcError as error:
            if error.code != "NotFound":
                raise RuntimeFailure("RuntimeError", str(error)) from error

    def _of(self, pod_uid: str) -> list[Watched]:
        return [each for each in self._watcher.found.values() if each.state.pod_uid == pod_uid]

    def _get(self, container_id: str) -> Watched:
        watched = self._watcher.found.get(container_id)
        if watched is None:
            raise not_found(container_id)
        return watched

    def _running(self, container_id: str) -> Watched:
        watched = self._get(container_id)
        if watched.state.state != RUNNING:
            raise not_running(watched.state)
        return watched


def _overlook(why: str) -> None:
    """Nobody wants to know."""


def _refuse_unknown(config: ContainerConfig, facts: Facts) -> None:
    """What an older runtime would silently leave out."""
    if config.only_named_groups and not facts.strict_groups:
        text = "SupplementalGroupsPolicy=Strict is not supported in this node"
    elif config.cdi_devices and not facts.cdi:
        text = f"{facts.name} {facts.version} gives containers no CDI devices: it needs 1.7, and enable_cdi = true"
    else:
        return
    raise RuntimeFailure("CreateContainerConfigError", text)


def _is_half_made(state: ContainerState) -> bool:
    """Its start was broken off with the agent that had asked for it: nothing has run."""
    return state.reason == "StartError" and any(words in state.message for words in _BROKEN_OFF)


def _upper(pid: int) -> str:
    """Where an overlay at the root of a process's file system keeps what is written."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split()[4] == "/" and rest.startswith("overlay "):
                options = rest.split()[2].split(",")
                return next((text.removeprefix("upperdir=") for text in options if text.startswith("upperdir=")), "")
    return ""
