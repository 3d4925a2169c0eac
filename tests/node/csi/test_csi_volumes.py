"""CSI volumes with a driver behind a real socket: what it is asked for, in which order, and again after every accident."""

import asyncio
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sampan.client.transport import TransportError
from sampan.kit.tasks import Tasks
from sampan.node.csi import leaving
from sampan.node.csi.drivers import Drivers
from sampan.node.csi.order import Order
from sampan.node.csi.records import Records
from sampan.node.csi.volumes import CsiVolumes
from sampan.node.rpc.server import Server
from sampan.node.rpc.service import RpcError
from sampan.node.volumes.failure import VolumeFailure, Waiting
from tests.node.csi.driver import Driver

ORDER = Order(name="v", spec_name="pv-1", driver="dir.test", handle="vol-1", access_modes=("ReadWriteOnce",))


@dataclass
class Plugin:
    endpoint: Path
    name: str = "dir.test"
    versions: tuple = ("1.0.0",)
    in_pod: bool = False


class Told:
    """What the API would know."""

    def __init__(self):
        self.used, self.sizes, self.drivers = [], [], {}

    async def in_use(self, devices):
        self.used = sorted(devices)

    def forget_in_use(self):
        pass

    async def grown(self, claim, size):
        self.sizes.append(size)

    async def registered(self, driver, info):
        self.drivers[driver] = info["node_id"]

    async def deregistered(self, driver):
        del self.drivers[driver]


class Place:
    """A node with a driver; `agent` makes a new agent there, as after kill -9."""

    def __init__(self, root, **more):
        self.root = root
        (root / "base" / "vol-1").mkdir(parents=True)
        self.driver = Driver(root / "base", mounts=False, **more)
        self.server, self.told, self.csi = Server(self.driver.answers()), Told(), None
        self.plugin = Plugin(root / "csi.sock")
        self.events, self.tasks = [], None

    async def agent(self, boot="boot-1", *, register=True):
        if self.csi is not None:
            self.csi.drivers.close()
            self.tasks.kill()
        self.tasks = Tasks("agent")
        records = Records(self.root / "node", self.root / "node" / "pods")
        self.csi = CsiVolumes(Drivers(self.told), records, self.told, boot, self.tasks)
        self.csi.emit = lambda about, event: self.events.append(
            (about["metadata"]["name"], event.reason, event.message)
        )
        if register:
            await self.csi.drivers.register(self.plugin)
        return self.csi

    async def prepare(self, uid, order=ORDER):
        return (await self.csi.prepare(pod(uid), [order]))["v"]

    def left(self):
        return [p for p in (self.root / "node").rglob("*") if not p.is_dir() or p.name in ("mount", "globalmount")]


def pod(uid):
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {"nodeName": "node-1"}}


@pytest.fixture
async def place(tmp_path):
    made = Place(tmp_path)
    await made.server.listen(made.plugin.endpoint)
    await made.agent()
    yield made
    await made.tasks.close()
    made.csi.drivers.close()
    await made.server.close()


async def test_staged_once_and_unstaged_with_the_last_pod(place):
    """Published for each pod; nothing is left behind."""
    path = await place.prepare("a")
    assert path.endswith("/pods/a/volumes/kubernetes.io~csi/pv-1/mount")
    assert (Path(path) / "published").exists()
    await place.prepare("b")
    await place.prepare("a")  # asked again: nothing to do
    assert place.driver.made() == ["NodeStageVolume", "NodePublishVolume", "NodePublishVolume"]
    await place.csi.teardown("a")
    assert place.driver.made()[3:] == ["NodeUnpublishVolume"]
    await place.csi.teardown("b")
    await place.csi.teardown("b")
    assert place.driver.made()[4:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]
    assert (place.left(), place.csi.pods() - {"a", "b"}) == ([], set())


