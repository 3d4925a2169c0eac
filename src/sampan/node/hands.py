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
from sampan.node import backoff, containers, env, logs, podfiles, podspec
from sampan.node.env import ConfigError
from sampan.node.events import Recorder
from sampan.node.fetch import Fetcher
from sampan.node.handlers import Target
from sampan.node.images.model import Image, ImageError
from sampan.node.observed import (
    NETWORK,
    VOLUMES,
    Command,
    Emit,
    Failure,
    KillContainer,
    PrepareVolumes,
    RemoveContainer,
    SetupNetwork,
    StartContainer,
    Teardown,
)
from sampan.node.parts import AgentSettings, Handlers, Parts, Puller
from sampan.node.podfiles import PodFiles
from sampan.node.record import PodRecord, PullError
from sampan.node.runtime.protocol import EXITED, ContainerState, Mount, RuntimeFailure
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
            case RemoveContainer(id=container_id):
                record.states.pop(container_id, None)
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
            record.netns, record.pod_ip = attachment.netns_path, attachment.ip
            record.torn_down = False
            record.failures.pop(NETWORK, None)
        finally:
            record.network_pending = False

    async def _prepare_volumes(self, record: PodRecord) -> None:
        try:
            record.volumes = await self._fetcher.volumes(record.pod)
            record.refreshed_at = self._parts.clock.now()
            record.failures.pop(VOLUMES, None)
            record.torn_down = False
        except VolumeFailure as error:
            self._failed(record, VOLUMES, Failure(error.reason, str(error), self._later(VOLUME_RETRY_SECONDS)))
            self.recorder.emit(record.pod, Emit("Warning", error.reason, str(error)))
        finally:
            record.volumes_pending = False

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
            image = await self._image(record, container, command.attempt)
            async with self._slots:
                state = await self._create(record, container, command, image)
        except ConfigError as error:
            self._refused(record, name, path, Failure("CreateContainerConfigError", str(error), self._later()))
        except RuntimeFailure as error:
            if error.state is not None:
                record.take_state(self.finish(record, error.state))
                self._remember_backoff(record, command)
                self.recorder.emit(record.pod, Emit("Warning", "Failed", f"Error: {error.message}", path))
            else:
                self._refused(record, name, path, Failure(error.reason, error.message, self._later()))
        except _NoImage:
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
        sources = await self._fetcher.env_sources(pod, record.pod_ip or self._settings.internal_ip)
        variables = env.environment(pod, container, sources)
        is_host = podspec.is_host_network(pod)
        pod_ip = self._settings.internal_ip if is_host else record.pod_ip
        domain = self._settings.cluster_domain
        self.files.prepare(
            pod, podfiles.hosts(pod, pod_ip, domain), podfiles.resolv(pod, self._settings.dns_ip, domain)
        )
        self.files.prepare_container(pod, name, command.attempt)
        qos = ((pod.get("status") or {}).get("qosClass") or "BestEffort").lower()
        inputs = containers.Inputs(
            attempt=command.attempt,
            image=image,
            variables=variables,
            netns=None if is_host else record.netns,
            hostname=self._settings.node if is_host else podfiles.hostname(pod),
            cgroup_parent=f"sampan-{self._settings.cluster}/{qos}/pod{record.uid}",
            log_path=str(self.files.log(pod, name, command.attempt)),
            capacity_bytes=self.capacity_bytes,
            volumes=record.volumes or {},
            subpaths=await self._subpaths(record, container, variables),
            own_mounts=self._own_mounts(record, container, command.attempt),
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

    async def _image(self, record: PodRecord, container: Object, attempt: int) -> Image:
        """The container's image, got from elsewhere if it must be; says why not and raises _NoImage."""
        ref, name = podspec.image(container), container["name"]
        path = podspec.field_path(record.pod, name)
        try:
            image = self._parts.images.resolve(ref)
        except ImageError as error:
            text = f'Failed to apply default image tag "{ref}": {error}'
            record.failures[name] = Failure("InvalidImageName", text, self._later())
            self.recorder.emit(record.pod, Emit("Warning", "InspectFailed", text, path))
            raise _NoImage from error
        puller, is_never = self._parts.puller, container.get("imagePullPolicy") == "Never"
        text = f'Container image "{ref}" already present on machine and can be accessed by the pod'
        if image is not None and puller is not None and puller.is_needed(record.pod, container, attempt):
            image, text = (None, "") if is_never else (image, await self._pull(record, container, attempt, puller))
        if image is not None:
            record.pull_errors.pop(name, None)
            record.pull_backoffs.pop(name, None)
            self._say(record, "Pulled", text, path)
            return image
        if is_never:
            text = f'Container image "{ref}" is not present with pull policy of Never'
            record.failures[name] = Failure("ErrImageNeverPull", text, self._later())
            self.recorder.emit(record.pod, Emit("Warning", "ErrImageNeverPull", text, path))
            self.recorder.emit(record.pod, Emit("Warning", "Failed", "Error: ErrImageNeverPull", path))
            raise _NoImage
        self._pull_failed(record, container, NO_PULL)
        raise _NoImage

    async def _pull(self, record: PodRecord, container: Object, attempt: int, puller: Puller) -> str:
        """Gets the image; returns what is to be said. Raises _NoImage, also when the pod is to go meanwhile."""
        ref, name = podspec.image(container), container["name"]
        self._say(record, "Pulling", f'Pulling image "{ref}"', podspec.field_path(record.pod, name))
        number = record.pulls_begun[name] = record.pulls_begun.get(name, 0) + 1
        began = self._parts.clock.monotonic()
        task = self._tasks.spawn(puller.pull(record.pod, container, attempt, number), "pull", critical=False)
        record.pulling[name] = task
        try:
            await asyncio.wait((task,))
        finally:
            record.pulling.pop(name, None)
        if task.cancelled():
            raise _NoImage
        if error := task.result():
            self._pull_failed(record, container, error, is_remote=True)
            raise _NoImage
        seconds = backoff.text(self._parts.clock.monotonic() - began)
        return f'Successfully pulled image "{ref}" in {seconds} ({seconds} including waiting). Image size: 0 bytes.'

    def let_go(self, record: PodRecord) -> None:
        """Gives up getting images for a pod that is to go."""
        for task in record.pulling.values():
            task.cancel()

    def _pull_failed(self, record: PodRecord, container: Object, why: str, *, is_remote: bool = False) -> None:
        ref, name = podspec.image(container), container["name"]
        path = podspec.field_path(record.pod, name)
        message = f'failed to pull image "{ref}": {why}'
        was_known = name in record.pull_errors
        record.pull_failed(name, PullError(ref, message, self._parts.clock.now(), is_remote=is_remote))
        self.recorder.emit(record.pod, Emit("Warning", "Failed", f'Failed to pull image "{ref}": {why}', path))
        self.recorder.emit(record.pod, Emit("Warning", "Failed", "Error: ErrImagePull", path))
        if was_known:
            self.recorder.emit(record.pod, Emit("Normal", "BackOff", f'Back-off pulling image "{ref}"', path))
            self.recorder.emit(record.pod, Emit("Warning", "Failed", "Error: ImagePullBackOff", path))
        self._wake(record.uid, 1.0)

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


NO_PULL = "pulling from registries is not available yet; load it with: sampan image load"


class _NoImage(Exception):
    """The image is not there; the record says so already."""
