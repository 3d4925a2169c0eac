"""A start that is given up while the runtime makes the container: that comes about, and is then taken away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.beginnings import Beginnings
from sampan.node.images.model import Image
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import host, pod_limits
from sampan.node.runtime.cri import runtime as cri_runtime
from sampan.node.runtime.cri.link import Facts
from sampan.node.runtime.cri.runtime import CriRuntime, Settings
from sampan.node.runtime.protocol import RUNNING, ContainerConfig, ContainerState, RuntimeFailure


class Link:
    """A runtime that takes its time over one method, and then does it or fails."""

    def __init__(self, slow: str, failure: Exception | None = None) -> None:
        self.slow, self.failure = slow, failure
        self.asked: list[str] = []
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, method: str, request: Any = None, seconds: float = 0.0) -> dict[str, Any]:
        if method == self.slow:
            self.reached.set()
            await self.go_on.wait()
            if self.failure is not None:
                raise self.failure
        self.asked.append(method)
        return {"RunPodSandbox": {"pod_sandbox_id": "s"}, "CreateContainer": {"container_id": "c"}}.get(method, {})


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks("test")
    yield made
    await made.close()


async def nothing(*arguments: Any) -> None: ...


def opened(link: Link, tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CriRuntime:
    settings = Settings("/nowhere.sock", str(folder / "node"), str(folder / "images"), folder / "run")
    made = CriRuntime(settings, link, SystemClock(), tasks)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_host", host.inspect())
    monkeypatch.setattr(made, "_facts", Facts("containerd", "1.6.20", True, {}, {}, {}))
    monkeypatch.setattr(made._handover, "ensure", nothing)
    monkeypatch.setattr(made._handover, "ensure_sandbox_image", nothing)
    monkeypatch.setattr(pod_limits, "apply", lambda *arguments: None)
    return made


def container(folder: Path) -> ContainerConfig:
    return ContainerConfig(
        "uid-1", "default", "web", "main", Image("sha256:0", layer_dirs=(str(folder),)), command=("true",),
        cgroup_parent="below/pod", log_path=str(folder / "logs/0.log"),
    )  # fmt: skip


async def given_up(link: Link, tasks: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CriRuntime:
    """A runtime whose start was cancelled in the middle of that, and has ended."""
    made = opened(link, tasks, folder, monkeypatch)
    starting = asyncio.ensure_future(made.start(container(folder)))
    await link.reached.wait()
    starting.cancel()
    await asyncio.sleep(0)
    assert not starting.done()
    link.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    return made


@pytest.mark.parametrize("slow", ["RunPodSandbox", "CreateContainer"])
async def test_what_was_asked_for_is_taken_away(
    slow: str, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container goes; the pod's sandbox is known, so that it goes with the pod."""
    link = Link(slow)
    made = await given_up(link, tasks, tmp_path, monkeypatch)
    assert link.asked == ["RunPodSandbox", "CreateContainer", "RemoveContainer"]
    assert made.pods() == {"uid-1"}


