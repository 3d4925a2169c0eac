"""What the containers of a pod have in common beside network and cgroup: users, processes, IPC and /dev/shm.

It lies in a directory of the pod, made only for pods that ask for it: namespaces are files there (as network ones
are), and a process namespace has a first process of its own, `/pause`, which the runtime runs without conmon. All of
it outlives the agent; `release` takes it away.

https://man7.org/linux/man-pages/man7/namespaces.7.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import orjson

from sampan.node.images import rooted
from sampan.node.runtime import container as containers
from sampan.node.runtime import host, id_ranges, overlay, pause, pipes, programs, spec
from sampan.node.runtime.protocol import ContainerConfig, RuntimeFailure

_NEW_IPC, _NEW_USER, _NEW_NET = 0x08000000, 0x10000000, 0x40000000
_FILES = {"ipc": _NEW_IPC, "user": _NEW_USER, "net": _NEW_NET}
_MS_BIND, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 4096, 2, 4, 8
_NOT_MAPPED = 65534

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Shared:
    """Paths of what a container joins; empty for what is its own. `first_id`: which id is its user 0."""

    users: str = ""
    first_id: int = 0
    ipc: str = ""
    shm: str = ""
    processes: str = ""


NOTHING = Shared()


class Pods:
    """The pods' directories below one; `open_folder` is where also a pod's users may go, `ids` has all nodes' ranges."""

    def __init__(self, folder: str, open_folder: str, ids: str) -> None:
        self._folder, self.open_folder, self._ids = folder, open_folder, ids
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def uids(self) -> set[str]:
        """The pods that have something in common here."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self._folder))
        return set()

    async def users(self, uid: str) -> str:
        """Gives the pod users of its own, and a network namespace that is theirs: its path. OSError, NoRangeLeft."""
        async with self._lock(uid):
            if not self._is_there(uid, "net"):
                folder = self._made(uid)
                first = id_ranges.take(self._ids, folder)
                _write(os.path.join(folder, "first_id"), str(first).encode())
                await self._make(uid, ("ipc", "user", "net"), first)
            return self._path(uid, "net")

    async def join(self, config: ContainerConfig, tools: programs.Programs) -> Shared:
        """What a container that is about to be made joins; made if need be. OSError, RuntimeFailure."""
        if not (config.own_users or config.shares_ipc or config.shares_processes):
            return NOTHING
        uid = config.pod_uid
        async with self._lock(uid):
            if config.own_users and not self._is_there(uid, "user"):
                raise RuntimeFailure("CreateContainerError", "the pod's user namespace is gone")
            first = self._first_id(uid) if config.own_users else 0
            ipc = shm = ""
            if config.shares_ipc or config.own_users:
                ipc, shm = await self._ipc(uid, first)
            processes = await self._keeper(config, tools, first) if config.shares_processes else ""
            return Shared(self._path(uid, "user") if config.own_users else "", first, ipc, shm, processes)

    async def release(self, uid: str, tools: Callable[[str], programs.Programs]) -> None:
        """Ends and removes all of it; `tools` are by the handler's name. Repeating is harmless."""
        if uid not in self.uids():
            return
        folder = os.path.join(self._folder, uid)
        async with self._lock(uid):
            known = _read(os.path.join(folder, "keeper", "known.json"))
            if known:
                await tools(known["handler"]).delete(_keeper_id(uid), _keeper_cgroup(known["cgroup_parent"], uid))
                host.remove_cgroup(known["cgroup_parent"])
            for path in overlay.mounts_below(folder):
                overlay.unmount(path)
            id_ranges.give_back(self._ids, folder)
            rooted.remove_tree(folder)

    def _first_id(self, uid: str) -> int:
        """0 for a pod without users of its own."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(Path(self._path(uid, "first_id")).read_text())
        return 0

    def _lock(self, uid: str) -> asyncio.Lock:
        return self._locks.setdefault(uid, asyncio.Lock())

    def _path(self, uid: str, name: str) -> str:
        return os.path.join(self._folder, uid, name)

    def _made(self, uid: str) -> str:
        folder = os.path.join(self._folder, uid)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    def _is_there(self, uid: str, name: str) -> bool:
        """Whether a namespace is bound to the file: a plain one is what a killed agent left."""
        try:
            return os.stat(self._path(uid, name)).st_dev != os.stat(self._folder).st_dev
        except FileNotFoundError:
            return False

    async def _ipc(self, uid: str, first: int) -> tuple[str, str]:
        folder = self._made(uid)
        if not self._is_there(uid, "ipc"):
            await self._make(uid, ("ipc",), first)
        return os.path.join(folder, "ipc"), self._shm(uid, first)

    def _shm(self, uid: str, first: int) -> str:
        shm = self._path(uid, "shm")
        if not os.path.ismount(shm):
            os.makedirs(shm, mode=0o700, exist_ok=True)
            options = f"mode=1777,size=65536k,uid={first},gid={first}"
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            _check(_libc.mount(b"shm", os.fsencode(shm), b"tmpfs", flags, options.encode()), shm)
        return shm

    async def _make(self, uid: str, names: tuple[str, ...], first: int) -> None:
        """New namespaces, bound to files in this order: the last one tells that all are there."""
        flags = sum(_FILES[name] for name in names)
        program = os.path.join(self.open_folder, f"maker-{flags:x}")
        self._write_program(program, pause.maker(platform.machine(), flags))
        source, sink = pipes.pipe()
        try:
            try:
                maker = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.PIPE, stdout=sink)
            finally:
                os.close(sink)
            try:
                if await pipes.read(source):
                    self._take(uid, names, maker.pid, first)
            finally:
                assert maker.stdin is not None
                maker.stdin.close()
                code = await maker.wait()
        finally:
            os.close(source)
        if code:
            raise OSError(code, f"new namespaces ({', '.join(names)}): {os.strerror(code)}")

    def _take(self, uid: str, names: tuple[str, ...], pid: int, first: int) -> None:
        if "user" in names:
            for name in ("uid_map", "gid_map"):
                _write(f"/proc/{pid}/{name}", f"0 {first} {id_ranges.LENGTH}".encode())
        for name in names:
            path = self._path(uid, name)
            if self._is_there(uid, name):
                overlay.unmount(path)  # what an agent that was killed had begun
            Path(path).touch(mode=0o600)
            source = f"/proc/{pid}/ns/{name}".encode()
            _check(_libc.mount(source, os.fsencode(path), None, _MS_BIND, None), path)

    async def _keeper(self, config: ContainerConfig, tools: programs.Programs, first: int) -> str:
        """The process namespace's path, by the process that keeps it: the one that runs, or a new one."""
        uid = config.pod_uid
        folder, name = self._path(uid, "keeper"), _keeper_id(uid)
        pid = containers.read_pid(os.path.join(folder, "pid"))
        if pid and host.is_in_cgroup(pid, name):
            return f"/proc/{pid}/ns/pid"
        root = self._keepers_root()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        known = {"handler": config.handler, "cgroup_parent": config.cgroup_parent}
        _write(os.path.join(folder, "known.json"), orjson.dumps(known))
        await tools.delete(name, _keeper_cgroup(config.cgroup_parent, uid))
        users = self._path(uid, "user") if config.own_users else ""
        tree = _keeper_spec(config, name, root, Shared(users, first))
        _write(os.path.join(folder, "config.json"), orjson.dumps(tree))
        pid_file = os.path.join(folder, "pid")
        await tools.run_detached(name, folder, pid_file)
        return f"/proc/{containers.read_pid(pid_file)}/ns/pid"

    def _keepers_root(self) -> str:
        """A root file system in which nothing is but the program, for all of them."""
        root = os.path.join(self.open_folder, "keeper")
        for path in (root, os.path.join(root, "proc"), os.path.join(root, "dev")):
            os.makedirs(path, mode=0o755, exist_ok=True)
        self._write_program(os.path.join(root, "pause"), pause.keeper(platform.machine()))
        return root

    def _write_program(self, path: str, content: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            if Path(path).read_bytes() == content:
                return
        os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
        _write(path + ".new", content)
        os.chmod(path + ".new", 0o755)
        os.replace(path + ".new", path)


def _keeper_id(uid: str) -> str:
    return f"pause-{uid}"


def _keeper_cgroup(parent: str, uid: str) -> str:
    return f"{parent.strip('/')}/{_keeper_id(uid)}"


def _keeper_spec(config: ContainerConfig, name: str, root: str, shared: Shared) -> spec.Tree:
    """A container that may do nothing."""
    process = {
        "user": {"uid": _NOT_MAPPED, "gid": _NOT_MAPPED},
        "args": ["/pause"],
        "cwd": "/",
        "capabilities": {},
        "noNewPrivileges": True,
    }
    namespaces = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]
    linux: spec.Tree = {
        "cgroupsPath": f"/{_keeper_cgroup(config.cgroup_parent, config.pod_uid)}",
        "namespaces": namespaces,
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": spec.MASKED_PATHS,
        "readonlyPaths": spec.READ_ONLY_PATHS,
    }
    linux |= spec.users(shared.users, shared.first_id, namespaces)
    mounts = [spec.file_system("/proc", "proc", ["nosuid", "noexec", "nodev"])]
    mounts.append(spec.file_system("/dev", "tmpfs", ["nosuid", "noexec", "mode=755", "size=64k"]))
    root_fs = {"path": root, "readonly": True}
    return {"ociVersion": "1.0.2", "process": process, "root": root_fs, "mounts": mounts, "linux": linux}


def _write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def _read(path: str) -> dict[str, str]:
    """What was written there; nothing if that is not there."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found: dict[str, str] = orjson.loads(Path(path).read_bytes())
        return found
    return {}


def _check(result: int, path: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
