"""Drivers of dynamic resources over their sockets: claims are prepared, remembered, given back."""

import asyncio

import pytest

from sampan.node.plugins import checkpoint
from sampan.node.plugins.drivers import DriverFailure
from sampan.node.rpc.client import Client
from sampan.node.volumes.failure import VolumeFailure
from tests.node.plugins.drivers import DevicePlugin, DraDriver, Registrant

DRIVER = "gpu.example.com"
START = "Failed to prepare dynamic resources: prepare dynamic resources: "
DEVICES = [
    {
        "request_names": ["big"],
        "pool_name": "p",
        "device_name": "0",
        "cdi_device_ids": ["example.com/gpu=0"],
        "share_id": "s",
    },
    {"request_names": ["small"], "pool_name": "p", "device_name": "1", "cdi_device_ids": ["example.com/gpu=1"]},
]


def pod(uid, *claims, name="main"):
    wanted = [{"name": claim, "resourceClaimName": claim} for claim in ("gpu",)]
    return {
        "metadata": {"name": f"pod-{uid}", "namespace": "default", "uid": uid},
        "spec": {
            "resourceClaims": wanted,
            "containers": [{"name": name, "resources": {"claims": list(claims or ({"name": "gpu"},))}}],
        },
    }


def claims(*pods, uid="c-1"):
    results = [{"request": "big", "driver": DRIVER, "pool": "p", "device": "0"}]
    users = [{"resource": "pods", "name": each["metadata"]["name"], "uid": each["metadata"]["uid"]} for each in pods]
    status = {"reservedFor": users, "allocation": {"devices": {"results": results}}}
    return {"gpu": {"metadata": {"name": "gpu", "namespace": "default", "uid": uid}, "status": status}}


def cdi(node, of):
    return node.plugins.claims.cdi_devices(of, of["spec"]["containers"][0])


async def started(node, version="v1", make=DraDriver, **options):
    driver = make(node.root, DRIVER, version, devices=DEVICES, **options)
    await driver.start()
    await driver.registrant.was_told.wait()
    assert driver.registrant.told[-1] == {"plugin_registered": True, "error": ""}
    return driver


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_claim_is_prepared_once_for_all_its_pods(node, version):
    """Each container gets the devices of its requests; the last pod gives the claim back."""
    driver = await started(node, version)
    one, two, three = pod("1"), pod("2", {"name": "gpu", "request": "small/sub"}), pod("3", {"name": "other"})
    for each in (one, two, three):
        await node.plugins.prepare(each, claims(one, two, three))
    assert driver.calls == [("prepare", ["gpu"])]
    assert cdi(node, one) == ("example.com/gpu=0", "example.com/gpu=1")
    assert cdi(node, two) == ("example.com/gpu=1",)
    assert cdi(node, three) == ()
    assert (await node.plugins.given(one, one["spec"]["containers"][0])).cdi_devices == cdi(node, one)
    for uid in ("1", "2", "unknown"):
        await node.plugins.release(uid)
    assert driver.calls == [("prepare", ["gpu"])]
    await node.plugins.release("3")
    assert driver.calls[1:] == [("unprepare", ["gpu"])]
    assert node.plugins.pods() == set()
    await driver.stop()


async def test_a_driver_that_is_given_up(node):
    """Who can tell what it has done? So it is to undo it."""
    reached = asyncio.Event()

    class Hanging(DraDriver):
        async def _prepare(self, request):
            await super()._prepare(request)
            reached.set()
            await asyncio.Event().wait()

    driver, one = await started(node, make=Hanging), pod("1")
    preparing = asyncio.ensure_future(node.plugins.prepare(one, claims(one)))
    async with asyncio.timeout(60):
        await reached.wait()
    preparing.cancel()
    await asyncio.wait((preparing,))
    await node.plugins.release("1")
    assert driver.calls == [("prepare", ["gpu"]), ("unprepare", ["gpu"])]
    assert node.plugins.pods() == set()
    await driver.stop()


async def test_what_a_driver_may_answer(node):
    """Its errors are the pod's."""
    driver = await started(node)
    driver.failure = "no power"
    one = pod("1")
    with pytest.raises(VolumeFailure) as failure:
        await node.plugins.prepare(one, claims(one))
    assert str(failure.value) == f"{START}NodePrepareResources failed for ResourceClaim gpu: no power"
    assert failure.value.reason == "FailedPrepareDynamicResources"
    with pytest.raises(DriverFailure, match="NodeUnprepareResources failed for ResourceClaim gpu: no power"):
        await node.plugins.release("1")
    driver.failure = ""
    await node.plugins.prepare(one, claims(one))
    await node.plugins.release("1")
    await node.plugins.prepare(one, claims(one))
    with pytest.raises(VolumeFailure, match="old ResourceClaim with same name gpu and different UID c-1 still exists"):
        await node.plugins.prepare(pod("2"), claims(pod("2"), uid="c-2"))
    await driver.stop()


