"""Pods' namespaces outlive the agent, out of the host's sight or where all find them, and move between these."""

import asyncio
import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.network import namespaces, pod_namespaces
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.settings import NetworkSettings
from sampan.node.network.threads import run_in_fresh_thread
from sampan.node.runtime.cri import parts as cri
from sampan.node.runtime.logs import Kept

pytestmark = pytest.mark.root

LAST_OF_FIRST_NAMESPACES = 0xF0000000 + 100
"""Numbers of the namespaces that the kernel makes when it starts are about 0xF0000000."""
KILLED = """
import asyncio, os, pickle, signal, sys
from sampan.node.network.pod_network import PodNetwork

async def main():
    network = PodNetwork(pickle.loads(bytes.fromhex(sys.argv[1])))
    await network.setup()
    await network.add("one")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def on_host(settings: NetworkSettings) -> list[str]:
    """What the host's table has below the node's folder."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(point for point in points if point.startswith(f"{settings.state_dir}/"))


def namespace_of(settings: NetworkSettings, uid: str) -> int:
    """The number of the pod's namespace."""
    return settings.namespace_path(uid).stat().st_ino


def in_new_namespace(settings: NetworkSettings, uid: str) -> None:
    """As a pod's network is made; in a thread that ends."""
    made = namespaces.enter_new()
    pod_namespaces.keep(settings, made, uid)
    os.close(made)


async def prepared(settings: NetworkSettings) -> tuple[NetworkSettings, int]:
    """As an agent begins."""
    return await run_in_fresh_thread(lambda: pod_namespaces.prepare(settings))


async def hidden_by(settings: NetworkSettings) -> int:
    """The same; the descriptor, which the caller closes."""
    found, opened = await prepared(settings)
    needs_hiding(found)
    return opened


def needs_hiding(settings: NetworkSettings) -> None:
    """A kernel that numbers namespaces by processors may refuse, but not in the machine's first mount namespace."""
    if settings.are_namespaces_shown:
        assert os.stat("/proc/self/ns/mnt").st_ino > LAST_OF_FIRST_NAMESPACES
        pytest.skip("mount namespaces can't be bound here")


async def test_the_hosts_table_does_not_grow_with_pods(network: PodNetwork) -> None:
    """Two mounts a node, however many pods it has; each pod's path leads to a namespace of its own."""
    settings = network.settings
    needs_hiding(settings)
    two = [str(settings.keeper.parent), str(settings.keeper)]
    assert on_host(settings) == two
    pods = await asyncio.gather(*(network.add(f"pod-{number}") for number in range(5)))
    assert on_host(settings) == two
    assert len({os.stat(pod.netns_path).st_ino for pod in pods}) == 5
    await asyncio.gather(*(network.remove(f"pod-{number}") for number in range(5)))
    assert os.listdir(settings.namespaces_dir) == []


async def test_no_mount_of_the_host_is_held_there(network: PodNetwork) -> None:
    """Where pods' namespaces are, nothing else is: what the host unmounts is free."""
    needs_hiding(network.settings)
    await network.add("one")

    def mounted() -> list[str]:
        table = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
        try:
            namespaces.enter_mounts(network.settings.keeper)
            os.fchdir(table)
            lines = Path(f"{threading.get_native_id()}/mountinfo").read_text().splitlines()
        finally:
            os.close(table)
        return [line.split()[4] for line in lines]

    assert await run_in_fresh_thread(mounted) == ["/", "/one"]


async def test_pods_of_a_killed_agent_are_found(
    unchanged_host: None, make_settings: Callable[..., NetworkSettings]
) -> None:
    """Its descriptors are gone with it; the next agent comes to the same namespaces by the same paths."""
    settings = make_settings()
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, pickle.dumps(settings).hex())
    code = await killed.wait()
    network = PodNetwork(settings)
    try:
        assert code == -signal.SIGKILL
        assert not settings.hidden_dir.exists()
        await network.setup()
        (pod,) = (await network.attachments()).values()
        inside = ("nsenter", f"--net={pod.netns_path}", "ip", "-br", "addr", "show", "eth0")
        assert pod.ip in subprocess.run(inside, check=True, capture_output=True, text=True).stdout
        await network.remove("one")
        assert await network.attachments() == {}
    finally:
        await network.teardown()


