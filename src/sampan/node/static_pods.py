"""Static pods: runs what the files of a directory say, and shows the API a mirror pod of each.

The file alone decides: a changed one ends the old pod and then starts the new one, and one that is gone ends its pod.
A mirror pod only shows; it is made again when somebody deletes it.

https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError, is_of_another
from sampan.node import admission, status_patch
from sampan.node.observed import Emit
from sampan.node.parts import AgentSettings, Parts
from sampan.node.record import PodRecord
from sampan.node.snapshot import TERMINAL

log = logging.getLogger(__name__)

Object = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """The agent's side: its records, who is told of a pod that begins here, who wakes one, the Node, events."""

    records: Mapping[str, PodRecord]
    begin: Callable[[Object], None]
    wake: Callable[[str], None]
    node: Callable[[], Object]
    emit: Callable[[Object, Emit], None]


class StaticPods:
    """Of one node. Costs nothing where no path is set and no mirror pod is left."""

    def __init__(self, settings: AgentSettings, parts: Parts, tasks: Tasks, agent: Side) -> None:
        self._settings, self._parts, self._tasks, self._agent = settings, parts, tasks, agent
        self._path = Path(settings.kubelet.static_pod_path) if settings.kubelet.static_pod_path else None
        self.pods: dict[str, Object] = {}
        """Those that the files ask for, by uid."""
        self._wrong: dict[str, str] = {}
        self._mirrors: dict[Key, Object] = {}

    def read(self) -> None:
        """Takes in what the files say now, without starting anything; says what is wrong with one, once."""
        if self._path is None:
            return
        from sampan.node import static_files

        try:
            found, wrong = static_files.read(self._path, self._settings.node, self._parts.clock.now())
        except OSError as error:
            found, wrong = self.pods, {str(self._path): str(error)}  # what runs goes on
        self.pods = {uid: self.pods.get(uid, pod) for uid, pod in found.items()}
        for file, why in wrong.items():
            if self._wrong.get(file) != why:
                log.error("static pod %s: %s", file, why)
                text = f"{file}: {why}"
                self._agent.emit(self._agent.node(), Emit("Warning", "FailedStaticPod", text))
        self._wrong = wrong

    def records(self) -> list[PodRecord]:
        """A record of each that has none yet, with what an earlier agent told of it."""
        fresh = [pod for uid, pod in self.pods.items() if uid not in self._agent.records]
        told = [(pod, self._told(pod)) for pod in fresh]
        return [PodRecord({**pod, "status": {**pod["status"], **status}}, is_static=True) for pod, status in told]

    def take_mirrors(self, mirrors: Iterable[Object]) -> None:
        """The mirror pods that the API has when the agent starts."""
        self._mirrors |= {objects.key(mirror): mirror for mirror in mirrors}

    def start(self) -> None:
        """Follows the files from now on; the node is registered, so mirrors can be made."""
        for record in self._agent.records.values():
            if record.is_static:
                self._agent.wake(record.uid)
        if self._path is not None:
            self._tasks.spawn(self._follow(self._path), "static pods")

    async def _follow(self, path: Path) -> None:
        from sampan.node.folder_watch import FolderWatch

        with FolderWatch(path, self._settings.kubelet.file_check_frequency) as watch:
            while True:
                self.read()
                self._apply()
                await watch.wait()

    def _apply(self) -> None:
        for record in list(self._agent.records.values()):
            if record.is_static and not record.is_gone and record.uid not in self.pods:
                record.is_gone = True
                self._agent.wake(record.uid)
        for uid in self.pods:
            self._begin(uid)

    def _begin(self, uid: str) -> None:
        """Starts the pod, unless one of its name has yet to end."""
        pod = self.pods[uid]
        key = objects.key(pod)
        if all(not (r.is_static and objects.key(r.pod) == key) for r in self._agent.records.values()):
            self._agent.begin(pod)

    def begin_if_wanted(self, uid: str) -> None:
        """Nothing of the pod is left from earlier: it begins if there is a file of it."""
        if uid in self.pods:
            self._begin(uid)

    def ended(self, record: PodRecord) -> None:
        """The pod has gone from the node: its successor may start, or else its mirror goes too."""
        key = objects.key(record.pod)
        successor = next((uid for uid, pod in self.pods.items() if objects.key(pod) == key), None)
        if successor is not None:
            self._begin(successor)
        elif mirror := self._mirrors.get(key):
            self._spawn_removal(mirror)

    def mirror_changed(self, type: str, mirror: Object) -> None:
        """What the API says of a mirror pod of this node."""
        key = objects.key(mirror)
        if type == "DELETED":
            if objects.uid(self._mirrors.get(key, mirror)) == objects.uid(mirror):
                self._mirrors.pop(key, None)
        else:
            self._mirrors[key] = mirror
        owner = self._owner(key)
        if owner is not None:
            if type == "DELETED" or objects.is_deleting(mirror) or not _is_of(mirror, owner.pod):
                self._agent.wake(owner.uid)
        elif type != "DELETED" and all(objects.key(pod) != key for pod in self.pods.values()):
            self._spawn_removal(mirror)

    def _told(self, pod: Object) -> Object:
        """The status that an earlier agent told the API of this pod; nothing once it has ended: its file still wants it."""
        mirror = self._mirrors.get(objects.key(pod))
        status: Object = mirror.get("status") or {} if mirror is not None and _is_of(mirror, pod) else {}
        return {} if status.get("phase") in TERMINAL else status

    async def report(self, record: PodRecord, status: Object) -> None:
        """Shows the API how the pod is. Raises ApiError, TransportError; asked again it goes on where it was."""
        record.pod = {**record.pod, "status": status}
        mirror = self._mirrors.get(objects.key(record.pod))
        if mirror is not None and (objects.is_deleting(mirror) or not _is_of(mirror, record.pod)):
            await self._remove(mirror)
            return
        node = self._agent.node()
        if mirror is None:
            if not objects.uid(node):
                return
            mirror = await self._parts.client.create(POD, _mirror(record.pod, node))
            self._mirrors[objects.key(mirror)] = mirror
        if changes := status_patch.changes(mirror.get("status") or {}, status):
            patch = {"metadata": {"uid": objects.uid(mirror)}, "status": changes}
            key = objects.key(mirror)
            answer = await self._parts.client.patch(POD, key, patch, type="strategic", subresource="status")
            if key in self._mirrors:
                self._mirrors[key] = answer

    def _owner(self, key: Key) -> PodRecord | None:
        records = self._agent.records.values()
        return next((r for r in records if r.is_static and not r.is_gone and objects.key(r.pod) == key), None)

    def _spawn_removal(self, mirror: Object) -> None:
        self._tasks.spawn(self._remove_at_last(mirror), f"mirror pod {objects.name(mirror)}", critical=False)

    async def _remove_at_last(self, mirror: Object) -> None:
        while self._owner(objects.key(mirror)) is None:
            try:
                await self._remove(mirror)
            except (ApiError, TransportError) as error:
                log.info("deleting mirror pod %s: %s; trying again", objects.name(mirror), error)
                await self._parts.clock.sleep(1.0)
            else:
                return

    async def _remove(self, mirror: Object) -> None:
        try:
            uid = objects.uid(mirror)
            await self._parts.client.delete(POD, objects.key(mirror), uid=uid, grace_seconds=0)
        except ApiError as error:
            if error.code != 404 and not is_of_another(error):
                raise


def uid_of(pod: Object) -> str:
    """The uid under which the node knows a pod of the API: a mirror pod's is that of the static one."""
    return str(objects.annotations(pod).get(admission.CONFIG_MIRROR) or objects.uid(pod))


def _is_of(mirror: Object, pod: Object) -> bool:
    return admission.is_mirror(mirror) and uid_of(mirror) == objects.uid(pod)


def _mirror(pod: Object, node: Object) -> Object:
    metadata = {k: v for k, v in pod["metadata"].items() if k in ("name", "namespace", "labels")}
    metadata["annotations"] = {**objects.annotations(pod), admission.CONFIG_MIRROR: objects.uid(pod)}
    owner = {"apiVersion": "v1", "kind": "Node", "name": objects.name(node), "uid": objects.uid(node)}
    metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