async def test_a_driver_that_is_not_there(node):
    """Or not any more."""
    one = pod("1")
    with pytest.raises(VolumeFailure, match=f"DRA driver {DRIVER} is not registered"):
        await node.plugins.prepare(one, claims(one))
    driver = await started(node)
    assert node.drivers_came == 1
    await node.plugins.prepare(one, claims(one))
    await driver.stop()
    await node.until(lambda: not node.plugins.drivers.has(DRIVER))
    with pytest.raises(DriverFailure, match=f"unprepare dynamic resources: DRA driver {DRIVER} is not registered"):
        await node.plugins.release("1")


async def test_an_agent_that_comes_after(node):
    """Finds the driver and the claims again, and gives back what is not needed."""
    driver = await started(node)
    one = pod("1")
    await node.plugins.prepare(one, claims(one))
    driver.registrant.was_told.clear()
    await node.restart()
    assert node.plugins.pods() == {"1"}
    assert cdi(node, one) == ("example.com/gpu=0", "example.com/gpu=1")
    await driver.registrant.was_told.wait()
    await node.plugins.prepare(one, claims(one))
    await node.plugins.release_at_last("1")
    assert [call for call, _ in driver.calls] == ["prepare", "prepare", "unprepare"]
    await driver.stop()


async def test_slices_of_drivers_that_are_gone(node):
    """Are deleted, after the time that a driver has for coming back; and all of them at the start."""
    await node.until(lambda: node.api.deleted == ["spec.nodeName=node-1"])
    driver = await started(node)
    await node.until(lambda: node.plugins.drivers._drivers[DRIVER][0].is_connected)
    await driver.stop()
    await node.until(lambda: [seconds for seconds, _ in node.clock.waiting] == [30.0])
    driver.registrant.was_told.clear()
    await driver.start()
    await node.until(lambda: node.plugins.drivers.has(DRIVER) and node.plugins.drivers._drivers[DRIVER][0].is_connected)
    assert not node.plugins.drivers._wipes
    await node.until(lambda: not node.clock.waiting)
    await driver.stop()
    await node.until(lambda: 30.0 in node.clock.release())
    await node.until(lambda: len(node.api.deleted) == 2)
    assert node.api.deleted[1] == f"spec.nodeName=node-1,spec.driver={DRIVER}"


async def test_a_driver_that_crashes(node):
    """Leaves its socket behind, and is missed all the same."""
    driver = await started(node)
    await node.plugins.prepare(pod("1"), claims(pod("1")))
    await node.until(lambda: node.plugins.drivers._drivers[DRIVER][0].is_connected)
    await driver._server.close()
    await node.until(lambda: DRIVER in node.plugins.drivers._wipes)
    assert node.plugins.drivers.has(DRIVER)
    await driver.stop()


async def test_a_driver_in_a_pod(node):
    """Says where it is as it sees it: /var/lib/kubelet is the node's directory."""
    endpoint = f"/var/lib/kubelet/plugins/{DRIVER}/dra.sock"
    driver = await started(node, endpoint=endpoint)
    one = pod("1")
    await node.plugins.prepare(one, claims(one))
    assert driver.calls
    await driver.stop()


async def test_who_is_refused(node):
    """A driver of other versions, and a plugin of no known type; both are told."""
    info = {"type": "DRAPlugin", "name": DRIVER, "endpoint": "/x.sock", "supported_versions": ["1.0.0"]}
    for kind, why in (
        ("DRAPlugin", "none of v1.DRAPlugin, v1beta1.DRAPlugin is in ['1.0.0']"),
        ("Odd", "Odd at socket"),
    ):
        registrant = Registrant(node.root / "plugins_registry" / f"{kind}.sock", {**info, "type": kind})
        await registrant.start()
        await registrant.was_told.wait()
        assert registrant.told[0]["plugin_registered"] is False
        assert why in registrant.told[0]["error"]
        await registrant.stop()


async def test_another_driver_in_its_place(node):
    """Whoever is behind a socket now is who is registered."""
    old = await started(node)
    new = DraDriver(node.root / "new", DRIVER, devices=DEVICES)
    await new.start()
    new.registrant.socket.replace(old.registrant.socket)
    await new.registrant.was_told.wait()
    assert new.registrant.told[-1] == {"plugin_registered": True, "error": ""}
    await node.plugins.prepare(pod("1"), claims(pod("1")))
    assert (len(old.calls), len(new.calls)) == (0, 1)
    await old.stop()
    await new.stop()


async def test_what_is_no_plugin(node):
    """Files, hidden sockets, sockets where nobody is: nobody minds."""
    folder = node.root / "plugins_registry"
    (folder / "file").touch()
    hidden = Registrant(folder / ".hidden.sock", {"type": "DRAPlugin", "name": "h", "supported_versions": []})
    await hidden.start()
    deaf = Registrant(folder / "sub" / "deaf.sock", {"type": "DRAPlugin", "name": "d", "supported_versions": []})
    await deaf.start()
    await deaf.was_told.wait()
    assert hidden.told == []
    await hidden.stop()
    await deaf.stop()