async def test_what_the_driver_is_told(place):
    """Access mode, mount flags, secrets, the attacher's and the pod's words, each where it belongs."""
    secrets = {"stage": {"k": "stage"}, "publish": {"k": "publish"}}
    order = replace(
        ORDER,
        fs_type="ext4",
        mount_flags=("noatime",),
        secrets=secrets,
        publish_context={"device": "/dev/x"},
        attributes={"a": "b"},
        pod_info={"csi.storage.k8s.io/pod.name": "web"},
        tokens='{"aud":{}}',
        read_only=True,
    )
    path = await place.prepare("a", order)
    [staged], [published] = place.driver.made("NodeStageVolume"), place.driver.made("NodePublishVolume")
    assert staged["volume_capability"]["mount"] == {
        "fs_type": "ext4",
        "mount_flags": ["noatime"],
        "volume_mount_group": "",
    }
    assert staged["volume_capability"]["access_mode"] == {"mode": 7}
    assert (staged["secrets"], staged["volume_context"]) == ({"k": "stage"}, {"a": "b"})
    assert staged["publish_context"] == published["publish_context"] == {"device": "/dev/x"}
    assert (published["secrets"], published["readonly"]) == ({"k": "publish"}, True)
    assert published["volume_context"] == {
        "a": "b",
        "csi.storage.k8s.io/pod.name": "web",
        "csi.storage.k8s.io/serviceAccount.tokens": '{"aud":{}}',
    }
    assert (published["target_path"], published["staging_target_path"]) == (path, staged["staging_target_path"])


@pytest.mark.parametrize("method", ["NodeStageVolume", "NodePublishVolume"])
async def test_killed_while_the_driver_works(place, method):
    """The driver did it and the agent never heard: a new agent asks again, and undoes all of it."""
    reached = asyncio.Event()

    async def hang():
        reached.set()
        await asyncio.Event().wait()

    place.driver.hooks[method] = hang
    task = asyncio.ensure_future(place.prepare("a"))
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del place.driver.hooks[method]
    await place.agent()
    if method == "NodeStageVolume":  # the pod is still wanted
        await place.prepare("a")
        assert place.driver.made().count("NodeStageVolume") == 2
    assert place.csi.pods() == {"a"}
    await place.csi.teardown("a")
    assert place.driver.made()[-2:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]
    assert place.left() == []


@pytest.mark.parametrize("method", ["NodeUnpublishVolume", "NodeUnstageVolume"])
async def test_killed_while_it_is_undone(place, method):
    """The next agent goes on, once the driver is there; until then it says what it waits for."""
    await place.prepare("a")
    reached = asyncio.Event()

    async def hang():
        reached.set()
        await asyncio.Event().wait()

    place.driver.hooks[method] = hang
    task = asyncio.ensure_future(place.csi.teardown("a"))
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    place.driver.hooks.clear()
    await place.agent(register=False)
    if method == "NodeUnpublishVolume":
        with pytest.raises(
            VolumeFailure, match=r"driver name dir\.test not found in the list of registered CSI drivers"
        ):
            await place.csi.teardown("a")
    await place.csi.drivers.register(place.plugin)
    await place.csi.teardown("a")
    assert place.driver.made()[-2:] == [
        method if method == "NodeUnstageVolume" else "NodeUnpublishVolume",
        "NodeUnstageVolume",
    ]
    assert place.left() == []


async def hung(place, method):
    """The driver begins with this and never answers; what is awaited returns when it has begun."""
    reached = asyncio.Event()

    async def hang():
        reached.set()
        await asyncio.Event().wait()

    place.driver.hooks[method] = hang
    return reached.wait