async def test_namespaces_move_when_others_are_to_find_them_and_back(
    unchanged_host: None, make_settings: Callable[..., NetworkSettings]
) -> None:
    """So that a node of an earlier version keeps its pods, and one that is given plugins; also where the move was broken off."""
    hidden = make_settings()
    shown = replace(hidden, shows_namespaces=True)
    try:
        assert await prepared(shown) == (shown, pod_namespaces.NOWHERE)
        for uid in ("one", "two"):
            await run_in_fresh_thread(lambda uid=uid: in_new_namespace(shown, uid))
        (shown.shown_dir / "lost").touch()  # in a reboot
        numbers = [namespace_of(shown, uid) for uid in ("one", "two")]
        assert on_host(shown) == [str(shown.shown_dir / uid) for uid in ("one", "two")]

        for _ in range(2):
            opened = await hidden_by(hidden)
            assert [namespace_of(hidden, uid) for uid in ("one", "two")] == numbers
            assert sorted(os.listdir(hidden.namespaces_dir)) == ["one", "two"]
            assert not hidden.shown_dir.exists() and len(on_host(hidden)) == 2
            namespace = os.open(hidden.namespace_path("one"), os.O_RDONLY)
            namespaces.bind(namespace, hidden.shown_dir / "one")  # it has begun to move back
            os.close(namespace)
            os.close(opened)

        assert await prepared(shown) == (shown, pod_namespaces.NOWHERE)
        assert [namespace_of(shown, uid) for uid in ("one", "two")] == numbers
        assert on_host(shown) == [str(shown.shown_dir / uid) for uid in ("one", "two")]
        assert not os.path.lexists(shown.hidden_dir) and not shown.keeper.parent.exists()
    finally:
        await run_in_fresh_thread(lambda: pod_namespaces.clear(hidden))
    assert os.listdir(hidden.state_dir) == []


async def test_others_find_the_files_on_the_host(make_settings: Callable[..., NetworkSettings], tmp_path: Path) -> None:
    """Plugins are told of them, and a CRI runtime's own plugin binds them: neither knows this agent's descriptors."""
    settings = make_settings()
    place = cri.Place("unix:///run/none.sock", str(tmp_path), str(tmp_path), Kept())
    made = cri.make(place, settings, SystemClock(), Tasks("test"))
    assert made.network.settings.namespaces_dir == make_settings(has_plugins=True).namespaces_dir == settings.shown_dir
    assert PodNetwork(settings).settings.namespaces_dir == settings.hidden_dir != settings.shown_dir


async def test_an_agent_killed_as_it_made_the_place_leaves_one_to_begin_anew(
    unchanged_host: None, make_settings: Callable[..., NetworkSettings]
) -> None:
    """Nothing is mounted twice, and nothing stays behind."""
    settings = make_settings()
    settings.keeper.parent.mkdir(parents=True)
    namespaces.bind_privately(settings.keeper.parent)
    os.symlink("/proc/1/fd/none", f"{settings.hidden_dir}.new")
    try:
        os.close(await hidden_by(settings))
        assert on_host(settings) == [str(settings.keeper.parent), str(settings.keeper)]
        os.symlink("/proc/1/fd/none", f"{settings.hidden_dir}.new")
    finally:
        await run_in_fresh_thread(lambda: pod_namespaces.clear(settings))
        await run_in_fresh_thread(lambda: pod_namespaces.clear(settings))
    assert os.listdir(settings.state_dir) == []


async def test_where_they_cannot_be_hidden_they_are_shown(
    unchanged_host: None, make_settings: Callable[..., NetworkSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that refuses costs no pod; an agent that may hide them takes them over, and leaves them there."""

    def refused(folder: Path) -> int:
        raise OSError(errno.EPERM, "unshare(CLONE_NEWNS): Operation not permitted")

    network = PodNetwork(make_settings())
    try:
        with monkeypatch.context() as patched:
            patched.setattr(namespaces, "enter_new_mounts", refused)
            await network.setup()
        pod = await network.add("one")
        assert Path(pod.netns_path) == network.settings.shown_dir / "one"
        assert on_host(network.settings) == [pod.netns_path]
        number = os.stat(pod.netns_path).st_ino
        await network.setup()
        moved = (await network.attachments())["one"]
        assert os.stat(moved.netns_path).st_ino == number
        assert moved.ip == pod.ip
        with monkeypatch.context() as patched:
            patched.setattr(namespaces, "enter_new_mounts", refused)
            await network.setup()
        assert await network.attachments() == {"one": moved}
    finally:
        await network.teardown()