async def test_a_full_disk(node, monkeypatch):
    """Is said of the pod that it is in the way of."""

    def full(path, tree):
        raise OSError(28, "No space left on device")

    driver = await started(node)
    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(VolumeFailure, match="checkpoint ResourceClaim state: .* No space left on device"):
        await node.plugins.prepare(pod("1"), claims(pod("1")))
    await driver.stop()


async def test_how_devices_are(node):
    """As the driver says, and unknown where it doesn't."""
    well = {"device": {"pool_name": "p", "device_name": "0"}, "health": 1}
    driver = await started(node, health=[well])
    one = pod("1", {"name": "gpu", "request": "big"})
    await node.plugins.prepare(one, claims(one))
    await node.until(lambda: node.plugins.drivers._health)
    entry = {"resourceID": "example.com/gpu=0", "health": "Healthy"}
    assert node.plugins.health(one) == {"main": [{"name": "claim:gpu/big", "resources": [entry]}]}
    await driver.tell_health([{**well, "health": 2}])
    await node.until(lambda: node.plugins.health(one)["main"][0]["resources"][0]["health"] == "Unhealthy")
    assert "1" in node.woken
    node.clock.ahead += 31
    assert node.plugins.health(one)["main"][0]["resources"][0]["health"] == "Unknown"
    await driver.tell_health([{**well, "health_check_timeout_seconds": 60}])
    await node.until(lambda: node.plugins.health(one)["main"][0]["resources"][0]["health"] == "Healthy")
    node.clock.ahead += 59
    assert node.plugins.health(one)["main"][0]["resources"][0]["health"] == "Healthy"
    await driver.stop()


async def test_extended_resources_behind_which_there_are_devices(node):
    """Who asks for them gets them."""
    driver = await started(node)
    one = pod("1")
    one["spec"]["resourceClaims"] = []
    one["spec"]["containers"] = [{"name": "main", "resources": {"requests": {"example.com/gpu": "1"}}}, {"name": "b"}]
    mapping = {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "big"}
    one["status"] = {"extendedResourceClaimStatus": {"resourceClaimName": "gpu", "requestMappings": [mapping]}}
    mine = claims(one)
    owner = {"kind": "Pod", "apiVersion": "v1", "name": "pod-1", "uid": "1", "controller": True}
    mine["gpu"]["metadata"]["ownerReferences"] = [owner]
    await node.plugins.prepare(one, mine)
    assert cdi(node, one) == ("example.com/gpu=0",)
    assert node.plugins.claims.cdi_devices(one, one["spec"]["containers"][1]) == ()
    await driver.stop()


async def test_who_has_what_is_told(node):
    """By the pod-resources service: all pods, one, and what could be had."""
    from sampan.node.plugins.pod_resources_api import LISTER

    plugin = DevicePlugin(
        node.root / "device-plugins", "example.com/dev", dict.fromkeys("ab", "Healthy"), numa={"a": 0, "b": 1}
    )
    await plugin.start()
    await plugin.register()
    await node.until(lambda: node.plugins.amounts()[0])
    driver = await started(node)
    one = pod("1", {"name": "gpu", "request": "big"})
    one["spec"]["containers"][0]["resources"]["limits"] = {"example.com/dev": "1"}
    node.bound = [one, {**pod("2"), "status": {"phase": "Succeeded"}}]
    await node.plugins.admit(one)
    await node.plugins.prepare(one, claims(one))
    client = Client(node.root / "pod-resources" / "kubelet.sock")
    (told,) = (await client.call(LISTER["List"], timeout_seconds=60))["pod_resources"]
    (main,) = told["containers"]
    assert (told["name"], told["namespace"], main["name"]) == ("pod-1", "default", "main")
    near = {"nodes": [{"ID": 0}]}
    assert main["devices"] == [{"resource_name": "example.com/dev", "device_ids": ["a"], "topology": near}]
    resource = {
        "cdi_devices": [{"name": "example.com/gpu=0"}],
        "driver_name": DRIVER,
        "pool_name": "p",
        "device_name": "0",
        "share_id": "s",
    }
    claim = {"claim_name": "gpu", "claim_namespace": "default", "claim_resources": [resource]}
    assert main["dynamic_resources"] == [claim]
    wanted = {"pod_name": "pod-1", "pod_namespace": "default"}
    assert (await client.call(LISTER["Get"], wanted, timeout_seconds=60))["pod_resources"] == told
    from sampan.node.rpc.service import RpcError

    with pytest.raises(RpcError, match="pod nobody in namespace default not found"):
        await client.call(LISTER["Get"], {**wanted, "pod_name": "nobody"}, timeout_seconds=60)
    there = (await client.call(LISTER["GetAllocatableResources"], timeout_seconds=60))["devices"]
    assert [each["device_ids"] for each in there] == [["a"], ["b"]]
    client.close()
    await driver.stop()
    await plugin.stop()