async def test_who_is_broken_off_while_the_driver_stages(place, monkeypatch):
    """Is nowhere published, so the pod's end does not wait for the driver; it unstages once it answers again, and once."""
    monkeypatch.setattr(leaving, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(leaving, "FIRST_PAUSE_SECONDS", 1000.0)
    staging, unstaging = await hung(place, "NodeStageVolume"), await hung(place, "NodeUnstageVolume")
    task = asyncio.ensure_future(place.prepare("a", replace(ORDER, is_attachable=True)))
    await staging()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await place.csi.teardown("a")
    await unstaging()
    assert place.driver.made() == ["NodeStageVolume", "NodeUnstageVolume"]
    assert (place.csi._records.places("a"), place.told.used) == ([], ["kubernetes.io/csi/dir.test^vol-1"])
    place.driver.hooks.clear()
    await place.csi.drivers.register(place.plugin)  # its former connection ends
    await until(lambda: not place.left())
    assert place.driver.made()[2:] == ["NodeUnstageVolume"]
    await until(lambda: place.told.used == [])


async def test_who_comes_while_a_volume_leaves(place, monkeypatch):
    """Has it, staged anew: a driver that could not unstage it is not asked to again."""
    monkeypatch.setattr(leaving, "FIRST_PAUSE_SECONDS", 0.01)
    await place.prepare("a")
    place.driver.failing["NodeUnstageVolume"] = RpcError("Internal", "busy")
    await place.csi.teardown("a")
    await until(lambda: place.driver.made().count("NodeUnstageVolume") > 2)
    path = await place.prepare("b")
    del place.driver.failing["NodeUnstageVolume"]
    await until(lambda: not place.csi._leaving._errands)
    assert place.driver.made()[-2:] == ["NodeStageVolume", "NodePublishVolume"] and Path(path).exists()
    await place.csi.teardown("b")
    assert place.left() == []


async def test_one_of_two_volumes_can_not_be_given_back(place):
    """The other one is unstaged all the same, and is in use no longer."""
    (place.root / "base" / "vol-2").mkdir()
    both = [replace(ORDER, name=f"v{n}", spec_name=f"pv-{n}", handle=f"vol-{n}", is_attachable=True) for n in (1, 2)]
    await place.csi.prepare(pod("a"), both)

    async def refuse_the_second():
        if len(place.driver.made("NodeUnpublishVolume")) == 2:
            raise RpcError("Internal", "busy")

    place.driver.hooks["NodeUnpublishVolume"] = refuse_the_second
    with pytest.raises(VolumeFailure, match="busy"):
        await place.csi.teardown("a")
    await until(lambda: place.told.used == ["kubernetes.io/csi/dir.test^vol-2"])
    assert [request["volume_id"] for request in place.driver.made("NodeUnstageVolume")] == ["vol-1"]
    await place.csi.teardown("a")
    await until(lambda: place.told.used == [])
    assert [request["volume_id"] for request in place.driver.made("NodeUnstageVolume")] == ["vol-1", "vol-2"]
    assert place.left() == []


async def test_the_api_does_not_hear_what_is_in_use(place, monkeypatch):
    """It is told until it has heard it; the pod's end does not wait for that, and the driver is asked once."""
    monkeypatch.setattr(leaving, "FIRST_PAUSE_SECONDS", 0.01)
    await place.prepare("a", replace(ORDER, is_attachable=True))
    in_use, tries = place.told.in_use, []

    async def gone(devices):
        tries.append(devices)
        if len(tries) < 4:
            raise TransportError("gone")
        await in_use(devices)

    monkeypatch.setattr(place.told, "in_use", gone)
    await place.csi.teardown("a")
    await place.csi.teardown("a")
    await until(lambda: place.told.used == [])
    assert (place.driver.made().count("NodeUnstageVolume"), place.left()) == (1, [])


async def test_a_volume_leaves_again_while_the_api_hears_that_it_left(place, monkeypatch):
    """Another pod that had it meanwhile, and gave it back, leaves nothing."""
    monkeypatch.setattr(leaving, "PATIENCE_SECONDS", 60.0)
    await place.prepare("a", replace(ORDER, is_attachable=True))
    in_use, asked, go_on = place.told.in_use, asyncio.Event(), asyncio.Event()

    async def slow(devices):
        if not devices:
            asked.set()
            await go_on.wait()
        await in_use(devices)

    monkeypatch.setattr(place.told, "in_use", slow)
    ending = asyncio.ensure_future(place.csi.teardown("a"))
    await asked.wait()
    await place.prepare("b", replace(ORDER, is_attachable=True))
    ending = asyncio.gather(ending, place.csi.teardown("b"))
    await until(lambda: not place.csi._records.places("b"))
    go_on.set()
    await ending
    assert place.driver.made()[-2:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]
    assert (place.left(), place.told.used) == ([], [])


async def test_an_agent_that_ends_does_not_wait_for_a_file_system(place, monkeypatch):
    """One that hangs as its files are given to the pod's group; when it is back, nothing more is given."""
    is_back, given, chown = threading.Event(), [], os.chown

    def hang(path, *args, **named):
        given.append(path)
        is_back.wait(60)
        chown(path, *args, **named)

    monkeypatch.setattr(os, "chown", hang)
    order = replace(ORDER, group=os.getgid(), rules={"fsGroupPolicy": "File"})
    preparing = place.tasks.spawn(place.prepare("a", order), "a")
    try:
        await until(lambda: given)
        async with asyncio.timeout(60):
            await place.tasks.close()
        assert preparing.cancelled() and not is_back.is_set()
    finally:
        is_back.set()
    await until(lambda: not any(each.name == "sampan-volumes" for each in threading.enumerate()))
    assert given == ["published"]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_device_without_pods_is_unstaged_when_its_driver_comes(place):
    """An agent was killed between a pod's last step and the node's."""
    await place.prepare("a")
    [known] = place.csi._records.places("a")
    place.csi._records.drop_place(replace(known, target=known.target + "-kept"))
    await place.agent()
    assert place.driver.made()[-1] == "NodeUnstageVolume"


async def test_after_a_reboot_all_is_made_again(place):
    """Records outlive the mounts that they tell of."""
    await place.prepare("a")
    await place.agent("boot-2")
    await place.prepare("a")
    assert place.driver.made() == ["NodeStageVolume", "NodePublishVolume"] * 2


async def test_a_refusal_is_told_and_tried_again(place):
    """In the words of the driver; with the driver gone, in a kubelet's."""
    place.driver.failing["NodeStageVolume"] = RpcError("Internal", "no such disk")
    with pytest.raises(VolumeFailure) as caught:
        await place.prepare("a")
    text = 'MountVolume.MountDevice failed for volume "pv-1" : rpc error: code = Internal desc = no such disk'
    assert (caught.value.reason, str(caught.value)) == ("FailedMount", text)
    del place.driver.failing["NodeStageVolume"]
    await place.prepare("a")
    place.driver.failing["NodeUnpublishVolume"] = RpcError("Aborted", "busy")
    with pytest.raises(VolumeFailure, match="busy"):
        await place.csi.teardown("a")
    assert place.csi.pods() == {"a"}
    del place.driver.failing["NodeUnpublishVolume"]
    await place.csi.drivers.deregister(place.plugin)
    with pytest.raises(VolumeFailure) as caught:
        await place.prepare("b")
    text = "attacher.MountDevice failed to create newCsiDriverClient: driver name dir.test not found in the list"
    assert text in str(caught.value)


async def test_in_use_is_told_before_it_is_staged_and_until_it_is_unstaged(place):
    """So that nobody detaches it meanwhile."""
    told_at = []

    async def note():
        told_at.append(list(place.told.used))

    place.driver.hooks = {"NodeStageVolume": note, "NodeUnstageVolume": note}
    await place.prepare("a", replace(ORDER, is_attachable=True))
    await place.csi.teardown("a")
    assert told_at == [["kubernetes.io/csi/dir.test^vol-1"]] * 2
    assert place.told.used == []


async def test_what_is_not_attached_waits(place):
    """A pod that has it keeps it, whatever becomes of the attachment or the driver."""
    waiting = replace(ORDER, obstacle=Waiting("not yet"))
    with pytest.raises(Waiting):
        await place.prepare("a", waiting)
    assert (place.driver.made(), place.left()) == ([], [])
    path = await place.prepare("a")
    await place.csi.drivers.deregister(place.plugin)
    assert await place.prepare("a", waiting) == path


async def test_a_volume_grows_with_its_claim(place):
    """The driver is asked once the volume has more than the claim; a failure is an event, and the pod runs."""
    claim = {"metadata": {"name": "data", "namespace": "default"}, "status": {"capacity": {"storage": "1Gi"}}}
    order = replace(ORDER, size_text="2Gi", claim=claim)
    place.driver.failing["NodeExpandVolume"] = RpcError("Internal", "full")
    await place.prepare("a", order)
    assert {(name, reason) for name, reason, _ in place.events} == {
        ("a", "VolumeResizeFailed"),
        ("data", "VolumeResizeFailed"),
    }
    del place.driver.failing["NodeExpandVolume"]
    place.events.clear()
    await place.prepare("a", order)
    assert (place.told.sizes, (place.root / "base/vol-1/size").read_text()) == (["2Gi"], str(2 << 30))
    text = 'MountVolume.NodeExpandVolume succeeded for volume "pv-1" node-1'
    assert place.events == [(name, "FileSystemResizeSuccessful", text) for name in ("a", "data")]


async def test_published_again_and_again_where_the_driver_wants_it(place):
    """With newer tokens each time."""
    order = replace(ORDER, rules={"requiresRepublish": True})
    await place.prepare("a", replace(order, tokens="1"))
    await place.prepare("a", replace(order, tokens="2"))
    texts = [
        r["volume_context"]["csi.storage.k8s.io/serviceAccount.tokens"] for r in place.driver.made("NodePublishVolume")
    ]
    assert texts == ["1", "2"]


async def test_a_driver_in_a_pod_sees_other_paths(place):
    """The node's directory is where every driver expects it."""
    node = str(place.root / "node")
    place.csi.drivers = Drivers(place.told, lambda path: path.replace(node, "/var/lib/kubelet"))
    await place.csi.drivers.register(replace(place.plugin, in_pod=True))
    place.driver.failing["NodeStageVolume"] = RpcError("Internal", "no")
    with pytest.raises(VolumeFailure):
        await place.prepare("a")
    [staged] = place.driver.made("NodeStageVolume")
    assert staged["staging_target_path"].startswith("/var/lib/kubelet/plugins/kubernetes.io/csi/dir.test/")


async def test_stats(place):
    """As the driver says."""
    path = await place.prepare("a")
    found = await place.csi.stats("a")
    assert found["v"]["capacityBytes"] == found["v"]["availableBytes"] + found["v"]["usedBytes"]
    assert place.driver.made("NodeGetVolumeStats")[0]["volume_path"] == path


async def test_versions(place):
    """1.x is spoken."""
    await place.csi.drivers.validate(replace_versions(place.plugin, "0.3.0", "1.2.0"))
    for versions in ((), ("0.3.0",), ("nonsense",)):
        with pytest.raises(ValueError, match="no supported version found for CSI driver"):
            await place.csi.drivers.validate(replace_versions(place.plugin, *versions))


async def test_two_drivers_of_one_name(place):
    """The first stays, and the second comes when it is gone, or at once if it is newer; nothing comes of the one refused."""
    drivers, second = place.csi.drivers, Plugin(place.root / "second.sock")
    other = Driver(place.root / "base", mounts=False)
    server = Server(other.answers())
    await server.listen(second.endpoint)
    for ask in (drivers.validate, drivers.register):
        with pytest.raises(ValueError, match='already registered with a higher supported version: "1.0.0"'):
            await ask(second)
    assert drivers.get(second.name).endpoint == place.plugin.endpoint and not other.made("NodeGetInfo")
    newer = replace_versions(second, "0.9.0", "1.10.0", "2.0.0")
    await drivers.validate(newer)
    await drivers.register(newer)
    await drivers.deregister(place.plugin)
    assert drivers.get(second.name).endpoint == second.endpoint and place.told.drivers
    await drivers.deregister(newer)
    assert drivers.names() == [] and not place.told.drivers
    await drivers.validate(second)
    await drivers.register(second)
    assert drivers.names() == [second.name]
    await server.close()


async def test_two_of_one_name_at_once(place):
    """As an agent finds them at its start: the first that is asked, however long it takes to say who it is."""
    drivers, second = place.csi.drivers, Plugin(place.root / "second.sock")
    await drivers.deregister(place.plugin)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow():
        reached.set()
        await go_on.wait()

    place.driver.hooks["NodeGetInfo"] = slow
    first = asyncio.ensure_future(drivers.register(place.plugin))
    await reached.wait()
    late = asyncio.ensure_future(drivers.register(second))
    await asyncio.sleep(0)
    go_on.set()
    await first
    with pytest.raises(ValueError, match="already registered"):
        await late
    assert drivers.get(second.name).endpoint == place.plugin.endpoint


def replace_versions(plugin, *versions):
    return replace(plugin, versions=versions)