@pytest.mark.parametrize("failure", [RpcError("Unknown", "it could not be made"), OSError(28, "No space left")])
async def test_what_fails_meanwhile_needs_nothing(
    failure: Exception, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told: nobody waits any more. The start is given up all the same."""
    link = Link("RunPodSandbox", failure)
    made = await given_up(link, tasks, tmp_path, monkeypatch)
    assert link.asked == []
    assert made.pods() == set()


async def test_what_never_comes_about_is_broken_off(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that has an end."""
    monkeypatch.setattr(cri_runtime, "GIVE_UP_SECONDS", 0.01)
    link = Link("CreateContainer")
    starting = asyncio.ensure_future(opened(link, tasks, tmp_path, monkeypatch).start(container(tmp_path)))
    await link.reached.wait()
    starting.cancel()
    await asyncio.wait([starting], timeout=60)
    assert starting.cancelled()
    assert link.asked == ["RunPodSandbox"]


class LateLink(Link):
    """One that has made the sandbox though it never said so."""

    async def call(self, method: str, request: Any = None, seconds: float = 0.0) -> dict[str, Any]:
        answer = await super().call(method, request, seconds)
        made = [{"id": f"s-{uid}", "metadata": {"uid": uid, "attempt": 0}} for uid in ("uid-1", "uid-2")]
        return {"items": made} if method == "ListPodSandbox" else answer


async def test_a_sandbox_that_comes_late_goes_with_its_pod(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for, and broken off without an answer; no other pod's goes."""
    monkeypatch.setattr(cri_runtime, "GIVE_UP_SECONDS", 0.01)
    link = LateLink("RunPodSandbox")
    made = opened(link, tasks, tmp_path, monkeypatch)
    starting = asyncio.ensure_future(made.start(container(tmp_path)))
    await link.reached.wait()
    starting.cancel()
    await asyncio.wait([starting], timeout=60)
    assert starting.cancelled() and link.asked == []
    await made.release("uid-1")
    assert link.asked == ["ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
    await made.release("uid-1")
    assert link.asked[3:] == []


@pytest.mark.parametrize("step", ["ensure", "ensure_sandbox_image"])
async def test_handing_over_an_image_is_broken_off_at_once(
    step: str, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a container could not be made because its image was removed: nothing has come about yet."""
    reached, link = asyncio.Event(), Link("CreateContainer", RpcError("NotFound", "image not found"))
    made = opened(link, tasks, tmp_path, monkeypatch)

    async def slow(*arguments: Any) -> None:
        if step != "ensure" or link.reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(made._handover, step, slow)
    link.go_on.set()
    starting = asyncio.ensure_future(made.start(container(tmp_path)))
    await reached.wait()
    starting.cancel()
    await asyncio.wait([starting], timeout=60)
    assert starting.cancelled()
    assert len(asyncio.all_tasks()) == 1


async def test_a_command_over_its_time(tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not given up before the runtime has ended it: a call that is broken off may leave it behind."""
    link = Link("ExecSync", RpcError("DeadlineExceeded", "timeout 1s exceeded: context deadline exceeded"))
    made = opened(link, tasks, tmp_path, monkeypatch)
    monkeypatch.setattr(made, "_running", lambda container_id: None)
    asking = asyncio.ensure_future(made.exec_sync("c", ("sleep", "9"), 0.01))
    await link.reached.wait()
    await asyncio.wait({asking}, timeout=0.1)
    assert not asking.done()
    link.go_on.set()
    with pytest.raises(TimeoutError):
        await asking


class Pinned:
    """A watcher that takes the container as it is."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[ContainerState] = asyncio.Queue()

    async def add(self, container_id: str, sandbox_id: str) -> Any:
        state = ContainerState(container_id, "uid-1", "default", "web", "main", 0, "", "", RUNNING)
        return SimpleNamespace(state=state, ended=asyncio.Event())


async def test_who_gives_up_one_that_is_just_beginning(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Has it: its process may run already, so it ends like all others, with its hooks and its grace."""
    link = Link("StartContainer")
    made = opened(link, tasks, tmp_path, monkeypatch)
    monkeypatch.setattr(made, "_watcher", Pinned())
    beginnings = Beginnings()

    async def start() -> ContainerState:
        async with beginnings.one():
            return await made.start(container(tmp_path))

    starting = asyncio.ensure_future(start())
    await link.reached.wait()
    monkeypatch.setattr("sampan.node.beginnings.PATIENCE_SECONDS", 0.0)
    beginnings.give_up()
    await asyncio.wait([starting], timeout=0.1)
    assert not starting.done()
    link.go_on.set()
    assert (await starting).state == RUNNING
    assert link.asked[-1] == "StartContainer"


async def test_an_agent_that_ends_meanwhile(tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the container to the next one, and goes."""
    link = Link("StartContainer")
    made = opened(link, tasks, tmp_path, monkeypatch)
    monkeypatch.setattr(made, "_watcher", Pinned())

    async def start() -> None:
        async with Beginnings().one():
            await made.start(container(tmp_path))
        await asyncio.Event().wait()

    starting = asyncio.ensure_future(start())
    await link.reached.wait()
    starting.cancel()
    link.go_on.set()
    await asyncio.wait([starting], timeout=60)
    assert starting.cancelled() and "RemoveContainer" not in link.asked


async def test_one_that_never_begins_is_taken_away(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that has an end."""
    monkeypatch.setattr(cri_runtime, "GIVE_UP_SECONDS", 0.01)
    link = Link("StartContainer")
    starting = asyncio.ensure_future(opened(link, tasks, tmp_path, monkeypatch).start(container(tmp_path)))
    await link.reached.wait()
    starting.cancel()
    await asyncio.wait([starting], timeout=60)
    assert starting.cancelled() and link.asked[-1] == "RemoveContainer"


async def test_nothing_is_begun_while_the_runtime_is_down(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits can be broken off; what is still wanted begins with the runtime's first answer."""
    link = Link("nothing")
    made = opened(link, tasks, tmp_path, monkeypatch)
    made._health._note(is_down=True)
    unwanted, wanted = (asyncio.ensure_future(made.start(container(tmp_path))) for _ in range(2))
    await asyncio.sleep(0)
    unwanted.cancel()
    await asyncio.wait([unwanted])
    assert unwanted.cancelled() and link.asked == []
    made._health._note(is_down=False)
    await asyncio.wait([wanted], timeout=60)
    assert link.asked[:2] == ["RunPodSandbox", "CreateContainer"]
    wanted.exception()


async def test_a_pods_first_question(tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a runtime hangs over the image of sandboxes is told of the sandbox, as a kubelet does."""
    made = opened(Link("nothing"), tasks, tmp_path, monkeypatch)

    async def silent(name: str) -> None:
        error = RpcError("DeadlineExceeded", "context deadline exceeded")
        raise RuntimeFailure("ImageInspectError", str(error)) from error

    monkeypatch.setattr(made._handover, "ensure_sandbox_image", silent)
    with pytest.raises(RuntimeFailure) as failed:
        await made.start(container(tmp_path))
    assert failed.value.reason == "FailedCreatePodSandBox"
    assert failed.value.message == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


async def test_commands_of_a_runtime_that_goes_down(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end with the words of the node's condition; that is no verdict of a probe, as a command's own time-out is."""
    link = Link("ExecSync")
    made = opened(link, tasks, tmp_path, monkeypatch)
    monkeypatch.setattr(made, "_running", lambda container_id: SimpleNamespace(stdin=False, tty=False))
    asked = asyncio.ensure_future(made.exec_sync("c", ("true",), 1.0))
    await link.reached.wait()
    made._health._note(is_down=True)
    for each in (asked, made.exec("c", ("true",)), made.attach("c")):
        with pytest.raises(RuntimeFailure, match="container runtime is down"):
            await each
    assert link.asked == []
    made._health._note(is_down=False)
    link.failure = RpcError("DeadlineExceeded", "timeout 1s exceeded: context deadline exceeded")
    link.go_on.set()
    with pytest.raises(TimeoutError):
        await made.exec_sync("c", ("true",), 1.0)
