"""Hands: carries out a pod's commands, each as a task of its own; what comes of it is in the pod's record.

At most a few containers start at the same time. Every end of a task asks for the pod to be looked at again.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node import containers, devices, env, logs, podfiles, podspec, resources
from sampan.node.env import ConfigError
from sampan.node.events import Recorder
from sampan.node.fetch import Fetcher
from sampan.node.handlers import Target
from sampan.node.image_finder import ImageFinder, NoImage
from sampan.node.images.model import Image
from sampan.node.network import hostfiles
from sampan.node.observed import (
    CONFIG_ERROR,
    NETWORK,
    VOLUMES,
    Command,
    Emit,
    Failure,
    KillContainer,
    PrepareVolumes,
    RemoveContainer,
    ResizeContainer,
    SetupNetwork,
    StartContainer,
    Teardown,
    resize_key,
    volume_key,
)
from sampan.node.parts import AgentSettings, Handlers, Parts
from sampan.node.podfiles import PodFiles
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState, Mount, RuntimeFailure
from sampan.node.volumes.failure import VolumeFailure

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 8
SIMULATED_STARTS_AT_ONCE = 1000
RETRY_SECONDS = 10.0
VOLUME_RETRY_SECONDS = 2.0
SHORTEST_GRACE_SECONDS = 2.0
POST_START_SECONDS = 600.0

Object = dict[str, Any]


class Hands:
    """Does what the rule asks for. `wake(uid, seconds)` has the pod looked at again."""

    def __init__(
        self,
        settings: AgentSettings,
        parts: Parts,
        helpers: tuple[Recorder, Fetcher, Handlers],
        tasks: Tasks,
        wake: Callable[[str, float], None],
    ) -> None:
        self._settings, self._parts, self._tasks, self._wake = settings, parts, tasks, wake
        self.recorder, self._fetcher, self._handlers = helpers
        self.images = ImageFinder(parts, self.recorder, self._fetcher, tasks, wake)
        self.files = parts.files or PodFiles(settings.root)
        self._slots = asyncio.Semaphore(SIMULATED_STARTS_AT_ONCE if settings.is_simulated else STARTS_AT_ONCE)
        self.capacity_bytes = 0

    def do(self, record: PodRecord, command: Command) -> None:
        """Begins the command; marks what is under way at once."""
        work: Callable[[], Coroutine[Any, Any, None]]
        match command:
            case SetupNetwork():
                record.network_pending = True
                work = partial(self._set_up_network, record)
            case PrepareVolumes():
                record.volumes_pending = True
                work = partial(self._prepare_volumes, record)
            case StartContainer(name=name):
                record.starting.add(name)
                work = partial(self._start, record, command)
            case KillContainer(id=container_id):
                record.stopping.add(container_id)
                work = partial(self._kill, record, command)
            case ResizeContainer(name=name):
                record.resizing.add(name)
                work = partial(self._resize, record, command)
            case RemoveContainer(id=container_id):
                record.states.pop(container_id, None)
                record.resized.pop(container_id, None)
                work = partial(self._parts.runtime.remove, container_id)
            case Teardown():
                record.teardown_pending = True
                work = partial(self._tear_down, record, command)
            case Emit():
                self.recorder.emit(record.pod, command)
                return
            case _:
                return
        self._tasks.spawn(self._guarded(record, work), type(command).__name__, critical=False)

    async def _guarded(self, record: PodRecord, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            self._wake(record.uid, 0.0)

    async def _set_up_network(self, record: PodRecord) -> None:
        try:
            attachment = await self._parts.network.add(record.uid)
        except Exception as error:  # noqa: BLE001 (the world's fault: the pod says so, and it is tried again)
            log.warning("network of pod %s: %r", podspec.full_name(record.pod), error)
            self._failed(record, NETWORK, Failure("FailedCreatePodSandBox", str(error), self._later()))
            text = f"Failed to create pod sandbox: {error}"
            self.recorder.emit(record.pod, Emit("Warning", "FailedCreatePodSandBox", text))
        else:
            record.take_place(attachment.netns_path, attachment.ip)
            record.torn_down = False
            record.failures.pop(NETWORK, None)
        finally:
            record.network_pending = False

    async def _prepare_volumes(self, record: PodRecord) -> None:
        try:
            volumes = await self._fetcher.volumes(record.pod, await self._volume_images(record))
            if not record.states:
                await self._fetcher.devices(record.pod)
            record.volumes = volumes
            record.refreshed_at = self._parts.clock.now()
            record.failures.pop(VOLUMES, None)
            record.torn_down = False
        except VolumeFailure as error:
            seconds = RETRY_SECONDS if error.reason == devices.REASON else VOLUME_RETRY_SECONDS
            later = max([self._later(seconds), *(e.retry_at for e in record.pull_errors.values())])
            self._failed(record, VOLUMES, Failure(error.reason, str(error), later))
            if error.reason != "ErrImagePull":  # said already
                self.recorder.emit(record.pod, Emit("Warning", error.reason, str(error)))
        finally:
            record.volumes_pending = False

    async def _volume_images(self, record: PodRecord) -> dict[str, tuple[str, ...]]:
        """The layers of the pod's image volumes, by the volumes' names. Raises VolumeFailure while one can't be had."""
        found = {}
        for volume in record.pod["spec"].get("volumes") or ():
            if "image" not in volume:
                continue
            source = volume["image"]
            wanted = {"name": volume_key(volume["name"]), "image": source.get("reference") or ""}
            wanted["imagePullPolicy"] = source.get("pullPolicy") or "IfNotPresent"
            try:
                found[volume["name"]] = (await self.images.find(record, wanted, 0)).layer_dirs
            except NoImage as error:
                seen = record.pull_errors.get(wanted["name"])
                raise VolumeFailure(seen.message if seen else "its image is not there", "ErrImagePull") from error
        return found

    async def refresh_volumes(self, record: PodRecord, *, at_once: bool = False) -> None:
        """Brings ConfigMaps, Secrets and tokens of a running pod up to date; at once: as the API has them now."""
        if at_once:
            self._fetcher.forget_objects(objects.namespace(record.pod))
        try:
            await self._fetcher.volumes(record.pod)
        except VolumeFailure as error:
            self.recorder.emit(record.pod, Emit("Warning", error.reason, str(error)))

    async def _start(self, record: PodRecord, command: StartContainer) -> None:
        name = command.name
        container = podspec.container(record.pod, name) or {}
        path = podspec.field_path(record.pod, name)
        try:
            image = await self.images.find(record, container, command.attempt)
            async with self._slots:
                state = await self._create(record, container, command, image)
        except ConfigError as error:
            self._refused(record, name, path, Failure(CONFIG_ERROR, str(error), self._later()))
        except RuntimeFailure as error:
            if error.state is not None:
                record.take_state(self.finish(record, error.state))
                self._remember_backoff(record, command)
                self.recorder.emit(record.pod, Emit("Warning", "Failed", f"Error: {error.message}", path))
            else:
                self._refused(record, name, path, Failure(error.reason, error.message, self._later()))
        except NoImage:
            pass
        else:
            record.failures.pop(name, None)
            record.take_state(self.finish(record, state) if state.state == EXITED else state)
            self._remember_backoff(record, command)
            self._say(record, "Created", "Container created", path)
            self._say(record, "Started", "Container started", path)
            await self._post_start(record, container, state)
        finally:
            record.starting.discard(name)

    def _remember_backoff(self, record: PodRecord, command: StartContainer) -> None:
        if command.backoff is not None:
            record.backoffs[command.name] = command.backoff

    async def _create(
        self, record: PodRecord, container: Object, command: StartContainer, image: Image
    ) -> ContainerState:
        pod, name = record.pod, command.name
        host_ip = self._settings.internal_ip
        sources = await self._fetcher.env_sources(pod, record.pod_ip or host_ip, host_ip)
        variables = env.environment(pod, container, sources)
        is_host = podspec.is_host_network(pod)
        pod_ip = self._settings.internal_ip if is_host else record.pod_ip
        domain = self._settings.cluster_domain
        hosts = hostfiles.hosts(pod, [pod_ip], domain, host_file=hostfiles.host_text("/etc/hosts"))
        resolver = hostfiles.host_text("/etc/resolv.conf")
        self.files.prepare(pod, hosts, hostfiles.resolv_conf(pod, self._settings.dns_ip, domain, resolver))
        self.files.prepare_container(pod, name, command.attempt)
        qos = ((pod.get("status") or {}).get("qosClass") or "BestEffort").lower()
        inputs = containers.Inputs(
            attempt=command.attempt,
            image=image,
            variables=variables,
            netns=None if is_host else record.netns,
            hostname=self._settings.node if is_host else _hostname(pod, domain),
            cgroup_parent=f"sampan-{self._settings.cluster}/{qos}/pod{record.uid}",
            log_path=str(self.files.log(pod, name, command.attempt)),
            capacity_bytes=self.capacity_bytes,
            volumes=record.volumes or {},
            subpaths=await self._subpaths(record, container, variables),
            own_mounts=self._own_mounts(record, container, command.attempt),
            pid_of=_target_id(record, container),
            features=self._parts.runtime.features,
            profiles=str(self._settings.root / "seccomp"),
        )
        return await self._parts.runtime.start(containers.config(pod, container, inputs))

    async def _subpaths(
        self, record: PodRecord, container: Object, variables: tuple[tuple[str, str], ...]
    ) -> dict[int, str]:
        """Mounts of the container's subPaths, by the mount's number."""
        found = {}
        for number, inner in containers.subpaths(container, variables).items():
            mount = container["volumeMounts"][number]
            path = containers.volume_path(mount, record.volumes or {})
            slot = f"{container['name']}-{number}"
            try:
                found[number] = await self._parts.volumes.mount_subpath(record.uid, path, inner, slot=slot)
            except (VolumeFailure, OSError) as error:
                text = f'failed to prepare subPath for volumeMount "{mount["name"]}" of container "{container["name"]}"'
                raise ConfigError(f"{text}: {error}") from error
        return found

    def _own_mounts(self, record: PodRecord, container: Object, attempt: int) -> tuple[Mount, ...]:
        folder = self.files.pod(record.uid)
        target = container.get("terminationMessagePath") or "/dev/termination-log"
        termination = self.files.termination(record.uid, container["name"], attempt)
        return (
            Mount(str(folder / "hosts"), "/etc/hosts"),
            Mount(str(folder / "resolv.conf"), "/etc/resolv.conf"),
            Mount(str(termination), target),
        )

    def _refused(self, record: PodRecord, name: str, path: str, failure: Failure) -> None:
        self._failed(record, name, failure)
        self.recorder.emit(record.pod, Emit("Warning", "Failed", f"Error: {failure.message}", path))

    def _failed(self, record: PodRecord, name: str, failure: Failure) -> None:
        record.failures[name] = failure

    async def _post_start(self, record: PodRecord, container: Object, state: ContainerState) -> None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        record.hooking.add(state.name)
        record.starting.discard(state.name)
        try:
            target = self._target(record, container, state.id, "postStart")
            outcome = await self._handlers.run(hook, target, POST_START_SECONDS)
        finally:
            record.hooking.discard(state.name)
        if not (outcome.success or outcome.answered):
            path = podspec.field_path(record.pod, state.name)
            self.recorder.emit(record.pod, Emit("Warning", "FailedPostStartHook", "PostStartHook failed", path))
            grace = podspec.grace_seconds(record.pod)
            record.stopping.add(state.id)
            await self._kill(record, KillContainer(state.id, state.name, grace, "FailedPostStartHook"))

    async def _kill(self, record: PodRecord, command: KillContainer) -> None:
        path = podspec.field_path(record.pod, command.name)
        self._say(record, "Killing", command.message, path)
        began = self._parts.clock.monotonic()
        container = podspec.container(record.pod, command.name) or {}
        hook = (container.get("lifecycle") or {}).get("preStop")
        if hook and command.grace_seconds > 0:
            target = self._target(record, container, command.id, "preStop")
            outcome = await self._handlers.run(hook, target, command.grace_seconds)
            if not (outcome.success or outcome.answered):
                self.recorder.emit(record.pod, Emit("Warning", "FailedPreStopHook", "PreStopHook failed", path))
        left = command.grace_seconds - (self._parts.clock.monotonic() - began)
        try:
            await self._parts.runtime.stop(command.id, "", max(left, SHORTEST_GRACE_SECONDS))
        except RuntimeFailure as error:
            log.warning("stopping %s of %s: %s", command.name, podspec.full_name(record.pod), error)
            await self._parts.clock.sleep(1.0)
            record.stopping.discard(command.id)

    async def _resize(self, record: PodRecord, command: ResizeContainer) -> None:
        key, wanted = resize_key(command.name), dict(command.resources)
        try:
            spec = record.pod["spec"]
            limits = resources.cgroup({"resources": wanted}, spec), resources.pod_cgroup(spec)
            await self._parts.runtime.update(command.id, *limits)
        except RuntimeFailure as error:
            self._failed(record, key, Failure("Error", error.message, self._later()))
            text = f"Pod resize error: {error.message}"
            self.recorder.emit(record.pod, Emit("Warning", "ResizeError", text))
        else:
            record.resized[command.id] = wanted
            record.failures.pop(key, None)
        finally:
            record.resizing.discard(command.name)

    async def _tear_down(self, record: PodRecord, command: Teardown) -> None:
        try:
            if command.containers:
                ended = [state.id for state in record.states.values() if state.state == EXITED]
                await asyncio.gather(*(self._parts.runtime.remove(container_id) for container_id in ended))
                for container_id in ended:
                    record.states.pop(container_id, None)
            await self._parts.network.remove(record.uid)
            await self._parts.volumes.teardown(record.uid)
            if command.containers:
                self.files.remove(record.pod)
                self._fetcher.forget(record.uid)
        except Exception as error:  # noqa: BLE001 (the world's fault: what the pod holds stays on record, and is tried again)
            log.warning("teardown of pod %s: %r", podspec.full_name(record.pod), error)
            await self._parts.clock.sleep(1.0)
        else:
            record.netns, record.pod_ip, record.volumes = None, "", None
            record.torn_down = True
        finally:
            record.teardown_pending = False

    def _target(self, record: PodRecord, container: Object, container_id: str, purpose: str) -> Target:
        return Target(container_id, record.pod_ip or self._settings.internal_ip, container, purpose)

    def _say(self, record: PodRecord, reason: str, message: str, path: str) -> None:
        self.recorder.emit(record.pod, Emit("Normal", reason, message, path))

    def _later(self, seconds: float = RETRY_SECONDS) -> float:
        return self._parts.clock.now() + seconds

    def finish(self, record: PodRecord, state: ContainerState) -> ContainerState:
        """An ended container's state with its last words, from its file or else, if wished, its log."""
        container = podspec.container(record.pod, state.name) or {}
        words = self.files.last_words(record.uid, state.name, state.attempt)
        is_silent = not (words or state.message)
        if is_silent and state.exit_code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            kept, options = self._parts.logs, logs.Options(tail_lines=80)
            tail = logs.tail(state.log_path, options) if kept is None else kept.tail(state, options)
            words = tail[-podfiles.TERMINATION_LOG_BYTES :].decode("utf-8", "replace")
        return dataclasses.replace(state, message=words) if words else state


def _hostname(pod: Object, domain: str) -> str:
    try:
        return hostfiles.kernel_name(pod, domain)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _target_id(record: PodRecord, container: Object) -> str:
    """The container whose processes an ephemeral one is to see; raises ConfigError while it doesn't run."""
    target = container.get("targetContainerName")
    if not target:
        return ""
    for state in record.states.values():
        if state.name == target and state.state == RUNNING:
            return state.id
    raise ConfigError(f"unable to find target container {target}")
