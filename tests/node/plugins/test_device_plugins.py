"""Device plugins over their sockets: what they list, what containers get, what is remembered."""

import asyncio

import pytest

from sampan.node.env import ConfigError
from sampan.node.given import NOTHING
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.protocol import Device, Mount
from tests.node.plugins.drivers import DevicePlugin, Registrant

NAME = "example.com/dev"
WELL = {"a": "Healthy", "b": "Healthy", "c": "Healthy"}


def container(name="main", amount=1, **fields):
    return {"name": name, "resources": {"limits": {NAME: str(amount)}}, **fields}


def pod(uid, *containers, inits=()):
    return {
        "metadata": {"name": f"pod-{uid}", "namespace": "default", "uid": uid},
        "spec": {"containers": list(containers), "initContainers": list(inits)},
    }


def amounts(node):
    return tuple(each.get(NAME) for each in node.plugins.amounts())


async def started(node, devices=WELL, make=DevicePlugin, **options):
    plugin = make(node.root / "device-plugins", NAME, dict(devices), **options)
    await plugin.start()
    await plugin.register()
    well = sum(health == "Healthy" for health in devices.values())
    await node.until(lambda: amounts(node) == (str(len(devices)), str(well)))
    return plugin


def had(node, uid, name="main"):
    return node.plugins.devices.book.devices((uid, name), NAME)


async def test_the_node_has_what_a_plugin_lists(node):
    """Devices that are not well can't be used; a plugin that goes takes them along, in the end to zero."""
    plugin = await started(node, {"a": "Healthy", "b": "Unhealthy"})
    await plugin.change({"a": "Healthy", "b": "Healthy", "c": "Unhealthy"})
    await node.until(lambda: amounts(node) == ("3", "2"))
    await plugin.stop()
    await node.until(lambda: amounts(node) == ("3", "0"))
    await node.until(lambda: 300.0 in node.clock.release())
    await node.until(lambda: amounts(node) == ("0", "0"))
    await plugin.start()
    await plugin.register()
    await node.until(lambda: amounts(node) == ("3", "2"))
    await plugin.stop()


async def test_who_may_not_register(node):
    """Another version, and a name that no device may have."""
    plugin = DevicePlugin(node.root / "device-plugins", NAME, WELL)
    with pytest.raises(RpcError, match='requested API version "v9" is not supported by kubelet. Supported version is'):
        await plugin.register(version="v9")
    with pytest.raises(RpcError, match='the ResourceName "cpu" is invalid'):
        await plugin.register(resource_name="cpu")


async def test_a_container_gets_what_the_plugin_says(node):
    """Variables, mounts, devices, annotations and names for CDI; /var/lib/kubelet is the node's own directory."""
    response = {
        "envs": {"MORE": "1"},
        "mounts": [{"container_path": "/m", "host_path": "/var/lib/kubelet/x", "read_only": True}],
        "devices": [{"container_path": "/dev/d", "host_path": "/dev/null", "permissions": "rw"}],
        "annotations": {"note": "n"},
        "cdi_devices": [{"name": "example.com/d=a"}],
    }
    plugin = await started(node, response=response, options={"pre_start_required": True})
    one = pod("1", container(amount=2), {"name": "other"})
    assert await node.plugins.admit(one) is None
    assert plugin.calls == [("allocate", [["a", "b"]])]
    given = await node.plugins.given(one, one["spec"]["containers"][0])
    assert plugin.calls[1:] == [("pre-start", ["a", "b"])]
    assert given.env == (("DEVICES", "a,b"), ("MORE", "1"))
    assert given.mounts == (Mount(str(node.root / "x"), "/m", True),)
    assert given.devices == (Device("/dev/null", "/dev/d", "rw"),)
    assert (given.annotations, given.cdi_devices) == ((("note", "n"),), ("example.com/d=a",))
    assert await node.plugins.given(one, one["spec"]["containers"][1]) == NOTHING
    await plugin.stop()


