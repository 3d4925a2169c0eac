"""Containers of a real containerd: its sandboxes come and go with the pods, and neither side minds the other's restart."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri import health, link, requests, sessions
from sampan.node.runtime.cri import runtime as cri_runtime
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.cri.runtime import CriRuntime, Settings
from sampan.node.runtime.protocol import EXITED, RUNNING, RuntimeFailure, RuntimeUnusable, Sandbox
from sampan.web import spdy
from tests.node.runtime import containerd as containerds
from tests.node.runtime.conftest import CriWorld, until

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(params=["cri"])
def world(world: CriWorld) -> CriWorld:
    """Only such a one."""
    return world


async def sandboxes(world: CriWorld) -> list[dict[str, Any]]:
    return list((await world.runtime._link.call("ListPodSandbox"))["items"])  # type: ignore[union-attr]


async def end_of(world: CriWorld, container_id: str) -> Any:
    async with asyncio.timeout(60):
        async for state in world.runtime.exits():
            if state.id == container_id:
                return state
    raise AssertionError


async def test_the_sandbox_goes_with_its_pod(world: CriWorld) -> None:
    """Containers of a pod share one, with its process namespace if they are to; it ends with the pod, before them it does not."""
    both = {"shares_processes": True, "netns": None}
    first = await world.runtime.start(world.config("sleep 1234", name="first", **both))
    second = await world.ended(world.config("busybox ps", name="second", **both))
    assert any("/pause" in line for line in world.log("second"))
    assert any("sleep 1234" in line for line in world.log("second"))
    (sandbox,) = await sandboxes(world)
    assert (sandbox["metadata"]["name"], world.runtime.pods()) == ("web", {"uid-1"})
    await world.runtime.remove(second.id)
    await world.runtime.release("uid-1")
    assert [(state.id, state.state) for state in await world.runtime.containers()] == [(first.id, EXITED)]
    (sandbox,) = await sandboxes(world)
    assert sandbox["state"] == 1
    await world.runtime.remove(first.id)
    assert await sandboxes(world) == []
    assert (world.runtime.pods(), world.cgroups("burstable/poduid-1")) == (set(), [])


async def test_containerd_restarts(world: CriWorld) -> None:
    """Its containers go on; one that ends meanwhile is seen to have ended, with its code, when it is back."""
    lasting = await world.runtime.start(world.config("sleep 100", name="lasting"))
    short = await world.runtime.start(world.config("sleep 0.5; exit 7", name="short"))
    world.server.kill()
    try:
        with pytest.raises(RuntimeFailure, match="onnection"):
            await world.runtime.start(world.config("true", name="none"))
        await until(lambda: not Path(f"/proc/{short.pid}").exists())
    finally:
        world.server.restart()
    assert (await end_of(world, short.id)).exit_code == 7
    assert await world.runtime.exec_sync(lasting.id, ("echo", "on"), 60) == (0, b"on\n")
    states = {state.name: state.state for state in await world.runtime.containers()}
    assert states == {"lasting": RUNNING, "short": EXITED}


async def test_a_sandbox_that_died(world: CriWorld) -> None:
    """The next start makes another one."""
    first = await world.runtime.start(world.config("sleep 100", name="first"))
    (sandbox,) = await sandboxes(world)
    answer = await world.runtime._link.call(  # type: ignore[union-attr]
        "StopPodSandbox", {"pod_sandbox_id": sandbox["id"]}
    )
    assert answer == {}
    assert (await end_of(world, first.id)).exit_code == 137
    second = await world.runtime.start(world.config("sleep 100", name="second"))
    (other,) = await sandboxes(world)
    assert (other["metadata"]["attempt"], second.state) == (1, RUNNING)


async def test_an_agent_that_was_killed_half_way(world: CriWorld) -> None:
    """A sandbox without containers, and a container that was not started, are removed by the next agent."""
    runtime: Any = world.runtime
    config = world.config("sleep 100")
    await runtime._handover.ensure(config.image)
    made = await runtime._created(config, requests.container(config, world.cri.owner, runtime._host))
    await runtime._sandboxes.get(world.config("sleep 100", pod_uid="uid-2"))
    assert (len(made), len(await sandboxes(world))) == (2, 2)
    await world.crash()
    await world.agent()
    assert await sandboxes(world) == []
    assert await world.runtime.containers() == []


async def test_starts_that_are_broken_off(world: CriWorld) -> None:
    """Whatever an agent was at when it died: the next one finds the container running, or can start it."""
    for pause in (0.02, 0.1, 0.2, 0.35):
        config = world.config("sleep 100", pod_uid=f"uid-{pause}", pod_name=f"web-{pause}")
        start = asyncio.ensure_future(world.runtime.start(config))
        await asyncio.sleep(pause)
        await world.crash()
        await asyncio.gather(start, return_exceptions=True)
        await world.agent()
        mine = [state for state in await world.runtime.containers() if state.pod_uid == config.pod_uid]
        found = mine[0] if mine else await world.runtime.start(config)
        assert (found.state, found.attempt) == (RUNNING, 0), found


async def test_a_container_removed_by_somebody_else(world: CriWorld) -> None:
    """It is reported as lost; and an image that somebody removed is handed over again."""
    state = await world.runtime.start(world.config("sleep 100"))
    await asyncio.to_thread(world.server.ctr, "tasks", "kill", "--signal", "KILL", state.id)
    assert (await end_of(world, state.id)).exit_code == 137
    await world.runtime.remove(state.id)
    await world.runtime._link.call("RemoveImage", {"image": {"image": world.image.id}})  # type: ignore[union-attr]
    again = await world.ended(world.config("exit 3", attempt=1))
    assert (again.exit_code, again.attempt) == (3, 1)


async def test_signals(world: CriWorld) -> None:
    """A stop signal of the pod's own, and any signal at once."""
    trap = (
        "trap 'exit 5' USR1; trap 'exit 6' TERM; trap 'echo got' USR2; echo up; while true; do busybox sleep 0.02; done"
    )
    first = await world.runtime.start(world.config(trap, stop_signal="SIGUSR1"))
    await until(lambda: "stdout F up" in world.log())
    await world.runtime.kill(first.id, "SIGUSR2")
    await until(lambda: "stdout F got" in world.log())
    await world.runtime.stop(first.id, "", 5)
    assert [state.exit_code for state in await world.runtime.containers()] == [5]


