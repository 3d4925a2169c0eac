"""The node agent: keeps the pods bound to this node as their objects say, and tells the API what is so.

Observe, call the rule, carry out its commands, report: one pod at a time is looked at whenever its object, a
container, a probe or one of its commands has something new; nothing is polled. Containers outlive the agent:
a new one adopts what it finds and ends what nobody wants any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.pod import POD
from sampan.kit.tasks import Tasks
from sampan.kit.workqueue import QueueClosed, WorkQueue
from sampan.meta import objects
from sampan.meta.status import ApiError, is_of_another
from sampan.node import admission, adoption, confinement, killing, lifecycle, podspec, resize, static_pods, status_patch
from sampan.node.csi.joining import Joined
from sampan.node.events import Recorder
from sampan.node.fetch import Fetcher
from sampan.node.gate import Gate
from sampan.node.handlers import Handlers
from sampan.node.hands import Hands
from sampan.node.heartbeat import Heartbeat
from sampan.node.local_folders import LocalFolders
from sampan.node.networking import Networking
from sampan.node.observed import CONFIG_ERROR, Again, DeletePod, Emit, Observed, Probes
from sampan.node.parts import AgentSettings, Parts
from sampan.node.plugged import Plugged
from sampan.node.probes import Prober
from sampan.node.record import Here, PodRecord
from sampan.node.runtime.protocol import RUNNING, ContainerState
from sampan.node.shutdown import Shutdown
from sampan.node.static_pods import Side, StaticPods
from sampan.node.strangers import Strangers
from sampan.node.volumes import downward

log = logging.getLogger(__name__)

WORKERS = 8
STATUS_SECONDS = 0.3
"""A pod that is merely starting, or gives back what it held, is reported after this time: most are done by then."""
REPLACED_SECONDS = 1.0
"""The same for one whose containers are made anew: that they are not ready is told if they are not by then."""
CROWDED_STATUS_SECONDS = 5.0
"""The same while as many containers start as may at once: others wait for their turn."""
PULL_LOOK_SECONDS = 2.0
STATIC_WAIT_SECONDS = 2.0
NEVER = float("inf")

Object = dict[str, Any]


class Agent:
    """One node. `start` returns when the node is Ready; `stop` leaves containers running."""

    def __init__(self, settings: AgentSettings, parts: Parts, tasks: Tasks) -> None:
        self.settings, self.parts, self._tasks = settings, parts, tasks
        clock = parts.clock
        self.pods = Cache(parts.client, POD, fields=f"spec.nodeName={settings.node}", clock=clock, tasks=tasks)
        self.recorder = Recorder(parts.client, EVENT, settings.node, clock)
        self.handlers = parts.handlers or Handlers(parts.runtime, clock)
        self.heartbeat = Heartbeat(settings, parts)
        self.networking = Networking(parts, self.pods, self.heartbeat.node, tasks)
        local_folders = LocalFolders(settings.node, parts, tasks)
        self.heartbeat.on_node = self.networking.before(local_folders.look)
        fetcher = Fetcher(parts, self.networking.services.items, self.heartbeat.allocatable)
        self.prober = Prober(self.handlers, clock, tasks)
        self.hands = Hands(settings, parts, (self.recorder, fetcher, self.handlers), tasks, self.wake)
        self.hands.capacity_bytes = self.heartbeat.memory_bytes
        self.recorder.is_crowded = self.hands.is_crowded
        self.records: dict[str, PodRecord] = {}
        self.gate = Gate(settings, self.heartbeat, self.recorder, self.records, self.wake)
        self._strangers = Strangers(parts, self.hands.files, tasks, self._stranger_gone)
        side = Side(self.records, self._begin_static, self.wake, self.heartbeat.node, self.recorder.emit)
        self.static = StaticPods(settings, parts, tasks, side)
        if parts.csi is not None:
            self.heartbeat.on_node = Joined(parts.csi, self, tasks, self.heartbeat.on_node).look
            parts.csi.emit = self.recorder.emit
        helpers = (self.heartbeat, self.gate, self.recorder.emit)
        parts.runtime.attend(lambda why: self.heartbeat.say_unready(why, "runtime"))
        self.shutdown = Shutdown(settings.kubelet, self.records, helpers, self.wake, clock)
        self.hands.reject = self.gate.reject
        self.gate.checks_after.append(lambda pod: confinement.refusal(pod, parts.runtime.features))
        self._plugged = Plugged(parts.plugins, self) if parts.plugins is not None else None
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._workers = 0
        self._has_contact = asyncio.Event()

    async def start(self, before: "Agent | None" = None) -> None:
        """Takes over the node, then says that it is Ready; which another agent said `before`, if there was one."""
        if before is not None:
            self.heartbeat.continue_from(before.heartbeat)
            self.pods.continue_from(before.pods)
            self.networking.continue_from(before.networking)
        await asyncio.gather(self.parts.network.setup(), self.parts.runtime.open())
        if self.parts.contact is None:
            self._begin_to_follow()
        else:
            self._tasks.spawn(self._follow_after(self.parts.contact), "first contact")
        self._tasks.spawn(self._follow_exits(), "exits")
        self._queue.hire(self._hire)
        if self._plugged is not None:
            self._plugged.open()
        self.static.read()
        await self._wait_for_api()
        await self._adopt()
        await self.networking.apply()
        await self.parts.dns.start()
        self.recorder.start(self._tasks)
        self.pods.subscribe(self._pod_changed)
        self.networking.follow()
        if before is None:
            node = await self.heartbeat.register()
            self.recorder.emit(node, Emit("Normal", "Starting", "Starting kubelet."))
        self.heartbeat.start(self._tasks)
        if self._plugged is not None:
            self._plugged.start()
        self.static.start()
        self.shutdown.start(self._tasks)

    def _first_caches(self) -> tuple[Cache, ...]:
        return self.pods, *self.networking.first()

    async def _follow_after(self, contact: Callable[[], Awaitable[None]]) -> None:
        await contact()
        self._begin_to_follow()

    def _begin_to_follow(self) -> None:
        for cache in self._first_caches():
            cache.start()
        self._has_contact.set()

    async def _first_look(self, cache: Cache) -> None:
        await self._has_contact.wait()
        await cache.wait_synced()

    async def stop(self) -> None:
        """Lets go of everything; containers go on running."""
        self._queue.close()
        await self.parts.runtime.close()
        await self._tasks.close()
        await self.handlers.close()
        await self.parts.dns.stop()
        await self.networking.stop()
        if self.parts.plugins is not None:
            await self.parts.plugins.close()
        if self.parts.csi is not None:
            self.parts.csi.drivers.close()

    def kill(self) -> None:
        """The same at once, whatever is under way."""
        self._queue.close()
        self._tasks.kill()

    def wake(self, uid: str, seconds: float = 0.0) -> None:
        """Has the pod looked at, now or after a while."""
        self._queue.add_after(uid, seconds)

    def running(self, namespace: str, name: str) -> PodRecord | None:
        """The pod of that name on this node."""
        pod = self.pods.get((namespace, name))
        return self.records.get(static_pods.uid_of(pod)) if pod else None

    async def _wait_for_api(self) -> None:
        """Returns once all is known that the API has; pods of files begin without it when that takes long."""
        synced = [self._tasks.spawn(self._first_look(cache), "first look") for cache in self._first_caches()]
        if self.static.pods:
            patience = self._tasks.spawn(self.parts.clock.sleep(STATIC_WAIT_SECONDS), "patience", critical=False)
            await asyncio.wait((patience, asyncio.gather(*synced)), return_when=asyncio.FIRST_COMPLETED)
            if patience.done():
                log.info("the API has not answered yet; pods of this node's own files begin without it")
                await self._adopt_of(self.static.records())
        await asyncio.gather(*synced)

    async def _adopt(self) -> None:
        """Takes over what is here of the pods that still belong here; ends the others."""
        pods = self.pods.items()
        self.static.take_mirrors(pod for pod in pods if admission.is_mirror(pod))
        ours = [PodRecord(pod) for pod in pods if not admission.is_mirror(pod)]
        strangers = await self._adopt_of([*self.static.records(), *ours])
        unknown = {uid: states for uid, states in strangers.items() if uid not in self.records}
        self._strangers.end(unknown)

    async def _adopt_of(self, records: list[PodRecord]) -> dict[str, list[ContainerState]]:
        """Takes over what is here of these pods; returns what is of none of them."""
        found = await adoption.survey(records, self.parts, self._finished)
        self.records |= found.known
        if any(not record.is_static for record in found.fresh):
            await self.heartbeat.look()
        for record in found.fresh:
            try:
                self.records[record.uid] = self._admitted(record)
            except Exception:
                log.exception("pod %s is left out", record.uid)
        for record in records:
            if record.is_static:
                self.wake(record.uid)
        return found.strangers

    def _pod_changed(self, type: str, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if admission.is_mirror(pod):
            self.static.mirror_changed(type, pod)
            return
        uid = objects.uid(pod)
        record = self.records.get(uid)
        if type == "DELETED" or new is None:
            if record is not None:
                record.is_gone = True
                killing.hasten(record)
                self.wake(uid)
            return
        if old is not None and objects.uid(old) != uid and (former := self.records.get(objects.uid(old))):
            former.is_gone = True  # deleted and made again while the watch was down
            self.wake(former.uid)
        if record is None:
            self.records[uid] = self._admitted(PodRecord(new))
            self.wake(uid)
        elif old is not None and _grace(new) < _grace(old) < NEVER:
            killing.hasten(record)
            record.take(new)
            self.wake(uid)
        elif _is_news(record, new) or type == "ADDED" or _is_wanted_otherwise(old, new):
            if old is not None:
                self._refresh_if_described_anew(record, old, new)
            self.wake(uid)

    def _stranger_gone(self, uid: str) -> None:
        self.static.begin_if_wanted(uid)

    def _begin_static(self, pod: Object) -> None:
        if self._strangers.is_leaving(objects.uid(pod)):
            return  # a file that went and came back: its pod begins once its former life is over
        record = PodRecord(pod, is_static=True)
        self.records[record.uid] = self._admitted(record)
        self.wake(record.uid)

    def _admitted(self, record: PodRecord) -> PodRecord:
        """A pod that is new here is turned away when the node can't hold it beside the others."""
        self.gate.admit(record)
        return record

    def _refresh_if_described_anew(self, record: PodRecord, old: Object, new: Object) -> None:
        """Labels, annotations and resources show in variables and in volumes."""
        is_same = objects.labels(old) == objects.labels(new) and objects.annotations(old) == objects.annotations(new)
        if not is_same:
            record.try_again(CONFIG_ERROR)
        if not (is_same and old["spec"] == new["spec"]) and downward.is_in(new):
            self.hands.refresher.ask(record)

    def _hire(self) -> None:
        if self._workers < WORKERS:
            self._workers += 1
            self._tasks.spawn(self._work_for_ever(), f"worker {self._workers}")

    async def _work_for_ever(self) -> None:
        while True:
            try:
                uid = await self._queue.get()
            except QueueClosed:
                return
            if self._queue:
                self._hire()
            try:
                await self._look(uid)
                self._queue.forget(uid)
            except (ApiError, TransportError) as error:
                log.info("pod %s: %s; trying again", uid, error)
                self._queue.retry(uid)
            except Exception:  # our fault with one pod; the others are looked after all the same
                log.exception("pod %s: trying again, for the %dth time", uid, self._queue.failures(uid) + 1)
                self._queue.retry(uid)
            finally:
                self._queue.done(uid)

    async def _look(self, uid: str) -> None:
        """One round for one pod: observe, decide, do, report."""
        record = self.records.get(uid)
        if record is None:
            return
        if record.is_doubtful:
            await self._ask_for(record)
        now = self.parts.clock.now()
        self._look_for_images(record)
        observed = self._observe(record, now)
        pod = record.as_deleted(now)
        status, commands = lifecycle.advance(pod, observed, now)
        delete = None
        for command in commands:
            if isinstance(command, Again):
                self.wake(uid, max(command.at - now, 0.01))
            elif isinstance(command, DeletePod):
                delete = command
            else:
                self.hands.do(record, command)
        if record.is_static and not record.is_gone:
            await self.static.report(record, status)
        elif not record.is_gone:
            await self._report(record, status)
        if delete is not None:
            await self._delete(record)

    def _observe(self, record: PodRecord, now: float) -> Observed:
        """A snapshot; running containers are probed from here on, others no longer."""
        self.prober.forget(state.id for state in record.states.values() if state.state != RUNNING)
        verdicts: dict[str, Probes] = {}
        for state in record.states.values():
            container = podspec.container(record.pod, state.name)
            if state.state != RUNNING or container is None:
                continue
            if not (state.id in record.stopping or state.name in record.hooking or state.name in record.starting):
                ip = record.pod_ip or self.settings.internal_ip
                self.prober.follow(state, container, ip, self._reporter(record, state.name), _known(record, state))
            if state.id in record.stopping or record.is_ending:
                self.prober.spare(state.id)
            verdicts[state.id] = self.prober.verdicts(state.id) or Probes()
        runtime = self.parts.runtime
        scheme = runtime.version.partition("://")[0]
        longest = self.settings.kubelet.crash_loop_back_off.max_container_restart_period
        here = Here(scheme, self.settings.internal_ips, now, runtime.features.recursive_read_only, longest)
        if self._plugged is not None:
            self._plugged.observe(record)
        return record.observe(here, verdicts, self._unfit(record, scheme))

    def _unfit(self, record: PodRecord, scheme: str) -> tuple[str, str] | None:
        """Why the other resources that the pod's containers are to have can't be had now; None if they can, and then they are its own."""
        if not resize.is_wished(record.pod, record.states.values(), record.resized, scheme):
            return None
        return self.gate.unfit(record)

    def _reporter(self, record: PodRecord, name: str) -> Any:
        def report(event: Emit | None) -> None:
            if event is not None:
                self.recorder.emit(record.pod, replace(event, field_path=podspec.field_path(record.pod, name)))
            self.wake(record.uid)

        return report

    def _look_for_images(self, record: PodRecord) -> None:
        """An image that was loaded meanwhile ends the back-off at once."""
        for name, error in list(record.pull_errors.items()):
            if error.is_remote:
                continue
            if self.parts.images.resolve(error.image) is not None:
                del record.pull_errors[name]
            else:
                self.wake(record.uid, PULL_LOOK_SECONDS)

    async def _report(self, record: PodRecord, status: Object) -> None:
        """Writes what has changed; what is about to change again only if it lasts."""
        old = record.pod.get("status") or {}
        if status == old:
            return
        seconds = self._passing_seconds(record, old, status)
        if seconds and self._is_held(record, seconds):
            return
        record.let_out()
        changes = status_patch.changes(old, status)
        if not changes:
            return
        patch = {"metadata": {"uid": record.uid}, "status": changes}
        record.told = status
        try:
            key = objects.key(record.pod)
            answer = await self.parts.client.patch(POD, key, patch, type="strategic", subresource="status")
        except ApiError as error:
            record.is_doubtful = error.code >= 500
            if error.code != 404 and not is_of_another(error):
                raise
            log.info("status of pod %s was refused: %s", podspec.full_name(record.pod), error)
            return
        except TransportError:
            record.is_doubtful = True
            raise
        record.take(answer)

    def _passing_seconds(self, record: PodRecord, old: Object, status: Object) -> float:
        """How long this may last, in seconds, before it is told; 0.0 for what is told at once."""
        if status_patch.is_merely_starting(status) and (not old.get("startTime") or self.hands.is_crowded()):
            return STATUS_SECONDS
        if record.starting and record.starting <= record.replaced and not record.is_ending:
            return REPLACED_SECONDS
        return STATUS_SECONDS if record.teardown_pending and not objects.is_deleting(record.pod) else 0.0

    def _is_held(self, record: PodRecord, seconds: float) -> bool:
        """Whether the state has not lasted long enough to be told."""
        now = self.parts.clock.monotonic()
        if record.held is None:
            record.held_since = now
            self._hold(record, now + seconds)
        elif now >= record.held_until and seconds == STATUS_SECONDS and self.hands.is_crowded():
            self._hold(record, record.held_since + CROWDED_STATUS_SECONDS)
        return now < record.held_until

    def _hold(self, record: PodRecord, until: float) -> None:
        """Has the pod looked at again by then (monotonic)."""
        record.let_out()
        record.held_until = until
        seconds = max(until - self.parts.clock.monotonic(), 0.0)
        record.held = asyncio.get_running_loop().call_later(seconds + 0.01, self.wake, record.uid)

    async def _ask_for(self, record: PodRecord) -> None:
        """Looks at what is stored, so that what was written without an answer is not told anew as a change."""
        try:
            found = await self.parts.client.get(POD, *reversed(objects.key(record.pod)))
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            if objects.uid(found) == record.uid:
                record.take(found)
        record.is_doubtful = False

    async def _delete(self, record: PodRecord) -> None:
        """Lets go of the object; the record goes with it."""
        if not record.is_gone:
            try:
                await self.parts.client.delete(POD, objects.key(record.pod), uid=record.uid, grace_seconds=0)
            except ApiError as error:
                if error.code != 404 and not is_of_another(error):
                    raise
        if not objects.finalizers(record.pod) or record.is_gone:
            record.let_out()
            self.records.pop(record.uid, None)
            if record.is_static:
                self.static.ended(record)
            else:
                self.recorder.forget(record.uid)

    async def _follow_exits(self) -> None:
        async for state in self.parts.runtime.exits():
            record = self.records.get(state.pod_uid)
            if record is not None:
                record.take_state(self._finished(record, state))
                self.wake(state.pod_uid)

    def _finished(self, record: PodRecord, state: ContainerState) -> ContainerState:
        try:
            return self.hands.finish(record, state)
        except Exception:  # our fault: it has ended all the same
            log.exception("the end of %s of pod %s", state.name, record.uid)
            return state


