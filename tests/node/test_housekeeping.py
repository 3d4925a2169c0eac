"""Housekeeping on a node whose machine is made up: pods evicted one by one, images removed, and what is said of it."""

import dataclasses
from typing import Any

import pytest

from sampan.kinds.core.pod import POD
from sampan.kit.tasks import Tasks
from sampan.meta import conditions
from sampan.node import thresholds
from sampan.node.housekeeping import Housekeeping
from sampan.node.images.model import Image
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.thresholds import Amount
from tests.node.machines import MIB, PLENTY, FakeMachine, Meter

LOW = Amount(50 * MIB, 1000 * MIB)


class Kept:
    """A node that is looked after."""

    def __init__(self, node: Any, kubelet: KubeletConfig) -> None:
        self.node, self.machine, self.meter = node, FakeMachine(), Meter()
        self.removed: list[str] = []
        self.left_afterwards: dict[str, Amount] = {}
        agent = node.agent
        agent.parts = dataclasses.replace(agent.parts, meter=self.meter)
        agent.settings = dataclasses.replace(agent.settings, kubelet=kubelet)
        self.tasks = Tasks("housekeeping")
        self.kept_by_builds: list[int] = []
        self.keeping = Housekeeping(agent, self.machine, self.remove, self.forget_builds)

    async def remove(self, image_id: str) -> bool:
        self.removed.append(image_id)
        self.machine.left |= self.left_afterwards
        self.node.images.known = [i for i in self.node.images.list() if i.id != image_id]
        return True

    async def forget_builds(self) -> int:
        return self.kept_by_builds.pop() if self.kept_by_builds else 0

    def start(self) -> None:
        async def begin() -> None:
            self.keeping.start(self.tasks)

        self.node.loop.run_until_complete(begin())

    def pod(self, name: str, **spec: Any) -> None:
        made = {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
        spec = {"containers": [{"name": "app", "image": "app:1"}], "nodeName": "node-1", **spec}
        self.node.client.put(POD, {"metadata": made, "spec": spec, "status": {"phase": "Pending"}})

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.node.client.find("pods", name)["status"]
        return found

    def says(self, type: str) -> str:
        found = conditions.find(self.node.client.find("nodes", "node-1", "")["status"]["conditions"], type)
        return f"{found['status']} {found['reason']}: {found['message']}"


@pytest.fixture
def keep(node: Any) -> Any:
    """Begins to look after the node, with a configuration."""
    made: list[Kept] = []

    def begin(kubelet: KubeletConfig | None = None) -> Kept:
        made.append(Kept(node, kubelet or KubeletConfig()))
        return made[-1]

    yield begin
    for kept in made:
        node.loop.run_until_complete(kept.tasks.close())


def test_memory_pressure(keep: Any, node: Any) -> None:
    """The pod that uses the most beyond its request goes, one in a round; the node says so; newcomers are turned away."""
    kept = keep()
    kept.pod("small")
    kept.pod("large")
    kept.pod("vital", priority=2_000_000_000)
    kept.meter.memory |= {"large": 20 * MIB, "vital": 500 * MIB}
    kept.machine.left = {thresholds.MEMORY: PLENTY}
    kept.start()
    node.loop.advance(1)
    assert kept.says("MemoryPressure") == "False KubeletHasSufficientMemory: kubelet has sufficient memory available"
    kept.machine.left = {thresholds.MEMORY: LOW}
    node.loop.advance(11)
    text = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container app was using 20Mi, request is 0, has larger consumption of memory. "
    )
    status = kept.status("large")
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", text)
    disruption = conditions.find(status["conditions"], "DisruptionTarget")
    assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
    assert disruption["message"] == text
    assert node.runtime.stops[0][1] == 2.0  # the shortest grace that a signal gets
    assert kept.says("MemoryPressure") == "True KubeletHasInsufficientMemory: kubelet has insufficient memory available"
    events = node.client.events()
    assert ("EvictionThresholdMet", "Attempting to reclaim memory") in events
    assert ("Evicted", text) in events
    assert ("NodeHasInsufficientMemory", "Node node-1 status is now: NodeHasInsufficientMemory") in events
    assert kept.status("small")["phase"] == "Running"
    kept.machine.left = {thresholds.MEMORY: PLENTY}
    kept.pod("late")
    node.loop.advance(15)
    assert kept.status("late")["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    assert (kept.status("small")["phase"], kept.status("vital")["phase"]) == ("Running", "Running")
    node.loop.advance(310)
    assert kept.says("MemoryPressure").startswith("False")
    kept.pod("later")
    node.loop.advance(2)
    assert kept.status("later")["phase"] == "Running"


def test_one_after_the_other(keep: Any, node: Any) -> None:
    """As long as it is low, another pod goes in each round; the critical one stays at last."""
    kept = keep()
    for name in ("one", "two", "three"):
        kept.pod(name)
    kept.pod("vital", priority=2_000_000_000)
    kept.machine.left = {thresholds.MEMORY: LOW}
    kept.start()
    gone = []
    for _ in range(4):
        node.loop.advance(10)
        gone.append(sum(kept.status(name)["phase"] == "Failed" for name in ("one", "two", "three", "vital")))
    assert gone == [1, 2, 3, 3]


def test_a_pod_that_ends_slowly(keep: Any, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other pod goes before it is gone, but for half a minute at most."""

    async def stop(container_id: str, signal: str, grace_seconds: float) -> None:
        await node.clock.sleep(100)

    kept = keep()
    kept.pod("one")
    kept.pod("two")
    kept.machine.left = {thresholds.MEMORY: LOW}
    node.loop.advance(1)
    monkeypatch.setattr(node.runtime, "stop", stop)
    kept.start()
    node.loop.advance(25)
    assert kept.keeping.evictions.counts == {thresholds.MEMORY: 1}
    node.loop.advance(10)
    assert kept.keeping.evictions.counts == {thresholds.MEMORY: 2}


def test_soft_threshold(keep: Any, node: Any) -> None:
    """It waits for its grace, and the pod has the time that the configuration allows."""
    soft = {thresholds.MEMORY: "200Mi"}
    kubelet = KubeletConfig(
        eviction_soft=soft, eviction_soft_grace_period={thresholds.MEMORY: 30.0}, eviction_max_pod_grace_period=7
    )
    kept = keep(kubelet)
    kept.pod("web", terminationGracePeriodSeconds=60)
    kept.machine.left = {thresholds.MEMORY: Amount(150 * MIB, 1000 * MIB)}
    kept.start()
    node.loop.advance(25)
    assert kept.says("MemoryPressure").startswith("True")
    assert not node.runtime.stops
    node.loop.advance(10)
    assert node.runtime.stops[0][1] == pytest.approx(7.0)


def test_disk_pressure(keep: Any, node: Any) -> None:
    """Dead containers and images that nobody uses go before a pod has to; never images that were loaded by hand."""
    kept = keep()
    kept.pod("web")
    node.images.known = [
        Image("sha256:1", ("docker.io/library/app:1",), size=MIB),
        Image("sha256:2", ("docker.io/library/old:1",), size=MIB),
        Image("sha256:3", ("docker.io/library/mine:1",), size=MIB, is_pinned=True),
    ]
    kept.machine.left = {thresholds.NODE_FS: PLENTY}
    kept.pod("done", restartPolicy="Never")
    kept.start()
    node.loop.advance(1)
    (ended,) = (state.id for state in node.runtime.states.values() if state.pod_name == "done")
    node.runtime.end(ended, 0)
    node.loop.advance(1)
    before = kept.status("done")
    assert before["phase"] == "Succeeded"
    kept.machine.left = {thresholds.NODE_FS: LOW}
    node.loop.advance(11)
    assert kept.removed == ["sha256:2"]
    assert ended not in node.runtime.states
    assert kept.status("done") == before
    assert kept.says("DiskPressure") == "True KubeletHasDiskPressure: kubelet has disk pressure"
    assert kept.status("web")["reason"] == "Evicted"
    assert kept.status("web")["message"].startswith("The node was low on resource: ephemeral-storage. Threshold")


def test_images_were_enough(keep: Any, node: Any) -> None:
    """No pod has to go once there is room again."""
    kept = keep()
    kept.pod("web")
    node.images.known = [Image("sha256:2", ("docker.io/library/old:1",), size=MIB)]
    kept.machine.left = {thresholds.NODE_FS: PLENTY}
    kept.left_afterwards = {thresholds.NODE_FS: PLENTY}
    kept.start()
    node.loop.advance(1)
    kept.machine.left = {thresholds.NODE_FS: LOW}
    node.loop.advance(25)
    assert kept.removed == ["sha256:2"]
    assert ("EvictionThresholdMet", "Attempting to reclaim ephemeral-storage") in node.client.events()
    assert kept.says("DiskPressure").startswith("True")
    assert kept.status("web")["phase"] == "Running"


def test_a_disk_that_was_full_before(keep: Any, node: Any) -> None:
    """A default threshold that is met as the node starts is said, and not applied; one that was asked for is."""
    kept = keep()
    kept.pod("web")
    kept.machine.left = {thresholds.NODE_FS: LOW, thresholds.MEMORY: PLENTY}
    kept.start()
    node.loop.advance(20)
    assert kept.says("DiskPressure").startswith("False")
    assert kept.status("web")["phase"] == "Running"
    text = "The default threshold of nodefs.available is not applied: less than 10% was left when the node started"
    assert ("EvictionThresholdNotApplied", text) in node.client.events()


def test_a_threshold_that_was_asked_for(keep: Any, node: Any) -> None:
    """What the configuration says counts from the start."""
    kept = keep(KubeletConfig(eviction_hard={thresholds.NODE_FS: "10%"}))
    kept.pod("web")
    kept.machine.left = {thresholds.NODE_FS: LOW}
    kept.start()
    node.loop.advance(10)
    assert kept.status("web")["reason"] == "Evicted"


def test_limits(keep: Any, node: Any) -> None:
    """A pod over a limit of its own goes, without a condition; others aren't even measured."""
    kept = keep()
    kept.pod("web", volumes=[{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}])
    kept.pod("other", volumes=[{"name": "data", "emptyDir": {}}])
    node.loop.advance(1)
    for record in node.agent.records.values():
        record.volumes = {"data": "/volumes/data"}
    kept.machine.volumes["data"] = MIB
    kept.start()
    node.loop.advance(3)
    assert kept.status("web")["phase"] == "Running"
    kept.machine.volumes["data"] = MIB + 1
    node.loop.advance(3)
    status = kept.status("web")
    text = 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". '
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", text)
    assert conditions.find(status["conditions"], "DisruptionTarget") is None
    assert kept.status("other")["phase"] == "Running"
    assert dict(kept.keeping.evictions.counts) == {"emptydirfs.limit": 1}


def test_images_when_the_disk_fills(keep: Any, node: Any) -> None:
    """As many as are needed, the one used longest ago first, none that is young; what is missing is said."""
    kept = keep(KubeletConfig(image_gc_high_threshold_percent=85, image_gc_low_threshold_percent=80))
    node.images.known = [Image(f"sha256:{n}", (f"docker.io/library/image:{n}",), size=60 * MIB) for n in (3, 4, 5)]
    kept.start()
    node.loop.advance(1)
    node.images.known = [*node.images.known, Image("sha256:9", ("docker.io/library/young:1",), size=60 * MIB)]
    kept.machine.image_disk = Amount(150 * MIB, 1000 * MIB)
    kept.kept_by_builds = [200 * MIB]
    node.loop.advance(300)
    assert kept.removed == ["sha256:3"]  # 50 MiB were missing from 80 %
    assert kept.kept_by_builds
    kept.machine.image_disk = Amount(10 * MIB, 1000 * MIB)
    node.images.known = [Image("sha256:8", ("docker.io/library/new:1",), size=60 * MIB)]
    node.loop.advance(300)
    assert not kept.kept_by_builds
    assert not any(reason == "FreeDiskSpaceFailed" for reason, _ in node.client.events())
    node.images.known = [Image("sha256:7", ("docker.io/library/newer:1",), size=60 * MIB)]
    node.loop.advance(300)
    text = (
        "Failed to garbage collect required amount of images. Attempted to free 199229440 bytes, "
        "but only found 0 bytes eligible to free."
    )
    assert ("FreeDiskSpaceFailed", text) in node.client.events()
    assert ("ImageGCFailed", text) not in node.client.events()


def test_old_images(keep: Any, node: Any) -> None:
    """With a greatest age, what nobody used for so long goes, whatever room there is; what a pod uses stays."""
    kept = keep(KubeletConfig(image_maximum_gc_age=600.0))
    kept.pod("web")
    node.images.known = [Image("sha256:1", ("docker.io/library/app:1",)), Image("sha256:2", ("docker.io/library/b:1",))]
    kept.start()
    node.loop.advance(601)
    assert not kept.removed
    node.loop.advance(600)
    assert kept.removed == ["sha256:2"]
