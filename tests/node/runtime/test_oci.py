"""Real containers: they start, end, log, answer exec and attach, survive the agent and leave nothing behind."""

import asyncio
import contextlib
import dataclasses
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.kit import descriptors
from sampan.node.images.model import ImageError
from sampan.node.images.store import ImageStore
from sampan.node.runtime import bundle, logs, programs
from sampan.node.runtime.container import Container
from sampan.node.runtime.protocol import EXITED, RUNNING, ExecSession, Mount, Resources, RuntimeFailure
from tests.node.runtime.conftest import CriWorld, both

pytestmark = [pytest.mark.root, pytest.mark.slow]


async def read(session: ExecSession) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    async for stream, piece in session.output():
        found[stream] += piece
    return found


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@both
async def test_start_log_and_exit(world: Any) -> None:
    """A container runs its script with its environment; exit code, log and times are right."""
    config = world.config(
        "echo out; echo err >&2; echo $FROM $MORE $HOSTNAME; exit 3", env=(("MORE", "x"),), hostname="h"
    )
    state = await world.ended(config)
    assert (state.state, state.exit_code, state.reason) == (EXITED, 3, "Error")
    assert state.created_at <= state.started_at <= state.finished_at + 0.1
    assert sorted(world.log()) == ["stderr F err", "stdout F image x h", "stdout F out"]
    assert [found.id for found in await world.runtime.containers()] == [state.id]
    await world.runtime.remove(state.id)
    assert await world.runtime.containers() == []


@both
async def test_image_command_and_version(world: Any) -> None:
    """Without a command the image's is run; the version is the runtime's."""
    state = await world.ended(world.config())
    assert (state.exit_code, state.reason, world.log()) == (0, "Completed", ["stdout F from image"])
    assert world.runtime.version.startswith("containerd://1." if isinstance(world, CriWorld) else "runc://1.")


@both
async def test_no_leaked_descriptors(world: Any) -> None:
    """A container and an exec in it hold nothing but their three streams."""
    state = await world.runtime.start(world.config("sleep 100; true"))
    script = "for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do busybox test -L /proc/$0/fd/$fd && echo $fd; done"
    for pid in ("1", "self"):
        _, output = await world.runtime.exec_sync(state.id, ("sh", "-c", script.replace("$0", pid)), 60)
        assert output == b"0\n1\n2\n"


@both
@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("nope", 'exec: "nope": executable file not found in $PATH'),
        ("/nope", 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", 'exec: "/etc": permission denied'),
    ],
)
async def test_failed_start(command: str, text: str, world: Any) -> None:
    """What cannot be run fails with containerd's words and is kept as an exited container."""
    with pytest.raises(RuntimeFailure) as caught:
        await world.runtime.start(world.config(command=(command,)))
    assert caught.value.reason == "RunContainerError"
    assert caught.value.message == (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
        f"runc create failed: unable to start container process: {text}: unknown"
    )
    (state,) = await world.runtime.containers()
    assert state == caught.value.state
    assert (state.state, state.reason, state.exit_code) == (EXITED, "StartError", 128)
    await world.runtime.remove(state.id)


@both
@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"cwd": "relative"}, "CreateContainerError", "must be an absolute path"),
        ({"run_as_non_root": True}, "CreateContainerConfigError", "image will run as root"),
        ({"capabilities_add": ("NOPE",)}, "CreateContainerError", "unknown capability"),
    ],
)
async def test_impossible_config(changes: dict[str, Any], reason: str, text: str, world: Any) -> None:
    """What no container can be is refused and leaves nothing."""
    with pytest.raises(RuntimeFailure, match=text) as caught:
        await world.runtime.start(world.config("true", **changes))
    assert caught.value.reason == reason
    assert await world.runtime.containers() == []


