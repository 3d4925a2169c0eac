"""Pods' sandboxes: each made when the first container of its pod starts, and taken away with the pod's network."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from sampan.kit.clock import Clock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import host
from sampan.node.runtime.cri import api, requests
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.protocol import ContainerConfig, RuntimeFailure

STOP_SECONDS = 120.0
STOP_PAUSES = (0.1, 0.4, 1.6, 6.4, None)
LATE_ONES = 3


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod's. `attempt` counts those that this pod has had."""

    id: str
    attempt: int
    is_ready: bool
    cgroup: str
    """The pod's, a relative path."""


class Sandboxes:
    """The sandboxes of one node, by their pods' uids."""

    def __init__(self, link: Link, owner: str, clock: Clock) -> None:
        self._link, self._owner, self._clock = link, owner, clock
        self._found: dict[str, Sandbox] = {}
        self._doubtful: set[str] = set()
        """Pods whose sandbox was asked for without an answer: it may be there."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self) -> None:
        """Takes up those that are there; of several of one pod the last. Raises RpcError."""
        for each in sorted(await self.list(), key=lambda each: int(each["metadata"]["attempt"])):
            uid, attempt = each["metadata"]["uid"], each["metadata"]["attempt"]
            before = self._found.get(uid)
            if before is not None:
                await self._remove(before.id)
            cgroup = requests.kept(each).get("cgroup_parent", "")
            self._found[uid] = Sandbox(each["id"], attempt, each["state"] == api.READY, cgroup)

    async def list(self) -> list[dict[str, Any]]:
        """The runtime's own list of this node's sandboxes. Raises RpcError."""
        request = {"filter": {"label_selector": {requests.OWNER: self._owner}}}
        answer = await self._link.call("ListPodSandbox", request)
        return list(answer["items"])

    async def strangers(self) -> int:
        """How many sandboxes there are that no node of ours made. Raises RpcError."""
        answer = await self._link.call("ListPodSandbox")
        return sum(requests.OWNER not in each["labels"] for each in answer["items"])

    async def get(self, config: ContainerConfig) -> str:
        """The id of the container's pod's sandbox, made if need be. Raises RuntimeFailure."""
        async with self._lock(config.pod_uid):
            sandbox = self._found.get(config.pod_uid)
            if sandbox is not None and sandbox.is_ready:
                return sandbox.id
            try:
                if sandbox is not None:
                    await self._remove(sandbox.id)
                self._doubtful.add(config.pod_uid)
                made = await self._run(config, 0 if sandbox is None else sandbox.attempt + 1)
            except RpcError as error:
                raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from error
            self._doubtful.discard(config.pod_uid)
            self._found[config.pod_uid] = made
            return made.id

    async def _run(self, config: ContainerConfig, attempt: int) -> Sandbox:
        """A new one; the attempt counts on where a dead agent's call has come late. Raises RpcError."""
        for late in range(LATE_ONES):
            request = requests.sandbox(config, self._owner, attempt + late)
            try:
                answer = await self._link.call("RunPodSandbox", {"config": request, "runtime_handler": config.handler})
            except RpcError as error:
                if "is reserved for" not in error.message or late == LATE_ONES - 1:
                    raise
            else:
                return Sandbox(answer["pod_sandbox_id"], attempt + late, True, config.cgroup_parent.strip("/"))
        raise AssertionError("the last one returns or raises")

    def lost(self, pod_uid: str) -> None:
        """Its process has ended: the next container's start makes another one."""
        sandbox = self._found.get(pod_uid)
        if sandbox is not None:
            self._found[pod_uid] = replace(sandbox, is_ready=False)

    async def stop(self, pod_uid: str) -> None:
        """Ends it and takes its network away. Repeating is harmless. Raises RpcError."""
        async with self._lock(pod_uid):
            sandbox = self._found.get(pod_uid)
            if sandbox is not None and sandbox.is_ready:
                await self._stop(sandbox.id)
                self._found[pod_uid] = replace(sandbox, is_ready=False)
            if pod_uid in self._doubtful:
                for each in await self.list():
                    if each["metadata"]["uid"] == pod_uid and (sandbox is None or each["id"] != sandbox.id):
                        await self._remove(each["id"])
                self._doubtful.discard(pod_uid)

    async def remove_stopped(self, pod_uid: str) -> None:
        """Unless it runs: removes it, any that a dead agent's call made late, and the pod's cgroup. RpcError."""
        async with self._lock(pod_uid):
            sandbox = self._found.get(pod_uid)
            if sandbox is not None and not sandbox.is_ready:
                for each in await self.list():
                    if each["metadata"]["uid"] == pod_uid:
                        await self._remove(each["id"])
                self._found.pop(pod_uid, None)
                host.remove_cgroup(sandbox.cgroup)

    async def remove_all(self) -> None:
        """Every one of this node, with its containers. Raises RpcError."""
        found = await self.list()
        await asyncio.gather(*(self._remove(each["id"]) for each in found))
        self._found.clear()
        for each in found:
            host.remove_cgroup(requests.kept(each).get("cgroup_parent", ""))

    def pods(self) -> set[str]:
        """The uids of the pods that have one."""
        return set(self._found)

    async def _remove(self, sandbox_id: str) -> None:
        await self._stop(sandbox_id)
        with _gone():
            await self._link.call("RemovePodSandbox", {"pod_sandbox_id": sandbox_id})

    async def _stop(self, sandbox_id: str) -> None:
        """Several times if need be: while the process that keeps it is just ending, the runtime can't reach that."""
        for pause in STOP_PAUSES:
            with _gone():
                try:
                    await self._link.call("StopPodSandbox", {"pod_sandbox_id": sandbox_id}, STOP_SECONDS)
                except RpcError as error:
                    if error.code != "Unknown" or pause is None:
                        raise
                    await self._clock.sleep(pause)
                    continue
            return

    def _lock(self, pod_uid: str) -> asyncio.Lock:
        return self._locks.setdefault(pod_uid, asyncio.Lock())


@contextlib.contextmanager
def _gone() -> Any:
    """What is not there any more need not be ended."""
    try:
        yield
    except RpcError as error:
        if error.code != "NotFound":
            raise
