"""The runtime with real containers: overlayfs below, conmon and runc above, everything known kept on disk.

conmon outlives the agent and writes each container's exit code to a file, so an agent that comes back
finds all it needs in the container's directory (`record.json`), conmon's files and runc's state. A
container whose conmon was killed cannot be waited for any more: it is killed, and reported as of unknown status.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.kit.turns import Turns
from sampan.node.images import rooted
from sampan.node.runtime import bundle, host, logs, overlay, pod_limits, programs, record, spec, variants
from sampan.node.runtime import container as containers
from sampan.node.runtime.attach import OciAttach
from sampan.node.runtime.container import Container
from sampan.node.runtime.execs import Execs
from sampan.node.runtime.id_ranges import NoRangeLeft
from sampan.node.runtime.pods import Pods
from sampan.node.runtime.program_health import ProgramHealth
from sampan.node.runtime.protocol import (
    CREATED,
    EXITED,
    RUNNING,
    AttachSession,
    ContainerConfig,
    ContainerState,
    ExecSession,
    Features,
    Resources,
    RuntimeFailure,
    Sandbox,
    below_usage,
    not_found,
    not_running,
)

log = logging.getLogger(__name__)

CONCURRENT_STARTS = 8
LONG_START_SECONDS = 10.0
CONCURRENT_RELEASES = 8
KILL_SECONDS = 30.0
DISCARD_SECONDS = 5.0
LOG_CHECK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where containers live and which programs make them."""

    root: str
    """Directory of this node's containers; only root may enter it."""
    runc: str = "runc"
    conmon: str = "conmon"
    run_root: str = "/run/sampan"
    """Parent of runc's state, which need not outlive a reboot."""
    kept_logs: logs.Kept = field(default_factory=logs.Kept)
    variants: tuple[str, ...] = ()
    """Files with further runtimes for RuntimeClasses; the first that exists counts."""

    @property
    def state_dir(self) -> str:
        """runc's state of this node."""
        return os.path.join(self.run_root, hashlib.sha256(os.path.realpath(self.root).encode()).hexdigest()[:12])