async def test_a_pod_that_can_not_have_its_devices(node):
    """Is turned away, in a kubelet's words; one that goes gives back what it had."""
    plugin = await started(node, {"a": "Healthy", "b": "Healthy", "c": "Unhealthy"})
    assert await node.plugins.admit(pod("1", container(amount=1))) is None
    words = "Allocate failed due to {}, which is unexpected"
    why = f"requested number of devices unavailable for {NAME}. Requested: 2, Available: 1"
    assert await node.plugins.admit(pod("2", container(amount=2))) == ("UnexpectedAdmissionError", words.format(why))
    await node.plugins.release("1")
    assert await node.plugins.admit(pod("2", container(amount=2))) is None
    await node.plugins.release("2")
    plugin.failure = "broken"
    refused = await node.plugins.admit(pod("3", container()))
    assert refused == ("UnexpectedAdmissionError", words.format("rpc error: code = Internal desc = broken"))
    await plugin.stop()
    await node.until(lambda: amounts(node) == ("3", "0"))
    why = f"no healthy devices present; cannot allocate unhealthy devices {NAME}"
    assert await node.plugins.admit(pod("4", container())) == ("UnexpectedAdmissionError", words.format(why))


async def test_a_plugin_that_is_given_up(node):
    """Nobody has the device; the next pod gets it."""
    reached = asyncio.Event()

    class Hanging(DevicePlugin):
        async def _allocate(self, request):
            if not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            return await super()._allocate(request)

    plugin = await started(node, {"a": "Healthy"}, make=Hanging)
    admitting = asyncio.ensure_future(node.plugins.admit(pod("1", container())))
    async with asyncio.timeout(60):
        await reached.wait()
    admitting.cancel()
    await asyncio.wait((admitting,))
    await node.plugins.release("1")
    assert admitting.cancelled() and node.plugins.pods() == set()
    assert await node.plugins.admit(pod("2", container())) is None
    assert had(node, "2") == ["a"]
    await plugin.stop()


async def test_one_that_hangs_holds_no_other(node):
    """Pods get the devices of another plugin meanwhile; one that wants both waits."""
    reached, answers = asyncio.Event(), asyncio.Event()

    class Hanging(DevicePlugin):
        async def _allocate(self, request):
            reached.set()
            await answers.wait()
            return await super()._allocate(request)

    plugin, second = await started(node, make=Hanging), "example.com/second"
    other = DevicePlugin(node.root / "device-plugins", second, dict(WELL))
    await other.start()
    await other.register()
    await node.until(lambda: node.plugins.amounts()[0].get(second) == "3")
    of_other, of_both = container(), container(amount=1)
    of_other["resources"] = {"limits": {second: "1"}}
    of_both["resources"] = {"limits": {NAME: "1", second: "1"}}
    waits = asyncio.ensure_future(node.plugins.admit(pod("1", container())))
    async with asyncio.timeout(60):
        await reached.wait()
        assert await node.plugins.admit(pod("2", of_other)) is None
        both = asyncio.ensure_future(node.plugins.admit(pod("3", of_both)))
        await asyncio.sleep(0)
        assert not both.done()
        answers.set()
        assert [await waits, await both] == [None, None]
    assert had(node, "1") and had(node, "3") and had(node, "1") != had(node, "3")
    await plugin.stop()
    await other.stop()


async def test_what_no_plugin_has(node):
    """Is somebody else's business."""
    assert await node.plugins.admit(pod("1", container())) is None


async def test_init_containers_pass_their_devices_on(node):
    """But not sidecars, which go on using theirs."""
    plugin = await started(node)
    sidecar = container("side", restartPolicy="Always")
    one = pod("1", container(amount=2), inits=(container("first", 2), sidecar))
    assert await node.plugins.admit(one) is None
    assert [had(node, "1", name) for name in ("first", "side", "main")] == [["a", "b"], ["a"], ["b", "c"]]
    await plugin.stop()