@both
async def test_identity_mounts_and_limits(world: Any) -> None:
    """User, groups, mounts, a read-only root, dropped capabilities and the memory limit arrive."""
    (world.folder / "data").mkdir()
    (world.folder / "data/file").write_text("mounted\n")
    script = (
        "id; cat /data/file; echo x > /data/new; echo x > /root-file; head -n 5 /proc/self/status >/dev/null;"
        " cat /proc/self/status | busybox grep -E 'CapEff|NoNewPrivs'"
    )
    state = await world.ended(
        world.config(
            script,
            user=33,
            supplementary_groups=(77,),
            mounts=(Mount(str(world.folder / "data"), "/data", read_only=True),),
            read_only_root=True,
            capabilities_drop=("ALL",),
            no_new_privileges=True,
            seccomp="RuntimeDefault",
            resources=Resources(cpu_shares=100, cpu_quota=50_000, memory_limit=64 << 20, pids_limit=50),
        )
    )
    assert state.exit_code == 0
    lines = world.log()
    assert "stdout F uid=33(web) gid=34 groups=34,77" in lines
    assert "stdout F mounted" in lines
    assert sum("Read-only file system" in line for line in lines) == 2
    assert "stdout F CapEff:\t0000000000000000" in lines
    assert "stdout F NoNewPrivs:\t1" in lines


@both
async def test_out_of_memory(world: Any) -> None:
    """A container that the kernel kills for its memory says so, and leaves no file where the agent stands."""
    script = "exec busybox tail -c 100000000 /dev/zero"
    state = await world.ended(world.config(script, resources=Resources(memory_limit=16 << 20)))
    assert (state.reason, state.oom_killed) == ("OOMKilled", True)
    assert not os.path.exists("oom")


@both
async def test_stop(world: Any) -> None:
    """Stopping asks with the signal first, and kills when the grace is over."""
    kind = await world.runtime.start(world.config("trap 'exit 4' TERM; sleep 100 & wait", name="kind"))
    stubborn = await world.runtime.start(world.config("trap '' TERM; while true; do sleep 1; done", name="stubborn"))
    await asyncio.sleep(0.2)
    await asyncio.gather(world.runtime.stop(kind.id, "", 5), world.runtime.stop(stubborn.id, "SIGTERM", 0.3))
    codes = {state.name: state.exit_code for state in await world.runtime.containers()}
    assert codes == {"kind": 4, "stubborn": 137}


@both
async def test_exec(world: Any) -> None:
    """A process in the container has its streams, its exit code and the container's environment."""
    state = await world.runtime.start(world.config("sleep 100"))
    session = await world.runtime.exec(state.id, ("sh", "-c", "cat; echo $FROM >&2; exit 5"), stdin=True)
    await session.write(b"hello " * 50_000)
    await session.close_stdin()
    assert await read(session) == {"stdout": b"hello " * 50_000, "stderr": b"image\n"}
    assert await session.wait() == 5
    await session.close()
    with pytest.raises(RuntimeFailure, match='OCI runtime exec failed: .*exec: "nope": executable file not found'):
        await (await world.runtime.exec(state.id, ("nope",))).wait()