class OciRuntime:
    """The node's containers. `open` first; then as `protocol.Runtime` says."""

    def __init__(self, settings: Settings, clock: Clock, tasks: Tasks, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks = tasks
        self._ids = ids
        root = os.path.realpath(settings.root)
        self._folders = os.path.join(root, "c")
        self._exit_dir = os.path.join(root, "exits")
        usual = variants.Variant(programs.find(settings.runc))
        self._tools = variants.Tools(usual, programs.find(settings.conmon), settings.state_dir, self._exit_dir)
        self._pods = Pods(os.path.join(root, "p"), settings.state_dir + ".open", os.path.join(settings.run_root, "ids"))
        self._health = ProgramHealth((usual.path, programs.find(settings.conmon)), clock)
        self._execs = Execs(self._tools.of, tasks, ids, os.path.join(root, "execs"), self._health)
        self._containers: dict[str, Container] = {}
        self._slots = Turns(CONCURRENT_STARTS, LONG_START_SECONDS)
        self._ended: asyncio.Queue[ContainerState] = asyncio.Queue()
        self._host: spec.Host | None = None
        self._roots_file = os.path.join(root, "cgroups")
        self._cgroup_roots: set[str] = set()
        self._version = "runc://unknown"
        self._closed = False
        self._tell: Callable[[str], None] = _overlook

    @property
    def version(self) -> str:
        """As `runc://1.1.5`, once opened."""
        return self._version

    @property
    def features(self) -> Features:
        """As runc and the kernel say, once opened."""
        return self._tools.features[""]

    @property
    def handlers(self) -> Mapping[str, Features]:
        """Of each runtime that is here, as far as it has been asked."""
        return self._tools.features

    def attend(self, tell: Callable[[str], None]) -> None:
        """Has it told when runc or conmon can't be used, and when all is well again (nothing)."""
        self._tell = tell

    async def prepare(self, sandbox: Sandbox) -> str:
        """Refuses what is not here; a pod with users of its own has a network namespace that is theirs."""
        self._tools.check(sandbox)
        if not sandbox.own_users:
            return ""
        try:
            return await self._pods.users(sandbox.pod_uid)
        except (OSError, NoRangeLeft) as error:
            text = f"failed to create the pod's user namespace: {error}"
            raise RuntimeFailure("FailedCreatePodSandBox", text) from error

    async def release(self, pod_uid: str) -> None:
        """Ends what the pod's containers had in common."""
        await self._pods.release(pod_uid, self._tools.of)

    def pods(self) -> set[str]:
        """Those whose containers have something in common."""
        return self._pods.uids()

    async def open(self) -> None:
        """Makes the directories, takes over what an earlier agent left, starts looking after the logs."""
        usual = self._tools.of("")
        usual.require()
        self._tools.find(self._settings.variants)
        for path in (self._folders, self._exit_dir, os.path.join(self._settings.root, "execs")):
            os.makedirs(path, mode=0o700, exist_ok=True)
        os.makedirs(self._settings.state_dir, mode=0o700, exist_ok=True)
        self._host = host.inspect()
        code, output = await usual.run_runc("--version")
        words = [*([] if code else output.decode().split()), "", "", "unknown"]
        self._version = "runc://" + words[2].partition("+")[0]
        if code:
            self._health.doubt()
        await self._tools.ask("")
        self._cgroup_roots = _read_names(self._roots_file)
        self._execs.open()
        adopted = [await self._adopt(name) for name in sorted(os.listdir(self._folders))]
        ended = [container for container in adopted if container is not None]
        self._tasks.spawn(self._release_all(ended), "release", critical=False)
        self._tasks.spawn(self._look_after_logs(), "container logs")
        self._tasks.spawn(self._health.watch(self._tell), "health of the runtime")
        self._tasks.spawn(self._tools.ask_others(), "runtimes", critical=False)

    def cgroups(self) -> dict[str, str]:
        """The cgroups (relative paths) of the containers that run, by their ids."""
        return {name: found.cgroup for name, found in self._containers.items() if found.state.state == RUNNING}

    def layer(self, container_id: str) -> str:
        """The folder of what a container wrote into its own file system; empty for one that isn't there."""
        found = self._containers.get(container_id)
        return os.path.join(found.folder, "upper") if found is not None else ""

    async def start(self, config: ContainerConfig) -> ContainerState:
        """Makes and starts a container. A failed start leaves an exited container (in the failure's `state`).

        Nothing is begun while runc or conmon can't be used.
        """
        await self._health.wait_usable()
        async with self._slots.one():
            container_id = (self._ids.uid() + self._ids.uid()).replace("-", "")
            known = record.create(config, container_id, self._clock.now())
            if config.own_users:
                known = dataclasses.replace(known, rootfs=os.path.join(self._pods.open_folder, container_id))
            container = Container(os.path.join(self._folders, container_id), known)
            try:
                await self._prepare(container, config)
                self._containers[container_id] = container
                await self._launched(container, config)
            except RuntimeFailure as failure:
                raise await self._failed_start(container, failure) from failure
            except BaseException:
                await asyncio.shield(self._discard_in_time(container))
                raise
            return container.state

    async def kill(self, container_id: str, signal: str) -> None:
        """Signals the first process."""
        self._get(container_id).signal(containers.signal_number(signal))

    async def stop(self, container_id: str, signal: str, grace_seconds: float) -> None:
        """Asks, waits, kills."""
        container = self._containers.get(container_id)
        if container is None or container.ended.is_set():
            return
        if grace_seconds > 0:
            container.signal(containers.signal_number(signal or container.known.stop_signal))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await container.ended.wait()
        if not container.ended.is_set():
            await self._kill(container)

    async def update(self, container_id: str, resources: Resources, pod: Resources) -> None:
        """Changes the limits of both cgroups; a memory limit below what is used now is refused."""
        container = self._running(container_id)
        parent = container.known.cgroup_parent
        for cgroup, limit in ((container.cgroup, resources.memory_limit), (parent, pod.memory_limit)):
            used = host.memory_used(cgroup)
            if limit and used > limit:
                raise below_usage(limit, used)
        try:
            pod_limits.widen(parent, pod)
            await self._update(container, resources)
            pod_limits.apply(parent, pod)
        except OSError as error:
            raise RuntimeFailure("ResizeError", f"failed to resize the pod's cgroup: {error}") from error

    async def _update(self, container: Container, resources: Resources) -> None:
        path = _written(container.folder, "resources.json", spec.changed_resources(resources))
        code, output = await self._of(container).run_runc("update", "--resources", path, container.id)
        if code:
            raise RuntimeFailure("ResizeError", programs.error_text(output) or "runc update failed")

    async def remove(self, container_id: str) -> None:
        """Ends it if need be and deletes everything but its log."""
        container = self._containers.get(container_id)
        if container is None:
            return
        async with container.deleting:
            if container_id not in self._containers:
                return  # another has removed it meanwhile
            if not container.ended.is_set():
                await self._kill(container)
            await container.released.wait()
            await self._discard(container)

    async def containers(self) -> list[ContainerState]:
        """All, sorted by id, but not those that are still being made."""
        found = sorted(self._containers.items())
        return [container.state for _, container in found if container.state.state != CREATED]

    async def exits(self) -> AsyncIterator[ContainerState]:
        """Each end, once."""
        while True:
            yield await self._ended.get()

    async def exec(
        self, container_id: str, command: tuple[str, ...], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession:
        """Starts a process in the container."""
        if self._health.complaint:
            raise RuntimeFailure("ExecFailed", self._health.complaint)
        return await self._execs.start(self._running(container_id), command, tty=tty, stdin=stdin)

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, bytes]:
        """Runs a process in the container to its end. It is not the process' fault if the runtime does not answer."""
        try:
            return await self._execs.run(self._running(container_id), command, timeout_seconds)
        except TimeoutError:
            if why := await self._health.fault():
                raise RuntimeFailure("ExecFailed", why) from None
            raise

    async def attach(self, container_id: str) -> AttachSession:
        """The streams of the container's own process."""
        container = self._running(container_id)
        return await OciAttach.connect(container.folder, tty=container.known.tty)

    async def reopen_log(self, container_id: str) -> None:
        """Tells conmon to open the log file anew."""
        logs.control(self._running(container_id).folder, "2 0 0\n")

    async def rotate_logs(self) -> None:
        """Rotates what has grown too large."""
        now, kept = self._clock.now(), self._settings.kept_logs
        for container in list(self._containers.values()):
            if container.state.state == RUNNING and logs.is_too_large(container.state.log_path, kept):
                try:
                    logs.rotate(container.state.log_path, now, kept)
                    logs.control(container.folder, "2 0 0\n")
                except OSError as error:  # its conmon has just died, or the disk is full: the others' are looked at
                    log.warning("rotating the log of %s: %s", container.state.id, error)

    async def close(self) -> None:
        """Stops watching; containers go on, and who ends from now on is for the next agent to find."""
        self._closed = True
        for container in self._containers.values():
            container.unwatch()
        self._execs.close()

    async def cleanup_all(self) -> None:
        """Removes all containers and every trace of them, whatever fails at that; the first failure is raised in the end."""
        failures: list[BaseException] = []
        for steps in (map(self.remove, list(self._containers)), map(self.release, self.pods()), [self._tools.clear()]):
            failures += [found for found in await asyncio.gather(*steps, return_exceptions=True) if found is not None]
        for folder in (self._settings.root, self._pods.open_folder):
            for path in overlay.mounts_below(folder):
                overlay.unmount(path)
        for name in self._cgroup_roots:
            host.remove_cgroup(name)  # only what is empty goes, so what another node uses stays
        self._execs.close()
        await asyncio.to_thread(rooted.remove_tree, self._settings.root)
        rooted.remove_tree(self._pods.open_folder)
        for folder in (os.path.join(self._settings.run_root, "ids"), self._settings.run_root):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if failures:
            raise failures[0]

    async def _prepare(self, container: Container, config: ContainerConfig) -> None:
        """The container's directory with its record, its mounted file system and config.json."""
        assert self._host is not None, "the runtime is not open"
        self._tools.check_container(config)
        try:
            self._remember_cgroup(container.known.cgroup_parent)
            os.makedirs(container.folder, mode=0o711)
            record.save(container.folder, container.known)
            shared = await self._pods.join(config, self._of(container))
        except (OSError, ValueError) as error:
            raise RuntimeFailure("CreateContainerError", f"failed to create container: {error}") from error
        bundle.write(container, config, shared, self._host, self._processes(config.pid_of))

    async def _launched(self, container: Container, config: ContainerConfig) -> None:
        """Launches it in a task of its own; who gives up breaks it off, whatever it hangs at."""
        launch = self._tasks.spawn(self._launch(container, config), f"start {container.id[:12]}", critical=False)
        late = asyncio.get_running_loop().call_later(LONG_START_SECONDS, self._health.doubt)
        try:
            failure = await asyncio.shield(launch)
        except asyncio.CancelledError:
            launch.cancel()
            await asyncio.wait({launch})
            raise
        finally:
            late.cancel()
        if failure is not None:
            self._health.doubt()
            raise failure

    async def _launch(self, container: Container, config: ContainerConfig) -> RuntimeFailure | None:
        order = programs.Bundle(
            container.id,
            f"{config.pod_name}_{config.name}_{config.attempt}",
            container.folder,
            config.log_path,
            config.tty,
            config.stdin,
            config.stdin_once,
        )
        try:
            pid = await self._of(container).create(order)
            watching = container.watch(pid, self._conmon_ended)
            bundle.settle(container)
            if not self._tools.is_sandbox(config.handler):
                overlay.unmount(container.merged)  # it lives on in the container; each mount here slows every runc
            # Hooks, which only such devices bring, are the runtime's to run.
            await self._of(container).start(container.id, -1 if config.cdi_devices else container.init_fd)
        except RuntimeFailure as failure:
            return failure
        container.update(state=RUNNING, pid=pid, started_at=self._clock.now())
        if not watching:
            self._conmon_ended(container)
        return None

    async def _failed_start(self, container: Container, failure: RuntimeFailure) -> RuntimeFailure:
        if failure.reason != "RunContainerError":
            await self._discard_in_time(container)
            return failure
        now = self._clock.now()
        container.kill_conmon()
        container.unwatch()
        container.update(
            state=EXITED, exit_code=128, reason="StartError", message=failure.message, started_at=0.0, finished_at=now
        )
        container.ended.set()
        await self._release_if_possible(container)
        return RuntimeFailure(failure.reason, failure.message, container.state)

    def _conmon_ended(self, container: Container) -> None:
        """conmon writes the exit file before it ends. None: it was killed, and with it went our hold on the container."""
        if container.state.state == CREATED:
            asyncio.get_running_loop().call_later(0.05, self._conmon_ended_later, container)
            container.unwatch()
            return
        if container.ended.is_set() or self._closed:
            return
        self._note_end(container)
        container.unwatch()
        container.ended.set()
        self._ended.put_nowait(container.state)
        self._tasks.spawn(self._release_if_possible(container), f"release {container.id[:12]}", critical=False)

    def _conmon_ended_later(self, container: Container) -> None:
        # The container ended while `runc start` was still on its way: first it must be seen as running.
        if container.id in self._containers and not container.ended.is_set():
            self._conmon_ended(container)

    def _note_end(self, container: Container) -> None:
        path = os.path.join(self._exit_dir, container.id)
        try:
            code = int(Path(path).read_text())
            finished = os.stat(path).st_mtime
        except (OSError, ValueError):
            container.kill_all()
            container.update(
                state=EXITED,
                exit_code=137,
                reason="ContainerStatusUnknown",
                message="The container could not be located when the pod was terminated",
                finished_at=self._clock.now(),
            )
            return
        oom = code != 0 and host.is_oom_killed(container.cgroup)
        reason = "OOMKilled" if oom else "Error" if code else "Completed"
        container.update(state=EXITED, exit_code=code, reason=reason, oom_killed=oom, finished_at=finished)

    async def _release_if_possible(self, container: Container) -> None:
        """After its end: runc's state, cgroup and mount go, or else when it is removed; record and log stay until then."""
        try:
            await self._release(container)
        except (RuntimeFailure, OSError) as error:
            log.warning("what is left of container %s stays until it is removed: %s", container.id, error)

    async def _release_all(self, ended: list[Container]) -> None:
        """A few at a time, and the agent's start does not wait for it: a runtime may hang at that.

        Whatever comes of one, it can be removed, and so can the others.
        """
        slots = asyncio.Semaphore(CONCURRENT_RELEASES)

        async def release(container: Container) -> None:
            async with slots:
                try:
                    await self._release_if_possible(container)
                except Exception:
                    log.exception("releasing container %s", container.id)
                finally:
                    container.released.set()

        await asyncio.gather(*map(release, ended))

    async def _release(self, container: Container) -> None:
        try:
            if container.known.joins_processes:
                container.kill_all()
            await self._execs.end(container)
            await self._delete(container)
            bundle.unmount(container)
            container.is_clean = True
        finally:
            container.released.set()

    async def _kill(self, container: Container) -> None:
        if not container.signal(signal.SIGKILL):
            container.kill_all()
        await self._execs.end(container)
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await container.ended.wait()
        except TimeoutError:
            await self._delete(container)
            container.kill_conmon()
            async with asyncio.timeout(KILL_SECONDS):
                await container.ended.wait()

    async def _discard_in_time(self, container: Container) -> None:
        """Now, or as soon as the machine has room for the programs that this takes: nobody else knows of it."""
        try:
            async with container.deleting:
                await self._discard(container)
        except (RuntimeFailure, OSError) as error:
            log.warning("deleting container %s: %s; trying again", container.id, error)
            if not self._tasks.is_closed:
                self._tasks.spawn(self._discard_later(container), f"discard {container.id[:12]}", critical=False)

    async def _discard_later(self, container: Container) -> None:
        await self._clock.sleep(DISCARD_SECONDS)
        await self._discard_in_time(container)

    async def _discard(self, container: Container) -> None:
        """Deletes everything there is of it, in whichever state it was."""
        container.removing = True
        try:
            await self._discard_all(container)
        except BaseException:
            container.removing = False
            raise

    async def _discard_all(self, container: Container) -> None:
        if not container.is_clean:
            container.kill_conmon()
        container.unwatch()
        container.ended.set()
        container.released.set()
        if not container.is_clean:
            await self._delete(container)
            bundle.unmount(container)
            container.is_clean = True
        # The directory goes last: as long as it is there, an agent that comes back finds what else is to go.
        parent = container.known.cgroup_parent
        others = (each for each in self._containers.values() if not (each is container or each.removing))
        if not any(other.known.cgroup_parent == parent for other in others):
            host.remove_cgroup(parent)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._exit_dir, container.id))
        await asyncio.to_thread(rooted.remove_tree, container.folder)
        self._containers.pop(container.id, None)

    async def _adopt(self, name: str) -> Container | None:
        """Takes it over; returns one that had ended before, which is yet to be released."""
        folder = os.path.join(self._folders, name)
        known = record.load(folder)
        if known is None:
            await self._discard_in_time(Container(folder, record.unknown(name)))
            return None
        container = Container(folder, known)
        pid = containers.read_pid(os.path.join(folder, "pid"))
        if known.state.state == CREATED and (pid == 0 or self._tools.is_waiting(known.handler, name)):
            await self._discard_in_time(container)  # an earlier agent was killed while it made this one
            return None
        self._containers[name] = container
        if known.state.state == EXITED:
            container.ended.set()
            return container
        if known.state.state == CREATED:
            container.update(state=RUNNING, pid=pid, started_at=os.stat(os.path.join(folder, "pid")).st_mtime)
        if not container.watch(pid, self._conmon_ended):
            self._conmon_ended(container)
        return None

    async def _look_after_logs(self) -> None:
        while True:
            await self._clock.sleep(LOG_CHECK_SECONDS)
            await self.rotate_logs()

    def _remember_cgroup(self, parent: str) -> None:
        """Keeps the first part of the path: the directories above a pod's are removed only by `cleanup_all`."""
        name = parent.partition("/")[0]
        if name and name not in self._cgroup_roots:
            self._cgroup_roots.add(name)
            Path(self._roots_file).write_text("\n".join(sorted(self._cgroup_roots)))

    async def _delete(self, container: Container) -> None:
        """What the runtime has of it."""
        tools, cgroup = self._of(container), container.cgroup if container.known.cgroup_parent else ""
        await tools.delete(container.id, cgroup, by_hand=not self._health.is_usable(tools.runc))

    def _of(self, container: Container) -> programs.Programs:
        return self._tools.of(container.known.handler)

    def _processes(self, container_id: str) -> str:
        return f"/proc/{self._running(container_id).state.pid}/ns/pid" if container_id else ""

    def _get(self, container_id: str) -> Container:
        container = self._containers.get(container_id)
        if container is None:
            raise not_found(container_id)
        return container

    def _running(self, container_id: str) -> Container:
        container = self._get(container_id)
        if container.state.state != RUNNING:
            raise not_running(container.state)
        return container


def _overlook(why: str) -> None:
    """Nobody wants to know."""


def _read_names(path: str) -> set[str]:
    try:
        return set(Path(path).read_text().split("\n")) - {""}
    except FileNotFoundError:
        return set()


def _written(folder: str, name: str, tree: spec.Tree) -> str:
    path = os.path.join(folder, name)
    Path(path).write_bytes(orjson.dumps(tree))
    return path