async def test_what_it_can_not_do(world: CriWorld) -> None:
    """What this version would leave out is refused by name."""
    for changes, words in (
        ({"only_named_groups": True}, "SupplementalGroupsPolicy=Strict is not supported in this node"),
        ({"cdi_devices": ("vendor.com/x=y",)}, "gives containers no CDI devices"),
    ):
        with pytest.raises(RuntimeFailure, match=words):
            await world.runtime.start(world.config("true", **changes))
    for sandbox, words in (
        (Sandbox("uid-1", own_users=True), "does not support user namespaces"),
        (Sandbox("uid-1", handler="other"), 'no runtime for "other" is configured'),
    ):
        with pytest.raises(RuntimeFailure, match=words):
            await world.runtime.prepare(sandbox)
    assert await world.runtime.prepare(Sandbox("uid-1", handler="runc")) == ""


async def test_a_containerd_that_stands_still(world: CriWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is told, commands fail at once, and what was to begin does when it goes on: once, and nothing else has ended."""
    said = list[str]()
    await world.crash()
    monkeypatch.setattr(cri_runtime, "_overlook", said.append)
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.5)
    await world.agent()
    first = await world.runtime.start(world.config("sleep 1000", name="first"))
    world.server.process.send_signal(signal.SIGSTOP)
    try:
        await until(lambda: said[-1:] == [health.DOWN])
        for command in (world.runtime.exec(first.id, ("true",)), world.runtime.exec_sync(first.id, ("true",), 1.0)):
            with pytest.raises(RuntimeFailure, match=health.DOWN):
                await command
        starting = asyncio.ensure_future(world.runtime.start(world.config("sleep 1000", name="second")))
        await asyncio.wait({starting}, timeout=0.1)
        assert not starting.done()
    finally:
        world.server.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(60):
        second = await starting
    assert said[-1] == ""
    found = {(state.id, state.state) for state in await world.runtime.containers()}
    assert found == {(first.id, RUNNING), (second.id, RUNNING)}
    listed = await world.runtime._link.call("ListContainers")  # type: ignore[union-attr]
    assert {each["id"] for each in listed["containers"]} == {first.id, second.id}
    assert len(await sandboxes(world)) == 1


async def test_a_containerd_of_somebody_else(world: CriWorld) -> None:
    """One that runs pods of another cluster is not taken: the network configuration would be theirs too."""
    other = Link(world.server.socket)
    linux = {"security_context": {"namespace_options": {"network": 2}}}
    request = {"config": {"metadata": {"name": "n", "uid": "u", "namespace": "d"}, "linux": linux}}
    made = await other.call("RunPodSandbox", request)
    try:
        world.runtime.plugin.uninstall()  # type: ignore[union-attr]
        while (await other.facts()).is_network_ready:
            await asyncio.sleep(0.01)
        settings = Settings(world.server.socket, str(world.folder / "second"), world.cri.images, world.folder / "run")
        tasks = Tasks("test")
        second = CriRuntime(settings, Link(world.server.socket), SystemClock(), tasks)
        with pytest.raises(RuntimeUnusable, match="already runs pods of another cluster"):
            await second.open()
        await second.close()
        await tasks.close()
        assert not (world.folder / "second").exists()
    finally:
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            await other.call(method, {"pod_sandbox_id": made["pod_sandbox_id"]})
        other.close()


def test_refusals(tmp_path: Path) -> None:
    """No socket, nobody behind it, a containerd without CRI: each is said, with the mend."""
    with pytest.raises(RuntimeUnusable, match="there is no socket at unix:///.*: is containerd running"):
        link.check(f"unix://{tmp_path}/none.sock")
    with containerds.running(disabled="io.containerd.grpc.v1.cri") as server:
        with pytest.raises(RuntimeUnusable, match='does not offer CRI v1 .*take "cri" out of disabled_plugins'):
            link.check(server.endpoint)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        with pytest.raises(RuntimeUnusable, match="does not answer: .*connection refused"):
            link.check(server.endpoint)


async def test_a_lost_call(tmp_path: Path) -> None:
    """A runtime that isn't there is an error, and no hang."""
    gone = Link(str(tmp_path / "none.sock"))
    with pytest.raises(RpcError, match="no such file or directory"):
        await gone.call("Version")
    gone.close()


async def test_a_session_that_nobody_listens_to_ends() -> None:
    """Also while there is more output than it keeps."""

    class Connection:
        async def read(self, size: int) -> bytes:
            return spdy.Connection().data(3, b"y")

        def write(self, data: bytes) -> None: ...

        def close(self) -> None: ...

    connection: Any = Connection()
    session = sessions.Session(connection, connection, tty=False, stdin=False)
    session.pump = asyncio.ensure_future(session.read_all())
    async with asyncio.timeout(60):
        while not session._chunks.full():
            await asyncio.sleep(0)
        await session.close()