async def test_a_plugin_with_preferences(node):
    """Is asked which devices it would rather give."""
    options = {"get_preferred_allocation_available": True}
    plugin = await started(node, options=options, preferred=["c"])
    assert await node.plugins.admit(pod("1", container(amount=2))) is None
    asked = {"available_deviceIDs": ["a", "b", "c"], "must_include_deviceIDs": [], "allocation_size": 2}
    assert plugin.calls[0] == ("prefer", [asked])
    assert had(node, "1") == ["c", "a"]
    await plugin.stop()


async def test_an_agent_that_comes_after(node):
    """Knows who has what, offers nothing before the plugin has come again, and gives nothing twice."""
    plugin = await started(node)
    one, two = pod("1", container(amount=2)), pod("2", container(amount=2))
    assert await node.plugins.admit(one) is None
    await node.restart()
    assert not plugin.socket.exists()  # by which it sees that it has to register again
    assert (amounts(node), had(node, "1"), node.plugins.pods()) == (("0", "0"), ["a", "b"], {"1"})
    assert await node.plugins.admit(one) is None
    assert (await node.plugins.given(one, one["spec"]["containers"][0])).env == (("DEVICES", "a,b"),)
    assert node.plugins.health(one)["main"][0]["resources"][0] == {"resourceID": "a", "health": "Unknown"}
    await plugin.stop()
    await plugin.start()
    await plugin.register()
    await node.until(lambda: amounts(node) == ("3", "3"))
    assert (await node.plugins.admit(two) or ("",))[0] == "UnexpectedAdmissionError"
    await plugin.stop()


async def test_what_was_written_badly(node):
    """Is as good as nothing."""
    await node.stop()
    (node.root / "device-plugins" / "kubelet_internal_checkpoint").write_text("{")
    await node.start()
    assert node.plugins.pods() == set()


async def test_a_plugin_that_is_away_when_a_container_starts(node):
    """Has it wait, if it wants to be asked before."""
    plugin = await started(node, options={"pre_start_required": True})
    one = pod("1", container())
    await node.plugins.admit(one)
    await plugin.stop()
    await node.until(lambda: amounts(node) == ("3", "0"))
    with pytest.raises(ConfigError, match="code = Unavailable"):
        await node.plugins.given(one, one["spec"]["containers"][0])


async def test_how_devices_are(node):
    """Is told of those who have them."""
    plugin = await started(node)
    one = pod("1", container(amount=1))
    await node.plugins.admit(one)
    assert node.plugins.health(one) == {
        "main": [{"name": NAME, "resources": [{"resourceID": "a", "health": "Healthy"}]}]
    }
    node.woken.clear()
    await plugin.change({**WELL, "a": "Unhealthy"})
    await node.until(lambda: node.woken)
    assert node.plugins.health(one)["main"][0]["resources"] == [{"resourceID": "a", "health": "Unhealthy"}]
    await plugin.stop()


async def test_a_plugin_in_the_registry(node):
    """Registers by a socket there as well, goes with it, and is refused if it speaks something else."""
    plugin = DevicePlugin(node.root / "plugins", NAME, WELL, options={"pre_start_required": True})
    await plugin.start()
    info = {"type": "DevicePlugin", "name": NAME, "endpoint": str(plugin.socket), "supported_versions": ["v1beta1"]}
    registrant = Registrant(node.root / "plugins_registry" / "dev.sock", info)
    await registrant.start()
    await registrant.was_told.wait()
    assert registrant.told == [{"plugin_registered": True, "error": ""}]
    await node.until(lambda: amounts(node) == ("3", "3"))
    await registrant.stop()
    await node.until(lambda: amounts(node) == ("3", "0"))
    registrant.info["supported_versions"] = ["v9"]
    registrant.was_told.clear()
    await registrant.start()
    await registrant.was_told.wait()
    why = "plugin validation failed with err: manager does not support versions: v9"
    assert registrant.told[1] == {"plugin_registered": False, "error": why}
    await registrant.stop()
    await plugin.stop()
