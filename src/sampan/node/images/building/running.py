"""Carries out RUN: the command in a container of our OCI runtime, over the stage's files, in the host's network."""

import contextlib
import dataclasses
import os
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from sampan.node.images import rooted, users
from sampan.node.images.building import orders
from sampan.node.images.building.orders import Run
from sampan.node.images.model import Image, ImageError
from sampan.node.runtime import host, programs, spec
from sampan.node.runtime.protocol import ContainerConfig, Mount

CGROUP = "sampan-build"
_NAMESERVERS = "/etc/resolv.conf"
_HOSTS = "/etc/hosts"
_CHUNK = 1 << 16

Output = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command runs: its container's folder and id, the stage's mounted files, what else is mounted there."""

    id: str
    folder: str
    merged: str
    state_dir: str
    sources: Mapping[str, str]
    """The folders of the mounts that the command asks for, by their targets."""
    resolver: str = ""
    """Name server to use in place of the host's."""


def run(order: Run, place: Place, output: Output) -> int:
    """Runs it to its end; returns its exit code. What only the mounts needed is gone again. ImageError."""
    runtime = _runtime()
    mounts = _mounts(order, place)
    missing = _missing(place.merged, [mount.target for mount in mounts])
    tree = _configuration(order, place, mounts)
    Path(place.folder, "config.json").write_bytes(orjson.dumps(tree))
    command = [runtime, "--root", place.state_dir]
    os.makedirs(place.state_dir, mode=0o700, exist_ok=True)
    log = os.path.join(place.folder, "runtime.log")
    started = [*command, "--log", log, "--log-format", "json", "run", "--bundle", place.folder, place.id]
    process = subprocess.Popen(
        started, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        assert process.stdout is not None, "it was asked for"
        while piece := os.read(process.stdout.fileno(), _CHUNK):
            output(piece)
        code = process.wait()
    finally:
        subprocess.run([*command, "delete", "--force", place.id], capture_output=True, check=False)
        process.kill()
        process.wait()
        host.remove_cgroup(CGROUP)
    for path in missing:
        _remove_if_empty(place, path)
    if code and (why := programs.error_text(programs.logged(log))):
        raise ImageError(f"the command could not be started: {why}")
    return code


def clear(folder: str) -> None:
    """Ends what a build that was killed left running; its runtime's state is below the folder."""
    for state in Path(folder).glob("*/state/*"):
        command = [_runtime(), "--root", str(state.parent), "delete", "--force", state.name]
        subprocess.run(command, capture_output=True, check=False)
        host.remove_cgroup(CGROUP)


def _runtime() -> str:
    for name in ("runc", "crun"):
        path = programs.find(name)
        if os.access(path, os.X_OK):
            return path
    raise ImageError("RUN needs runc, which is not installed; see: sampan doctor")


def _configuration(order: Run, place: Place, mounts: tuple[Mount, ...]) -> spec.Tree:
    config = ContainerConfig(
        pod_uid="build",
        pod_namespace="",
        pod_name="build",
        name="build",
        image=Image(""),
        command=order.arguments,
        env=order.environment,
        cwd=order.directory,
        mounts=mounts,
        netns=None if order.has_network else "",
        cgroup_parent=CGROUP,
        seccomp="RuntimeDefault",
    )
    fd = os.open(place.merged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = users.lookup(fd, order.user)
    except ValueError as error:
        raise ImageError(str(error)) from error
    finally:
        os.close(fd)
    if not any(name == "HOME" for name, _ in order.environment):
        config = _with_home(config, user.home)
    try:
        return spec.build(config, user, spec.Place(place.id, place.merged), host.inspect())
    except spec.SpecError as error:
        raise ImageError(str(error)) from error


def _with_home(config: ContainerConfig, home: str) -> ContainerConfig:
    return dataclasses.replace(config, env=(("HOME", home), *config.env))


def _mounts(order: Run, place: Place) -> tuple[Mount, ...]:
    found = []
    if order.has_network:
        for path, text in ((_NAMESERVERS, place.resolver), (_HOSTS, "")):
            copy = os.path.join(place.folder, os.path.basename(path))
            Path(copy).write_text(text or _read(path))
            os.chmod(copy, 0o644)
            found.append(Mount(copy, _resolved(place.merged, path)))
    if order.script:
        script = os.path.join(place.folder, "script")
        Path(script).write_text(order.script)
        os.chmod(script, 0o755)
        found.append(Mount(script, orders.SCRIPT, read_only=True))
    for mount in order.mounts:
        if mount.kind == "tmpfs":
            found.append(Mount("", mount.target, kind="tmpfs"))
        else:
            found.append(Mount(place.sources[mount.target], mount.target, read_only=mount.read_only))
    return tuple(found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _resolved(root: str, path: str) -> str:
    """Where the path leads in the root file system; itself if it leads nowhere that is there."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = rooted.open_in(fd, path, os.O_PATH)
    except OSError:
        return path
    finally:
        os.close(fd)
    try:
        real = os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
    top = os.path.realpath(root)
    return real.removeprefix(top) if real.startswith(top + "/") else path


_STANDARD = ("/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys", "/sys/fs/cgroup")


def _missing(root: str, targets: list[str]) -> list[str]:
    """The places that the runtime will make so that something can be mounted on them; the deepest first."""
    found = set()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target in (*_STANDARD, *targets):
            path = target
            while path != "/" and not _is_there(fd, path):
                found.add(path)
                path = os.path.dirname(path)
    finally:
        os.close(fd)
    return sorted(found, key=lambda path: (-path.count("/"), path))


def _is_there(fd: int, path: str) -> bool:
    try:
        os.close(rooted.open_in(fd, path, os.O_PATH))
    except OSError:
        return False
    return True


def _remove_if_empty(place: Place, path: str) -> None:
    """Through the mount, so that it knows of it."""
    fd = os.open(place.merged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parent = rooted.open_directory(fd, os.path.dirname(path))
    except OSError:
        return
    finally:
        os.close(fd)
    try:
        name = os.path.basename(path)
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif stat.S_ISREG(status.st_mode) and not status.st_size:
                os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)
