"""Hands: carries out a pod's commands, each as a task of its own; what comes of it is in the pod's record.

At most a few containers start at the same time. Every end of a task asks for the pod to be looked at again.
"""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sampan.kit.tasks import Tasks
from sampan.kit.turns import Turns
from sampan.node import containers, devices, env, logs, podfiles, podspec, resources, sandboxes
from sampan.node.beginnings import GivenUp
from sampan.node.env import ConfigError
from sampan.node.events import Recorder
from sampan.node.fetch import Fetcher
from sampan.node.given import NOTHING
from sampan.node.handlers import Target
from sampan.node.image_finder import ImageFinder, NoImage
from sampan.node.images.model import Image
from sampan.node.killing import Killer
from sampan.node.network import hostfiles, pod_request
from sampan.node.observed import (
    CONFIG_ERROR,
    NETWORK,
    VOLUMES,
    Command,
    Emit,
    Failure,
    GiveUp,
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
from sampan.node.refresh import Refresher
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState, Mount, RuntimeFailure
from sampan.node.volumes import sharing
from sampan.node.volumes.failure import VolumeFailure, Waiting

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 8
SIMULATED_STARTS_AT_ONCE = 1000
LONG_START_SECONDS = 10.0
RETRY_SECONDS = 10.0
REMOVE_SECONDS = 5.0
CREATE_ERROR = "CreateContainerError"
PACE_SECONDS = 1.0
"""After an error that nobody foresaw, before the pod is looked at again."""
VOLUME_RETRY_SECONDS = 2.0
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
        self.refresher = Refresher(parts, self._fetcher, tasks, self.refresh_volumes, wake)
        self.files = parts.files or PodFiles(settings.root)
        self._at_once = SIMULATED_STARTS_AT_ONCE if settings.is_simulated else STARTS_AT_ONCE
        self._slots, self._plugging = Turns(self._at_once, LONG_START_SECONDS), 0
        self.capacity_bytes = 0
        self._killer = Killer(parts, self._handlers, self.recorder, settings.internal_ip)
        self.reject: Callable[[PodRecord, tuple[str, str]], None] = _overlook
        self._pids_limit = settings.kubelet.pod_pids_limit

    def is_crowded(self) -> bool:
        """Whether as many pods are being plugged in, or as many containers started, as may be started at once."""
        return self._slots.locked() or self._plugging >= self._at_once

    def do(self, record: PodRecord, command: Command) -> None:
        """Begins the command; marks what is under way at once."""
        work: Callable[[], Coroutine[Any, Any, None]]
        match command:
            case SetupNetwork():
                record.beginnings.begin()
                record.network_pending = True
                work = partial(self._set_up_network, record)
            case PrepareVolumes():
                record.beginnings.begin()
                record.volumes_pending = True
                work = partial(self._prepare_volumes, record)
            case StartContainer(name=name):
                record.beginnings.begin()
                record.starting.add(name)
                work = partial(self._start, record, command)
            case KillContainer(id=container_id, name=name):
                record.stopping.add(container_id)
                record.replaced.add(name)
                work = partial(self._killer.kill, record, command)
            case ResizeContainer(name=name):
                record.resizing.add(name)
                work = partial(self._resize, record, command)
            case RemoveContainer(id=container_id):
                record.states.pop(container_id, None)
                record.resized.pop(container_id, None)
                work = partial(self._remove, record, container_id)
            case Teardown():
                record.teardown_pending = True
                work = partial(self._tear_down, record, command)
            case GiveUp():
                self.images.let_go(record)
                record.beginnings.give_up()
                return
            case Emit():
                self.recorder.emit(record.pod, command)
                return
            case _:
                return
        task = self._tasks.spawn(self._guarded(record, work), type(command).__name__, critical=False)
        if isinstance(command, KillContainer):
            record.kills[command.id] = task

    async def _guarded(self, record: PodRecord, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception:
            await self._parts.clock.sleep(PACE_SECONDS)
            raise
        finally:
            self._wake(record.uid, 0.0)

    async def _set_up_network(self, record: PodRecord) -> None:
        self._plugging += 1
        try:
            async with record.beginnings.one():
                own = await sandboxes.prepare(record, self._fetcher, self._parts.runtime)
                attachment = await self._parts.network.add(record.uid, pod_request.of(record.pod, own))
                if self._parts.guard is not None:
                    await self._parts.guard.cover(record.pod, attachment.ips)
        except GivenUp:
            pass
        except Exception as error:  # noqa: BLE001 (the world's fault: the pod says so, and it is tried again)
            log.warning("network of pod %s: %r", podspec.full_name(record.pod), error)
            self._failed(record, NETWORK, Failure(sandboxes.REASON, str(error), self._later()))
            self.recorder.emit(record.pod, Emit("Warning", sandboxes.REASON, sandboxes.text(error)))
        else:
            record.take_place(attachment.netns_path, attachment.ips)
            record.torn_down = False
            record.failures.pop(NETWORK, None)
        finally:
            record.network_pending = False
            self._plugging -= 1

    async def _prepare_volumes(self, record: PodRecord) -> None:
        try:
            async with record.beginnings.one():
                if not (record.states or await self._has_devices(record)):
                    return
                images = await self._volume_images(record)
                volumes = await self._fetcher.volumes(record.pod, images)
                if not record.states:
                    await self._fetcher.devices(record.pod)
            record.volumes = volumes
            record.failures.pop(VOLUMES, None)
            record.torn_down = False
        except GivenUp:
            pass
        except VolumeFailure as error:
            seconds = RETRY_SECONDS if error.reason == devices.REASON else VOLUME_RETRY_SECONDS
            later = max([self._later(seconds), *(e.retry_at for e in record.pull_errors.values())])
            self._failed(record, VOLUMES, Failure(error.reason, str(error), later))
            if error.reason != "ErrImagePull" and not isinstance(error, Waiting):  # said already, or nothing to say
                self.recorder.emit(record.pod, Emit("Warning", error.reason, str(error)))
        except OSError as error:
            self._failed(record, VOLUMES, Failure("FailedMount", str(error), self._later(VOLUME_RETRY_SECONDS)))
            self.recorder.emit(record.pod, Emit("Warning", "FailedMount", str(error)))
        finally:
            record.volumes_pending = False
        self.refresher.attend(record)

    async def _has_devices(self, record: PodRecord) -> bool:
        """Whether the pod has what it asks for of plugins' devices; it is turned away when it can't."""
        why = await self._parts.plugins.admit(record.pod) if self._parts.plugins is not None else None
        if why is not None:
            self.reject(record, why)
        return why is None

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
                if not found[volume["name"]]:
                    text = f"image {wanted['image']} is the container runtime's own: load it with: sampan image load"
                    raise VolumeFailure(text, "FailedMount")
            except NoImage as error:
                seen = record.pull_errors.get(wanted["name"])
                raise VolumeFailure(seen.message if seen else "its image is not there", "ErrImagePull") from error
        return found

    async def refresh_volumes(self, record: PodRecord) -> bool:
        """Brings what is in a pod's volumes up to date; whether that went well."""
        try:
            await self._fetcher.volumes(record.pod)
        except VolumeFailure as error:
            if not isinstance(error, Waiting):
                self.recorder.emit(record.pod, Emit("Warning", error.reason, str(error)))
            return False
        return True

    async def _start(self, record: PodRecord, command: StartContainer) -> None:
        name = command.name
        container = podspec.container(record.pod, name) or {}
        path = podspec.field_path(record.pod, name)
        try:
            image = await self.images.find(record, container, command.attempt)
            async with record.beginnings.one(), self._slots.one():
                state = await self._create(record, container, command, image)
        except ConfigError as error:
            self._refused(record, name, path, Failure(CONFIG_ERROR, str(error), self._later()))
        except RuntimeFailure as error:
            if error.state is not None:
                record.take_state(self.finish(record, error.state))
                self._remember_backoff(record, command)
                self._say(record, "Created", "Container created", path)
                self.recorder.emit(record.pod, Emit("Warning", "Failed", f"Error: {error.message}", path))
            elif sandboxes.is_of(error):
                self._failed(record, name, sandboxes.waiting(self._later()))
                self.recorder.emit(record.pod, Emit("Warning", sandboxes.REASON, sandboxes.text(error)))
            else:
                self._refused(record, name, path, Failure(error.reason, error.message, self._later()))
        except (NoImage, GivenUp):
            pass
        except OSError as error:  # no room for a file, a thread or a process just now
            self._refused(record, name, path, Failure(CREATE_ERROR, str(error), self._later()))
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
        is_host, host_ips = podspec.is_host_network(pod), self._settings.internal_ips
        pod_ips = host_ips if is_host else record.pod_ips or host_ips
        sources = await self._fetcher.env_sources(pod, pod_ips, host_ips)
        variables = env.environment(pod, container, sources)
        domain = self._settings.cluster_domain
        hosts = hostfiles.hosts(pod, pod_ips, domain, host_file=hostfiles.host_text("/etc/hosts"))
        files = hostfiles.resolv_conf_files(self._settings.kubelet.resolv_conf)
        resolver = hostfiles.host_resolv_conf(files)
        resolv = hostfiles.resolv_conf(pod, self._settings.dns_ip, domain, resolver)
        hostname = self._settings.node if is_host else _hostname(pod, domain)
        self.files.prepare(pod, hosts, resolv, os.uname().nodename if is_host else hostname)
        self.files.prepare_container(pod, name, command.attempt)
        handler = await sandboxes.handler(record, self._fetcher)
        qos = ((pod.get("status") or {}).get("qosClass") or "BestEffort").lower()
        inputs = containers.Inputs(
            attempt=command.attempt,
            image=image,
            variables=variables,
            netns=None if is_host else record.netns,
            hostname=hostname,
            cgroup_parent=f"{self._settings.cgroup}/{qos}/pod{record.uid}",
            log_path=str(self.files.log(pod, name, command.attempt)),
            capacity_bytes=self.capacity_bytes,
            pids_limit=self._pids_limit,
            volumes=record.volumes or {},
            subpaths=await self._subpaths(record, container, variables),
            own_mounts=self._own_mounts(record, container, command.attempt),
            given=await self._parts.plugins.given(pod, container) if self._parts.plugins is not None else NOTHING,
            pid_of=_target_id(record, container),
            handler=handler,
            features=self._parts.runtime.handlers.get(handler) or self._parts.runtime.features,
            profiles=str(self._settings.root / "seccomp"),
        )
        config = containers.config(pod, container, inputs)
        if not self._settings.is_simulated:
            sharing.check(config.mounts)
        return await self._parts.runtime.start(config)

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
        read_only = bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))
        return (
            Mount(str(folder / "hosts"), "/etc/hosts"),
            Mount(str(folder / "hostname"), "/etc/hostname", read_only),
            Mount(str(folder / "resolv.conf"), "/etc/resolv.conf", read_only),
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
        self._wake(record.uid, 0.0)  # a pod that was deleted meanwhile does not wait for the hook
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
            await self._killer.kill(record, KillContainer(state.id, state.name, grace, "FailedPostStartHook"))

    async def _resize(self, record: PodRecord, command: ResizeContainer) -> None:
        key, wanted = resize_key(command.name), dict(command.resources)
        try:
            spec = record.pod["spec"]
            limits = resources.cgroup({"resources": wanted}, spec), resources.pod_cgroup(spec, self._pids_limit)
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
            self.refresher.let_go(record.uid)
            if self._parts.plugins is not None:
                await self._parts.plugins.release(record.uid)
            await self._parts.runtime.release(record.uid)
            await self._parts.network.remove(record.uid)
            await self._parts.volumes.teardown(record.uid)
            if command.containers:
                self.files.remove(record.pod)
                self._fetcher.forget(record.uid)
        except Exception as error:  # noqa: BLE001 (the world's fault: what the pod holds stays on record, and is tried again)
            log.warning("teardown of pod %s: %r", podspec.full_name(record.pod), error)
            why = error.message if isinstance(error, RuntimeFailure) else str(error)
            self.recorder.emit(record.pod, Emit("Warning", "FailedKillPod", f"error killing pod: {why}"))
            await self._parts.clock.sleep(1.0)
        else:
            record.netns, record.pod_ip, record.volumes = None, "", None
            record.torn_down = True
        finally:
            record.teardown_pending = False

    async def _remove(self, record: PodRecord, container_id: str) -> None:
        """Until it is gone: nobody else knows of it any more."""
        while True:
            try:
                await self._parts.runtime.remove(container_id)
            except (RuntimeFailure, OSError) as error:
                log.warning("removing a container of %s: %s; trying again", podspec.full_name(record.pod), error)
                await self._parts.clock.sleep(REMOVE_SECONDS)
            else:
                return

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


def _overlook(record: PodRecord, why: tuple[str, str]) -> None:
    """Nobody turns pods away."""
