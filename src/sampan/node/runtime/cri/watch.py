"""Which containers there are, and who has ended: the runtime's list, asked for whenever there is a reason.

CRI of containerd 1.6 tells nothing by itself. A container's first process is watched, so that its end is seen at once.
While there is one that can't be watched, the list is looked at every second, as a kubelet does; else now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

import orjson

from sampan.kit.clock import Clock
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import host
from sampan.node.runtime.cri import api, requests
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.protocol import EXITED, RUNNING, ContainerState

log = logging.getLogger(__name__)

RELIST_SECONDS = 1.0
CALM_SECONDS = 10.0
SETTLE_SECONDS = 0.02
"""After a process has ended, the runtime takes a moment to know it."""
SETTLE_LOOKS = 25


class Watched:
    """A container: its state as last known, and a hold on its first process where there is one."""

    def __init__(self, status: Mapping[str, Any], sandbox_id: str) -> None:
        """From what the runtime says."""
        self.state = requests.state(status)
        kept = requests.kept(status)
        self.cgroup = os.path.join(kept.get("cgroup_parent", ""), self.state.id)
        self.tty, self.stdin = bool(kept.get("tty")), bool(kept.get("stdin"))
        self.stop_signal = str(kept.get("stop_signal") or "")
        self.sandbox_id = sandbox_id
        self.ended = asyncio.Event()
        self.pidfd = -1
        self.is_dead = False
        """Its process has ended, though the runtime may not know it yet."""

    def signal(self, number: int) -> None:
        """To the first process; nothing if that has ended."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def let_go(self) -> None:
        """The process is watched no longer."""
        if self.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1


class Watcher:
    """The node's containers by id. `run` in a task of its own."""

    def __init__(self, link: Link, owner: str, clock: Clock) -> None:
        self._link, self._owner, self._clock = link, owner, clock
        self.found: dict[str, Watched] = {}
        self.ends: asyncio.Queue[ContainerState] = asyncio.Queue()
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()
        self._is_silent = False

    async def list(self) -> list[dict[str, Any]]:
        """The runtime's own list of this node's containers. Raises RpcError."""
        request = {"filter": {"label_selector": {requests.OWNER: self._owner}}}
        answer = await self._link.call("ListContainers", request)
        return list(answer["containers"])

    async def add(self, container_id: str, sandbox_id: str) -> Watched:
        """Takes a container up as it is now. Raises RpcError."""
        answer = await self._link.call("ContainerStatus", {"container_id": container_id, "verbose": True})
        watched = self.found[container_id] = Watched(answer["status"], sandbox_id)
        if watched.state.state == EXITED:
            watched.ended.set()
            return watched
        pid = _pid(answer["info"])
        watched.state = dataclasses.replace(watched.state, pid=pid)
        self._watch(watched, pid)
        self._news.set()
        return watched

    def forget(self, container_id: str) -> None:
        """It is removed."""
        watched = self.found.pop(container_id, None)
        if watched is not None:
            watched.let_go()

    def close(self) -> None:
        """Watches nobody any more."""
        for watched in self.found.values():
            watched.let_go()

    async def run(self) -> None:
        """Looks at every end of a process, and now and then, until the connection is closed."""
        while not self._link.is_closed:
            running = [watched for watched in self.found.values() if watched.state.state == RUNNING]
            if not running:
                await self._news.wait()
            is_calm = all(watched.pidfd >= 0 for watched in running)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CALM_SECONDS if is_calm else RELIST_SECONDS):
                    await self._news.wait()
            self._news.clear()
            await self._look_and_tell()

    async def look(self) -> None:
        """Compares with the runtime's list, until it knows of every process that has ended. Raises RpcError."""
        async with self._looking:
            for _ in range(SETTLE_LOOKS):
                await self._compare()
                if not any(each.is_dead and each.state.state == RUNNING for each in self.found.values()):
                    return
                await self._clock.sleep(SETTLE_SECONDS)
            for each in self.found.values():
                each.is_dead = False  # the runtime knows better, or will: the list is looked at again soon

    async def _look_and_tell(self) -> None:
        try:
            await self.look()
        except RpcError as error:
            if not self._is_silent:
                log.warning("the container runtime does not answer: %s", error)
            self._is_silent = True
        else:
            self._is_silent = False

    async def _compare(self) -> None:
        before = [watched for watched in self.found.values() if watched.state.state == RUNNING]
        if not before:
            return
        listed = {each["id"]: each["state"] for each in await self.list()}
        for watched in before:
            seen = listed.get(watched.state.id)
            if seen is None:
                self._ended(watched, self._lost(watched.state))
            elif seen != api.RUNNING:
                answer = await self._link.call("ContainerStatus", {"container_id": watched.state.id})
                self._ended(watched, requests.state(answer["status"]))

    def _ended(self, watched: Watched, state: ContainerState) -> None:
        if watched.state.state != RUNNING:
            return  # somebody else has seen it meanwhile
        watched.state = state
        watched.let_go()
        watched.ended.set()
        self.ends.put_nowait(state)

    def _lost(self, state: ContainerState) -> ContainerState:
        """Somebody removed it under our hands."""
        text = "The container could not be located when the pod was terminated"
        reason, now = "ContainerStatusUnknown", self._clock.now()
        return dataclasses.replace(state, state=EXITED, exit_code=137, reason=reason, message=text, finished_at=now)

    def _watch(self, watched: Watched, pid: int) -> None:
        """The runtime may live in another PID namespace: only a process in the container's own cgroup is it."""
        if pid <= 0 or not _is_in(pid, watched.state.id):
            return
        try:
            watched.pidfd = os.pidfd_open(pid)
        except OSError:
            watched.is_dead = True
            return
        asyncio.get_running_loop().add_reader(watched.pidfd, self._process_ended, watched)

    def _process_ended(self, watched: Watched) -> None:
        watched.is_dead = True
        watched.let_go()
        self._news.set()


def _pid(info: Mapping[str, str]) -> int:
    try:
        return int(orjson.loads(info.get("info") or "{}").get("pid") or 0)
    except (orjson.JSONDecodeError, ValueError, TypeError, AttributeError):
        return 0


def _is_in(pid: int, container_id: str) -> bool:
    return not os.path.exists(f"/proc/{pid}") or host.is_in_cgroup(pid, container_id)