def _is_news(record: PodRecord, new: Object) -> bool:
    """Whether the version is newer than what is known, and not what was just told from here."""
    if not record.take(new):
        return False
    return record.told is None or bool(status_patch.changes(record.told, new.get("status") or {}))


def _is_wanted_otherwise(old: Object | None, new: Object) -> bool:
    """Whether more than the status changed: also what an answer of the API has told before the watch did."""
    if old is None or old["spec"] != new["spec"]:
        return True
    before, now = objects.metadata(old), objects.metadata(new)
    for name in _WANTED:  # noqa: SIM110 (asked of each change: no generator)
        if before.get(name) != now.get(name):
            return True
    return False


def _grace(pod: Object) -> float:
    """How long the pod has to end, once it is deleted."""
    return float(objects.metadata(pod).get("deletionGracePeriodSeconds", NEVER))


_WANTED = ("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers")


def _known(record: PodRecord, state: ContainerState) -> Probes:
    """What an earlier agent had found out about a container that this one adopted."""
    old = record.pod.get("status") or {}
    for found in (old.get("containerStatuses") or []) + (old.get("initContainerStatuses") or []):
        if found.get("name") == state.name and str(found.get("containerID", "")).endswith(f"//{state.id}"):
            return Probes(startup=found.get("started") or None, readiness=found.get("ready") or None)
    return Probes()
