"""Fakes of what the agent touches: an API in memory and a runtime that does as it is told."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from sampan.client.api import Listing, WatchEvent
from sampan.kit.frozen import freeze
from sampan.kit.ids import SeededIds
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status
from sampan.node import simulated
from sampan.node.agent import Agent
from sampan.node.images.model import Image
from sampan.node.kubelet_config import DEFAULTS
from sampan.node.parts import AgentSettings, Parts
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState, Features, RuntimeFailure


class FakeClient:
    """As much of Client as the agent uses, over a dictionary."""

    def __init__(self, clock):
        self.clock, self.objects, self.revision, self.watchers, self.calls = clock, {}, 0, [], []

    def put(self, kind, obj):
        self.revision += 1
        obj = objects.copy(obj)
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.name)
        obj["metadata"]["resourceVersion"] = str(self.revision)
        obj["metadata"].setdefault("uid", f"uid-{self.revision}")
        key = (kind.plural, *objects.key(obj))
        type = "MODIFIED" if key in self.objects else "ADDED"
        self.objects[key] = freeze(obj)
        self._tell(kind, type, self.objects[key])
        return self.objects[key]

    def drop(self, kind, key):
        self.revision += 1
        gone = objects.copy(self.objects.pop((kind.plural, *key)))
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._tell(kind, "DELETED", freeze(gone))

    def find(self, plural, name, namespace="default"):
        return self.objects.get((plural, namespace, name))

    def events(self):
        return [(o["reason"], o["message"]) for k, o in self.objects.items() if k[0] == "events"]

    def _tell(self, kind, type, obj):
        for plural, queue in self.watchers:
            if plural == kind.plural:
                queue.put_nowait(WatchEvent(type, obj))

    def nothing(self, kind):
        return ""

    async def list(self, kind, namespace="", *, labels="", fields=""):
        return Listing(tuple(o for k, o in self.objects.items() if k[0] == kind.plural), str(self.revision or 1))

    async def watch(
        self, kind, namespace="", *, resource_version="", labels="", fields=""
    ) -> AsyncIterator[WatchEvent]:
        watcher = kind.plural, asyncio.Queue()
        self.watchers.append(watcher)
        try:
            while True:
                yield await watcher[1].get()
        finally:
            self.watchers.remove(watcher)

    async def get(self, kind, name, namespace=""):
        found = self.objects.get((kind.plural, namespace, name))
        if found is None:
            raise status.not_found(kind.group, kind.plural, name)
        return found

    async def create(self, kind, obj, *, subresource=""):
        self.calls.append(("create", kind.plural))
        return self.put(kind, obj)

    async def update(self, kind, obj, subresource=""):
        self.calls.append(("update", kind.plural))
        return self.put(kind, obj)

    async def create_subresource(self, kind, key, subresource, body):
        return {"status": {"token": "t", "expirationTimestamp": "2027-01-01T00:00:00Z"}}

    async def patch(self, kind, key, patch, *, type="merge", subresource=""):
        self.calls.append(("patch", kind.plural))
        old = await self.get(kind, key[1], key[0])
        new = objects.copy(old)
        if kind.plural == "events":
            return self.put(kind, {**new, **patch})
        for name, value in ((patch.get("metadata") or {}).get("annotations") or {}).items():
            marks = new["metadata"].setdefault("annotations", {})
            marks.pop(name, None)
            if value is not None:
                marks[name] = value
        changes = dict(patch.get("status") or {})
        order = changes.pop("$setElementOrder/conditions", None)
        now = new.setdefault("status", {})
        if order is not None:
            merged = {c["type"]: dict(c) for c in now.get("conditions") or []}
            for condition in changes.pop("conditions"):
                if condition.get("$patch") == "delete":
                    continue
                both = {**merged.get(condition["type"], {}), **condition}
                merged[condition["type"]] = {k: v for k, v in both.items() if v is not None or k == "lastProbeTime"}
            now["conditions"] = [merged[e["type"]] for e in order]
        for name, value in changes.items():
            now.pop(name, None)
            if value is not None:
                now[name] = value
        return self.put(kind, new)

    async def delete(self, kind, key, **options):
        self.calls.append(("delete", kind.plural))
        self.drop(kind, key)


class FakeRuntime:
    """Containers that run until told to end."""

    version, features, handlers = "runc://1.1.5", Features(), {"": Features()}

    def __init__(self, clock):
        self.clock, self.states, self.queue, self.failure, self.exec_code = clock, {}, asyncio.Queue(), None, 0
        self.configs, self.stops, self.updates, self.stop_seconds = [], [], [], 0.05

    def attend(self, tell):
        pass

    async def open(self):
        pass

    async def close(self):
        pass

    async def prepare(self, sandbox):
        return ""

    async def release(self, pod_uid):
        pass

    def pods(self):
        return set()

    async def start(self, config):
        await self.clock.sleep(0.02)
        if self.failure:
            raise RuntimeFailure(*self.failure)
        self.configs.append(config)
        now = self.clock.now()
        state = ContainerState(
            id=f"{config.name}-{config.attempt}-{config.pod_uid}",
            pod_uid=config.pod_uid,
            pod_namespace=config.pod_namespace,
            pod_name=config.pod_name,
            name=config.name,
            attempt=config.attempt,
            image_ref=config.image.reference,
            image_id=config.image.id,
            state=RUNNING,
            created_at=now,
            started_at=now,
            log_path=config.log_path,
            labels=config.labels,
        )
        self.states[state.id] = state
        return state

    def end(self, container_id, code):
        state = dataclasses.replace(
            self.states[container_id],
            state=EXITED,
            exit_code=code,
            finished_at=self.clock.now(),
            reason="Completed" if code == 0 else "Error",
        )
        self.states[container_id] = state
        self.queue.put_nowait(state)

    async def stop(self, container_id, signal, grace_seconds):
        self.stops.append((container_id, grace_seconds))
        await self.clock.sleep(self.stop_seconds)
        self.end(container_id, 143)

    async def update(self, container_id, resources, pod):
        self.updates.append((container_id, resources))
        await self.clock.sleep(0.02)
        if self.failure:
            raise RuntimeFailure(*self.failure)

    async def remove(self, container_id):
        self.states.pop(container_id, None)

    async def containers(self):
        return sorted(self.states.values(), key=lambda s: s.id)

    async def exits(self):
        while True:
            yield await self.queue.get()

    async def exec_sync(self, container_id, command, timeout_seconds):
        return self.exec_code, b"said no" if self.exec_code else b""


class FakeImages:
    """Every image that is named here."""

    def __init__(self):
        self.names, self.known = {"app:1"}, []

    def resolve(self, ref):
        return Image("sha256:1", (f"docker.io/library/{ref}",)) if ref in self.names else None

    def list(self):
        return self.known


class FakePuller:
    """Gets what it is told to have, in two seconds; `asked` has the images and the secrets that came with them."""

    def __init__(self, clock, images):
        self.clock, self.images, self.has, self.renewed, self.asked = clock, images, set(), set(), []

    def is_needed(self, pod, container, attempt):
        return container["image"] in self.renewed

    async def pull(self, pod, container, number, secrets):
        self.asked.append((container["image"], number, [objects.name(secret) for secret in secrets]))
        await self.clock.sleep(2)
        if container["image"] not in self.has:
            return "not found"
        self.images.names.add(container["image"])
        return ""


class Node:
    """An agent with its fakes, in virtual time."""

    def __init__(self, root, kubelet=DEFAULTS):
        self.kubelet = kubelet
        self.loop = SimLoop()
        self.clock = VirtualClock(self.loop)
        self.client = FakeClient(self.clock)
        self.runtime = FakeRuntime(self.clock)
        self.images = FakeImages()
        self.network = simulated.SimulatedNetwork("10.244.0.0/24")
        self.puller = self.credentials = None
        self.plugins = None
        self.root = root
        self.begin()

    def parts(self):
        return Parts(
            client=self.client,
            runtime=self.runtime,
            images=self.images,
            network=self.network,
            dns=simulated.SimulatedDns(),
            volumes=simulated.SimulatedVolumes(),
            clock=self.clock,
            ids=SeededIds(1),
            puller=self.puller,
            credentials=self.credentials,
            plugins=self.plugins,
        )

    def begin(self, *, wait=True):
        settings = AgentSettings("test", "node-1", self.root, "10.244.0.1", kubelet=self.kubelet)
        self.agent = Agent(settings, self.parts(), Tasks("test"))
        starting = self.loop.create_task(self.agent.start())
        if wait:
            self.loop.run_until_complete(starting)
        return starting

    def end(self):
        self.loop.run_until_complete(self.agent.stop())


@pytest.fixture
def node(tmp_path):
    """A started node; ended afterwards."""
    made = Node(tmp_path)
    yield made
    made.end()
    made.loop.close()