async def test_open_files(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that took all descriptors leaves its containers the limits that it was started with."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    monkeypatch.setattr(descriptors, "given", lambda: (777, hard))
    await world.crash()
    await world.agent()
    await world.ended(world.config("ulimit -Sn; ulimit -Hn"))
    shown = ["777", "unlimited" if hard == resource.RLIM_INFINITY else str(hard)]
    assert [line.split()[-1] for line in world.log()] == shown


@both
async def test_exec_terminal(world: Any) -> None:
    """With a terminal the process sees its size, also when it changes, and input is echoed."""
    state = await world.runtime.start(world.config("sleep 100"))
    session = await world.runtime.exec(state.id, ("sh",), tty=True, stdin=True)
    await session.resize(100, 30)
    await asyncio.sleep(0.1)
    await session.write(b"stty size; tty; exit 6\n")
    output = (await read(session))["stdout"]
    assert b"30 100\r\n" in output
    assert b"\r\r\n" not in output
    assert await session.wait() == 6
    await session.close()


@both
async def test_exec_sync_timeout(world: Any) -> None:
    """After the timeout the process is gone; output is bounded otherwise."""
    state = await world.runtime.start(world.config("sleep 100"))
    with pytest.raises(TimeoutError):
        await world.runtime.exec_sync(state.id, ("sleep", "777"), 0.3)
    _, output = await world.runtime.exec_sync(state.id, ("busybox", "ps"), 60)
    assert b"sleep 777" not in output
    code, output = await world.runtime.exec_sync(state.id, ("sh", "-c", "echo a; echo b >&2; exit 2"), 60)
    assert (code, sorted(output.split())) == (2, [b"a", b"b"])


@both
async def test_attach(world: Any) -> None:
    """Attaching gives the container's streams and its input; with stdin_once the input ends with the session."""
    state = await world.runtime.start(world.config("cat; echo end >&2", stdin=True, stdin_once=True))
    session = await world.runtime.attach(state.id)
    await session.write(b"typed\n")
    await session.close_stdin()
    assert await read(session) == {"stdout": b"typed\n", "stderr": b"end\n"}
    await session.close()
    await until(lambda: len(world.log()) == 2)


@both
async def test_attach_terminal(world: Any) -> None:
    """A container with a terminal is attached to with its size."""
    state = await world.runtime.start(world.config("read x; stty size; exit 1", tty=True, stdin=True))
    session = await world.runtime.attach(state.id)
    await session.resize(90, 20)
    await asyncio.sleep(0.1)
    await session.write(b"go\n")
    assert b"20 90" in (await read(session))["stdout"]
    await session.close()


@both
async def test_adoption(world: Any) -> None:
    """A new agent finds running containers running, ended ones with their exit codes, and still watches."""
    signs = world.folder / "signs"
    signs.mkdir()
    wait = "until test -e /signs/{}; do sleep 0.05; done; exit {}"
    mounts = (Mount(str(signs), "/signs"),)
    lasting = await world.runtime.start(world.config(wait.format("end", 9), name="lasting", mounts=mounts))
    short = await world.runtime.start(world.config(wait.format("crash", 8), name="short", mounts=mounts))
    await world.crash()
    (signs / "crash").touch()
    await until(lambda: not Path("/proc", str(short.pid)).exists())
    await world.agent()
    found = {state.name: state for state in await world.runtime.containers()}
    assert (found["lasting"].state, found["lasting"].pid) == (RUNNING, lasting.pid)
    (signs / "end").touch()
    is_known = found["short"].state == EXITED  # else a slow runtime has yet to note its end, and tells of it then
    told = {"lasting": 9} if isinstance(world, CriWorld) and is_known else {"lasting": 9, "short": 8}
    ends = {}
    async with asyncio.timeout(60):
        async for state in world.runtime.exits():
            ends[state.name] = state.exit_code
            if len(ends) == len(told):
                break
    assert ends == told
    found = {state.name: state for state in await world.runtime.containers()}
    assert (found["short"].state, found["short"].exit_code, found["short"].id) == (EXITED, 8, short.id)


async def test_agent_killed_while_starting(world: Any) -> None:
    """What an agent left half made is removed by the next."""
    task = asyncio.ensure_future(world.runtime._tools.of("").create(await _bundle(world)))
    await task
    await world.crash()
    await world.agent()
    assert await world.runtime.containers() == []
    assert list((world.folder / "node/c").iterdir()) == []


async def _bundle(world: Any) -> Any:
    from sampan.node.runtime import programs, record
    from sampan.node.runtime.container import Container

    runtime, config = world.runtime, world.config("sleep 100")
    container = Container(str(world.folder / "node/c/half"), record.create(config, "half", 0.0))
    await runtime._prepare(container, config)
    return programs.Bundle("half", "half", container.folder, "", tty=False, stdin=False, stdin_once=False)


async def test_conmon_killed(world: Any) -> None:
    """A container that lost its conmon is killed and reported, now or by the next agent."""
    first = await world.runtime.start(world.config("sleep 100", name="first"))
    os.kill(int((world.folder / "node/c" / first.id / "conmon.pid").read_text()), signal.SIGKILL)
    async with asyncio.timeout(60):
        state = await anext(world.runtime.exits())
    assert (state.exit_code, state.reason) == (137, "ContainerStatusUnknown")
    await until(lambda: not Path(f"/proc/{first.pid}/cwd").exists())
    second = await world.runtime.start(world.config("sleep 100", name="second"))
    await world.crash()
    os.kill(int((world.folder / "node/c" / second.id / "conmon.pid").read_text()), signal.SIGKILL)
    await asyncio.sleep(0.05)
    await world.agent()
    found = {state.name: state.reason for state in await world.runtime.containers()}
    assert found == {"first": "ContainerStatusUnknown", "second": "ContainerStatusUnknown"}
    await until(lambda: not Path(f"/proc/{second.pid}/cwd").exists())


@both
async def test_log_rotation(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that has grown is renamed and written anew, and only so many are kept."""
    settings = dataclasses.replace(world.runtime._settings, kept_logs=logs.Kept(max_bytes=100))
    monkeypatch.setattr(world.runtime, "_settings", settings)
    await world.runtime.start(world.config("while true; do echo 0123456789; sleep 0.02; done"))
    path = world.folder / "logs/main.log"
    await until(lambda: path.exists() and path.stat().st_size > 200)
    await world.runtime.rotate_logs()
    await until(lambda: path.exists() and path.stat().st_size > 0)
    assert len(list((world.folder / "logs").iterdir())) == 2


@both
async def test_many_at_once(world: Any) -> None:
    """Twenty containers start together."""
    configs = [world.config("sleep 100", name=f"c{number}") for number in range(20)]
    await asyncio.gather(*(world.runtime.start(config) for config in configs))
    assert [state.state for state in await world.runtime.containers()] == [RUNNING] * 20


@both
async def test_shared_process_namespace(world: Any) -> None:
    """A container can join another's processes."""
    first = await world.runtime.start(world.config("sleep 1234", name="first"))
    await world.ended(world.config("busybox ps", name="second", pid_of=first.id))
    assert any("sleep 1234" in line for line in world.log("second"))


async def test_cgroup_is_gone_with_the_last(world: Any) -> None:
    """The pod's cgroup goes with its last container."""
    state = await world.ended(world.config("true"))
    await world.runtime.remove(state.id)
    assert world.cgroups("burstable/poduid-1") == []


async def test_many_layers(world: Any) -> None:
    """An image of as many layers as there can be mounts, in order."""
    base = world.image.layer_dirs[0]
    folder = Path(base).parent
    layers = [base]
    for number in range(99):
        layer = folder / f"{number:026d}"
        layer.mkdir(exist_ok=True)
        (layer / "top").write_text(f"{number}\n")
        layers.append(str(layer))
    image = dataclasses.replace(world.image, layer_dirs=tuple(layers))
    await world.ended(world.config("cat /top", image=image))
    assert world.log() == ["stdout F 98"]


async def test_image_in_use(world: Any) -> None:
    """An image is not removed from under a container."""
    await world.runtime.start(world.config("sleep 100"))
    store = ImageStore(Path(world.image.layer_dirs[0]).parent.parent)
    with pytest.raises(ImageError, match="being used"):
        store.remove("busybox")
    assert store.prune()[0] == []
    await world.crash()
    await world.agent()
    with pytest.raises(ImageError, match="being used"):
        store.remove("busybox")


async def test_root_file_system_is_the_containers_own(world: Any) -> None:
    """Nothing is mounted on the host for each container, and it is there for a process that comes later."""
    state = await world.runtime.start(world.config("touch /new; sleep 100"))
    assert f"/{state.id}/" not in Path("/proc/self/mountinfo").read_text()
    code, output = await world.runtime.exec_sync(state.id, ("ls", "/new", "/bin/sh"), 60)
    assert (code, output.split()) == (0, [b"/bin/sh", b"/new"])
    await world.runtime.remove(state.id)


async def test_start_needs_no_runtime(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made container is let go by its pipe; when it has died meanwhile, the runtime is asked, which says so."""
    begun: list[str] = []
    run_runc = programs.Programs.run_runc

    async def seen(self: programs.Programs, *arguments: str) -> tuple[int, bytes]:
        begun.append(arguments[0])
        return await run_runc(self, *arguments)

    def kill(container: Container) -> None:
        container.signal(signal.SIGKILL)

    monkeypatch.setattr(programs.Programs, "run_runc", seen)
    state = await world.ended(world.config("echo here"))
    assert (state.exit_code, world.log(), "start" in begun) == (0, ["stdout F here"], False)
    monkeypatch.setattr(bundle, "settle", kill)
    with pytest.raises(RuntimeFailure, match="cannot start a container that has stopped"):
        await world.runtime.start(world.config("echo there", name="second"))
    assert "start" in begun


async def test_hung_program(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conmon or runc that never answers fails the start and leaves nothing."""
    slow = world.folder / "slow-runc"
    slow.write_text('#!/bin/sh\ncase $* in *create*) exec sleep 60;; esac\nexec /usr/sbin/runc "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(programs, "START_TIMEOUT_SECONDS", 0.5)
    world.settings = dataclasses.replace(world.settings, runc=str(slow))
    await world.crash()
    await world.agent()
    with pytest.raises(RuntimeFailure, match="deadline exceeded"):
        await world.runtime.start(world.config("true"))


@both
async def test_start_cancelled(world: Any) -> None:
    """A start that is given up half-way leaves nothing, wherever it was."""
    for pause in (0.0, 0.005, 0.02, 0.04, 0.06):
        task = asyncio.ensure_future(world.runtime.start(world.config("sleep 100")))
        await asyncio.sleep(pause)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for state in await world.runtime.containers():
            await world.runtime.remove(state.id)
    assert [left for left in world.leftovers() if world.parent not in left] == []


AGENT = """
import asyncio, sys
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node.images.model import Image
from sampan.node.runtime.oci import OciRuntime, Settings
from sampan.node.runtime.protocol import ContainerConfig

async def main(root, run, parent, layer):
    runtime = OciRuntime(Settings(root, run_root=run), SystemClock(), Tasks("agent"), SystemIds())
    await runtime.open()
    print("open", flush=True)
    async def churn(number):
        while True:
            state = await runtime.start(ContainerConfig(
                "uid", "default", "web", f"c{number}", Image("sha256:0", layer_dirs=(layer,)),
                command=("sleep", "100"), cgroup_parent=f"{parent}/pod{number}"))
            await runtime.exec_sync(state.id, ("true",), 60)
            await runtime.stop(state.id, "SIGKILL", 1)
            await runtime.remove(state.id)
    await asyncio.gather(*(churn(number) for number in range(3)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_agent_killed_at_any_time(world: Any) -> None:
    """After a kill -9 in the midst of starts, stops and removals the next agent has a consistent view and can end all."""
    await world.crash()
    layer = world.image.layer_dirs[0]
    for milliseconds in (20, 60, 130, 210, 333):
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", AGENT, world.settings.root, world.settings.run_root, world.parent, layer,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert agent.stdout is not None
        assert await agent.stdout.readline() == b"open\n"
        await asyncio.sleep(milliseconds / 1000)
        agent.kill()
        await agent.wait()
        await world.agent()
        for state in await world.runtime.containers():
            if state.state == RUNNING:
                assert await world.runtime.exec_sync(state.id, ("true",), 60) == (0, b"")
        names = [state.name for state in await world.runtime.containers()]
        assert len(names) == len(set(names))
        for state in await world.runtime.containers():
            await world.runtime.remove(state.id)
        await until(lambda: not os.listdir(world.folder / "node/c"))  # of a half-made one that may be a second attempt
        await world.crash()
    await world.agent()


async def test_deep_tree(world: Any) -> None:
    """A container that made a tree too deep to follow can still be removed."""
    fifty = "/".join(["d"] * 50)
    state = await world.ended(
        world.config(f"for i in $(busybox seq 30); do busybox mkdir -p {fifty}; cd {fifty}; done; true")
    )
    assert state.exit_code == 0
    await world.runtime.remove(state.id)
    assert list((world.folder / "node/c").iterdir()) == []
