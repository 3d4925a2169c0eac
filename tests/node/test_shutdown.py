"""The machine's shutdown waits for the node's pods: their order, and logind's side of it over a real D-Bus."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node import logind, shutdown_order
from sampan.node.kubelet_config import KubeletConfig, PriorityShutdown
from sampan.node.logind import Logind, LogindError
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import EXITED, RUNNING
from sampan.node.shutdown import Shutdown
from tests.node.fake_logind import FakeLogind, until

CRITICAL = 2_000_000_000
CONFIG = KubeletConfig(shutdown_grace_period=30, shutdown_grace_period_critical_pods=10)


def pod(name: str, priority: int | None = None, grace: int | None = 30) -> dict[str, Any]:
    spec = {"priority": priority, "terminationGracePeriodSeconds": grace, "containers": []}
    return {"metadata": {"name": name, "uid": name}, "spec": {k: v for k, v in spec.items() if v is not None}}


def order(config: KubeletConfig, *pods: dict[str, Any]) -> list[tuple[int, list[str]]]:
    return [(g.seconds, [p["metadata"]["name"] for p in g.pods]) for g in shutdown_order.groups(config, pods)]


def test_critical_pods_end_last() -> None:
    """Within the part of the whole time that is theirs."""
    pods = pod("plain"), pod("critical", CRITICAL), pod("high", 1000)
    assert order(CONFIG, *pods) == [(20, ["plain", "high"]), (10, ["critical"])]
    assert order(CONFIG, pods[1]) == [(10, ["critical"])]
    assert shutdown_order.steps(KubeletConfig()) == ()
    assert shutdown_order.whole_seconds(CONFIG) == 30


def test_priorities_of_ones_own() -> None:
    """A pod is of the highest group that it reaches, and of the lowest when it reaches none."""
    steps = (PriorityShutdown(1000, 5), PriorityShutdown(0, 60), PriorityShutdown(100, 7))
    config = KubeletConfig(shutdown_grace_period_by_pod_priority=steps)
    pods = pod("a"), pod("b", 99), pod("c", 100), pod("d", 5000), pod("e", -3)
    assert order(config, *pods) == [(60, ["a", "b", "e"]), (7, ["c"]), (5, ["d"])]


def test_no_pod_has_longer_than_it_asked_for() -> None:
    """Nor longer than its group."""
    group = shutdown_order.Group(20, ())
    assert [shutdown_order.grace_seconds(pod("x", grace=grace), group) for grace in (30, 5, 0, None)] == [20, 5, 0, 20]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    override = tmp_path / "conf.d" / "99-kubelet.conf"
    monkeypatch.setattr(logind, "OVERRIDE", override)
    made = FakeLogind(tmp_path, 5.0, override)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
    yield made
    made.close()


def test_logind_allows_what_is_asked_for(fake: FakeLogind) -> None:
    """By a file of the kubelet's own, when it allows less; who isn't allowed it learns so."""
    found = Logind()
    assert found.longest_delay() == 5.0
    found.allow_delay(5.0)
    assert not logind.OVERRIDE.exists()
    found.allow_delay(30.0)
    assert found.longest_delay() == 30.0
    fake._override = None
    with pytest.raises(LogindError, match=r"InhibitDelayMaxUSec|InhibitDelayMaxSec \(30s\) is less than requested"):
        found.allow_delay(60.0)
    found.close()


def test_without_a_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said, and no more."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(LogindError, match="there is no system bus"):
        Logind()


class World:
    """A node with two pods, and what it says of itself."""

    def __init__(self) -> None:
        self.records = {}
        for name, priority in (("plain", 0), ("critical", CRITICAL)):
            record = PodRecord(pod(name, priority, grace=1))
            record.states["c"] = SimpleNamespace(state=RUNNING)  # type: ignore[assignment]
            self.records[name] = record
        self.unready: list[str] = []
        self.events: list[str] = []
        self.ended: list[str] = []
        self.gate = SimpleNamespace(checks_after=[])
        self.tasks = Tasks("test")
        heartbeat = SimpleNamespace(node=lambda: {"metadata": {"name": "n"}}, say_unready=self.unready.append)
        config = KubeletConfig(shutdown_grace_period=2, shutdown_grace_period_critical_pods=1)
        helpers: Any = heartbeat, self.gate, lambda _, event: self.events.append(event.message)
        self.shutdown = Shutdown(config, self.records, helpers, self.ended.append, SystemClock())
        self.shutdown.start(self.tasks)

    def end(self, name: str) -> None:
        self.records[name].states["c"] = SimpleNamespace(state=EXITED)  # type: ignore[assignment]
        self.records[name].pod = {**self.records[name].pod, "status": {"phase": "Failed"}}


async def soon(condition: Any) -> None:
    await asyncio.to_thread(until, condition)


@pytest.mark.slow
async def test_the_shutdown_waits_for_the_pods(fake: FakeLogind) -> None:
    """Plain ones first, then critical ones; no pod begins meanwhile, and then the machine may go down."""
    world = World()
    await soon(lambda: fake.is_delayed)
    assert fake.delays == [("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")]
    assert world.gate.checks_after[0]({}) is None
    fake.shut_down()
    await soon(lambda: world.ended == ["plain"])
    assert world.unready == ["node is shutting down"]
    text = "Pod was terminated in response to imminent node shutdown."
    ending = world.records["plain"].terminated
    assert ending is not None
    assert (ending.reason, ending.message, ending.disruption) == ("Terminated", text, text)
    reason = world.gate.checks_after[0]({})
    assert reason == ("NodeShutdown", "Pod was rejected as the node is shutting down.")
    assert fake.is_delayed
    world.end("plain")
    await soon(lambda: world.ended == ["plain", "critical"])
    world.end("critical")
    await soon(lambda: not fake.is_delayed)
    assert world.events == ["Shutdown manager detected shutdown event", "Node n status is now: NodeNotReady"]
    await world.tasks.close()


@pytest.mark.slow
async def test_pods_that_take_too_long(fake: FakeLogind) -> None:
    """Each group has its time and no more."""
    world = World()
    await soon(lambda: fake.is_delayed)
    fake.shut_down()
    await soon(lambda: world.ended == ["plain", "critical"])
    await soon(lambda: not fake.is_delayed)
    await world.tasks.close()


@pytest.mark.slow
async def test_a_shutdown_that_is_called_off(fake: FakeLogind) -> None:
    """The node is Ready again, takes pods, and delays the next one."""
    world = World()
    await soon(lambda: fake.is_delayed)
    fake.shut_down()
    await soon(lambda: world.ended == ["plain"])
    fake.shut_down(is_beginning=False)
    await soon(lambda: len(fake.delays) == 2)
    assert fake.is_delayed
    assert world.unready == ["node is shutting down", ""]
    assert world.gate.checks_after[0]({}) is None
    await world.tasks.close()
    await soon(lambda: not fake.is_delayed)
