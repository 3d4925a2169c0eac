"""Where pods' network namespaces are kept: in a mount namespace of the node's own, in which there is nothing else.

Each is a mount. In the host's table everybody who reads that would read them all, and runc does so several times for a
container, each of which gets a copy of the table as well. The mount namespace is bound to a file on the host, so it outlives the
agent; paths lead into it by a directory that the agent has open, to which `namespaces_dir` is a link. Who is not in it
can read there, but mounts nothing: that takes a thread of its own.

Where others are to find the namespaces (network plugins, another's runtime), or the kernel refuses to hide them, their files
are the host's. `prepare` moves those that an agent with other settings, or of an earlier version, has kept elsewhere.

https://man7.org/linux/man-pages/man7/mount_namespaces.7.html
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sampan.kit import threads
from sampan.node.network import namespaces
from sampan.node.network.settings import NetworkSettings

T = TypeVar("T")
log = logging.getLogger(__name__)

NOWHERE = -1


def prepare(settings: NetworkSettings) -> tuple[NetworkSettings, int]:
    """Namespaces can be kept, and those that are kept already are found. OSError.

    The settings that hold from now on, by which namespaces are shown where this machine can't hide them; and a
    descriptor that stays open as long as their paths are used, or NOWHERE. In a thread that may wait.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.are_namespaces_shown:
        settings.namespaces_dir.mkdir(exist_ok=True, mode=0o700)
        if namespaces.is_bound(settings.keeper):
            _show_all(settings)
        return settings, NOWHERE
    if not namespaces.is_bound(settings.keeper):
        try:
            _make_keeper(settings)
        except OSError as error:
            log.info("the files of pods' network namespaces are the host's: %s", error)
            _remove_keeper(settings)
            return prepare(replace(settings, shows_namespaces=True))
    return settings, _hide_all(settings)


def keep(settings: NetworkSettings, namespace: int, uid: str) -> None:
    """The pod's namespace outlives all who are in it, until it is dropped. OSError."""
    if settings.are_namespaces_shown:
        namespaces.bind(namespace, settings.namespace_path(uid))
    else:
        _hide(settings, namespace, uid)


def drop(settings: NetworkSettings, uid: str) -> None:
    """A namespace that nobody else uses ends. Repeating is harmless. OSError."""
    if settings.are_namespaces_shown:
        namespaces.remove(settings.namespace_path(uid))
    elif os.path.lexists(settings.namespace_path(uid)):
        _inside(settings, lambda: namespaces.remove(Path("/", uid)))


def clear(settings: NetworkSettings) -> None:
    """Nothing is left of any, wherever it was kept. Repeating is harmless. OSError."""
    for name in _names(settings.shown_dir):
        namespaces.remove(settings.shown_dir / name)
    with contextlib.suppress(OSError):
        settings.shown_dir.rmdir()
    _remove_keeper(settings)


def _hide_all(settings: NetworkSettings) -> int:
    """What was kept where all find it is not the host's any more."""
    root = _opened(settings)
    _lead(settings.hidden_dir, root)
    for name in _names(settings.shown_dir):
        _move(settings.shown_dir / name, settings.hidden_dir / name, partial(_hide, settings, uid=name))
        namespaces.remove(settings.shown_dir / name)
    with contextlib.suppress(OSError):
        settings.shown_dir.rmdir()
    return root


def _show_all(settings: NetworkSettings) -> None:
    """What was kept where nobody looks is the host's now."""
    root = _opened(settings)
    try:
        _lead(settings.hidden_dir, root)
        for name in _names(settings.hidden_dir):
            target = settings.shown_dir / name
            _move(settings.hidden_dir / name, target, partial(namespaces.bind, path=target))
    finally:
        os.close(root)
    _remove_keeper(settings)


def _move(source: Path, target: Path, keep_there: Callable[[int], None]) -> None:
    """It is in both places then, also when an agent was killed at that."""
    if namespaces.is_bound(source) and not namespaces.is_bound(target):
        namespace = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            keep_there(namespace)
        finally:
            os.close(namespace)


def _hide(settings: NetworkSettings, namespace: int, uid: str) -> None:
    _inside(settings, lambda: namespaces.bind(namespace, Path("/", uid), descriptors="."))


def _opened(settings: NetworkSettings) -> int:
    return _inside(settings, lambda: os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _lead(link: Path, root: int) -> None:
    fresh = _fresh(link)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"/proc/{os.getpid()}/fd/{root}")
    fresh.replace(link)


def _fresh(link: Path) -> Path:
    return link.with_name(f"{link.name}.new")


def _make_keeper(settings: NetworkSettings) -> None:
    """The kernel binds a mount namespace only where mounts stay: so in a folder that is a private mount itself.

    And only one with a higher number than the agent's own, which since about Linux 6.18 each processor gives out by itself: the
    one that made the agent's gives a higher one.
    """
    folder = settings.keeper.parent
    folder.mkdir(exist_ok=True, mode=0o700)
    namespaces.detach(folder)  # what an agent that was killed had begun
    namespaces.bind_privately(folder)
    for processor in sorted(os.sched_getaffinity(0)):
        made = _in_thread(partial(_new_mounts, folder, processor))
        try:
            namespaces.bind(made, settings.keeper)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return
        finally:
            os.close(made)
    raise OSError(errno.EINVAL, f"mount {settings.keeper}: {os.strerror(errno.EINVAL)}")


def _new_mounts(folder: Path, processor: int) -> int:
    os.sched_setaffinity(0, {processor})
    return namespaces.enter_new_mounts(folder)


def _remove_keeper(settings: NetworkSettings) -> None:
    folder = settings.keeper.parent
    namespaces.remove(settings.keeper)
    if folder.is_dir():
        namespaces.detach(folder)
        folder.rmdir()
    for link in (settings.hidden_dir, _fresh(settings.hidden_dir)):
        link.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    """Sorted; none of a folder that isn't there, or that leads to an agent that isn't."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _inside(settings: NetworkSettings, errand: Callable[[], T]) -> T:
    """What comes of it where the files are; this process' descriptors are the directory, since there is no /proc."""

    def body() -> T:
        descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            namespaces.enter_mounts(settings.keeper)
            os.fchdir(descriptors)
            return errand()
        finally:
            os.close(descriptors)

    return _in_thread(body)


def _in_thread(errand: Callable[[], T]) -> T:
    """In one that ends with it, since there is no way back; the caller waits the well under a millisecond."""
    outcome: Future[T] = Future()

    def body() -> None:
        try:
            outcome.set_result(errand())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            outcome.set_exception(error)

    thread = threads.start(body, "sampan-namespaces")
    thread.join()
    return outcome.result()
