"""CSI volumes: staged once for the node, published in each pod, and taken back in the opposite order.

Each step is written down before it is done, and may be done again: whoever comes after an agent that was killed
finds what is to be undone. A volume is unstaged once the last pod on the node has given it back; that pod's end waits
until nothing is published in it any more, and not for a driver that hangs as it unstages.

https://kubernetes-csi.github.io/docs/
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sampan.kit import threads
from sampan.kit.tasks import Tasks
from sampan.node.csi.drivers import Driver, Drivers, NotRegistered
from sampan.node.csi.leaving import Leaving
from sampan.node.csi.records import Device, Place, Records
from sampan.node.observed import Emit
from sampan.node.volumes import aside, ownership
from sampan.node.volumes.failure import VolumeFailure

if TYPE_CHECKING:
    from sampan.node.csi.order import Order

log = logging.getLogger(__name__)

STATS_SECONDS = 10.0
DOUBTED = "doubted"
"""In place of the boot at which a volume was staged: it is being unstaged, and who wants it stages it again."""

Object = dict[str, Any]
Key = tuple[str, str]

STAGE, STATS, EXPAND = 1, 2, 3  # as in wire, which is imported only where there is a driver


class Told(Protocol):
    """Who tells the API."""

    async def in_use(self, devices: Iterable[str]) -> None: ...
    def forget_in_use(self) -> None: ...
    async def grown(self, claim: Mapping[str, Any], size: str) -> None: ...


class CsiVolumes:
    """Those of one node. `boot` is the machine's boot: what was made ready before another one is not ready now."""

    def __init__(self, drivers: Drivers, records: Records, told: Told, boot: str, tasks: Tasks) -> None:
        self.drivers, self._records, self._told, self._boot = drivers, records, told, boot
        self._leaving = Leaving(self._leave, tasks)
        self._locks: dict[Key, _Lock] = {}
        self.emit: Callable[[Any, Emit], None] = lambda about, event: None
        """Where events go."""
        drivers.on_registered = self._sweep

    async def prepare(self, pod: Mapping[str, Any], orders: Iterable["Order"]) -> dict[str, str]:
        """Host paths of the volumes, by the names that the pod has for them. Raises VolumeFailure."""
        found = {}
        for order in orders:
            async with self._lock((order.driver, order.handle)):
                found[order.name] = await self._prepare(pod, order)
        return found

    async def teardown(self, pod_uid: str) -> None:
        """All of the pod's volumes are given back. Repeating is harmless. Raises VolumeFailure."""
        errands = []
        for place in await asyncio.to_thread(self._records.places, pod_uid):
            async with self._lock(place.key):
                errands.append(self._leaving.begin(place.key))  # it has its turn after us, whatever comes of this
                await self._give_back(place)
        await self._leaving.wait_tried(errands)

    def pods(self) -> set[str]:
        """The uids of the pods that have such volumes here, also after a restart."""
        return self._records.pods()

    def in_use(self) -> list[str]:
        """The attachable volumes that are here, as a node's status names them."""
        return sorted({device.status_name for device in self._records.devices() if device.is_attachable})

    async def tell(self, *, anew: bool = False) -> None:
        """Says so; anew: also if it was said before."""
        if anew:
            self._told.forget_in_use()
        await self._told.in_use(await asyncio.to_thread(self.in_use))

    async def stats(self, pod_uid: str) -> dict[str, Object]:
        """What the pod's volumes hold, by their names in the pod, as far as their drivers can say."""
        from sampan.node.rpc.service import RpcError

        found = {}
        for place in self._records.places(pod_uid):
            if place.is_block or place.driver not in self.drivers.names():
                continue
            driver, device = self.drivers.get(place.driver), self._records.device(place.key)
            request = {"volume_id": place.handle, "volume_path": driver.see(place.target)}
            if device is not None and device.staged:
                request["staging_target_path"] = driver.see(device.staging)
            try:
                if STATS in await driver.abilities():
                    answer = await driver.call("NodeGetVolumeStats", request, seconds=STATS_SECONDS)
                    found[place.volume] = _usage(answer)
            except RpcError as error:
                log.info("what volume %s holds: %s", place.volume, error)
        return found

    async def _prepare(self, pod: Mapping[str, Any], order: "Order") -> str:
        known = await asyncio.to_thread(self._records.place, pod["metadata"]["uid"], order.spec_name)
        if known is not None and known.published == self._boot and not (order.is_republished or order.is_to_grow()):
            return known.target
        if order.obstacle is not None:
            raise order.obstacle
        what = "MapVolume.SetUpDevice" if order.is_block else "MountVolume.MountDevice"
        try:
            driver = self.drivers.get(order.driver)
        except NotRegistered as error:
            raise _not_there(order, str(error)) from None
        abilities = await self._try(driver.abilities(), what, order)
        uid = pod["metadata"]["uid"]
        place = await threads.to_its_end(self._write_down, uid, order) if known is None else known
        device = await self._device(order)
        if order.is_attachable:
            await self.tell()
        is_staged = STAGE in abilities and not order.is_inline
        staging = driver.see(device.staging) if is_staged else ""
        if is_staged and device.staged != self._boot:
            self._records.make_room(device)
            request = order.stage_request(driver.see(device.staging), abilities)
            await self._try(driver.call("NodeStageVolume", request), what, order)
            device = await threads.to_its_end(self._records.save_device, dataclasses.replace(device, staged=self._boot))
        if place.published != self._boot or order.is_republished:
            place = await self._publish(driver, order, staging, place)
        if EXPAND in abilities and order.is_to_grow():
            await self._grow(pod, driver, order, staging, place)
        return place.target

    async def _publish(self, driver: Driver, order: "Order", staging: str, place: Place) -> Place:
        what = "MapVolume.MapPodDevice" if order.is_block else "MountVolume.SetUp"
        abilities = await driver.abilities()
        if place.is_fresh:
            place = await threads.to_its_end(self._records.save_place, dataclasses.replace(place, is_fresh=False))
        self._records.make_room(place)
        request = order.publish_request(staging, driver.see(place.target), abilities)
        await self._try(driver.call("NodePublishVolume", request), what, order)
        if place.published == self._boot:
            return place
        if order.is_given_to_group(abilities):
            await self._try(self._give(order, Path(place.target)), what, order)
        return await threads.to_its_end(self._records.save_place, dataclasses.replace(place, published=self._boot))

    async def _give(self, order: "Order", target: Path) -> None:
        """In a thread of its own: there may be many files, and a driver's file system may hang."""
        group, everything = order.group, not order.group_on_mismatch
        assert group is not None

        def give(errand: aside.Errand) -> None:
            with errand.outside(), aside.alone((order.driver, order.handle)):
                ownership.give(target, group, errand, everything=everything)

        await aside.run(give)

    async def _grow(self, pod: Mapping[str, Any], driver: Driver, order: "Order", staging: str, place: Place) -> None:
        """The driver makes room for what the volume has been given, and the claim has it then."""
        claim = order.claim
        assert claim is not None
        node = pod["spec"].get("nodeName", "")
        try:
            request = order.expand_request(driver.see(place.target), staging, await driver.abilities())
            await driver.call("NodeExpandVolume", request)
        except Exception as error:  # noqa: BLE001 (the driver's: the pod has its volume all the same)
            text = f'NodeExpandVolume.NodeExpandVolume failed for volume "{order.spec_name}" : {error}'
            for about in (pod, claim):
                self.emit(about, Emit("Warning", "VolumeResizeFailed", text))
            return
        await self._told.grown(claim, order.size_text)
        text = f'MountVolume.NodeExpandVolume succeeded for volume "{order.spec_name}" {node}'
        for about in (pod, claim):
            self.emit(about, Emit("Normal", "FileSystemResizeSuccessful", text))

    def _write_down(self, pod_uid: str, order: "Order") -> Place:
        key = order.driver, order.handle
        fresh = self._records.new_place(pod_uid, order.name, order.spec_name, key, is_block=order.is_block)
        return self._records.save_place(fresh)

    async def _device(self, order: "Order") -> Device:
        known = self._records.device((order.driver, order.handle))
        if known is not None:
            return known
        fresh = self._records.new_device(
            (order.driver, order.handle),
            order.spec_name,
            is_block=order.is_block,
            is_attachable=order.is_attachable,
        )
        return await threads.to_its_end(self._records.save_device, fresh)

    async def _give_back(self, place: Place) -> None:
        """Nothing is there any more; a driver that was not asked for anything there is not asked now."""
        if not place.is_fresh:
            driver = self._driver_for(place)
            request = {"volume_id": place.handle, "target_path": driver.see(place.target)}
            await self._undo(driver.call("NodeUnpublishVolume", request), "UnmountVolume.TearDown", place)
        self._records.drop_place(place)

    async def _leave(self, key: Key) -> None:
        """The volume is unstaged, unless a pod has it (again); then what is in use is told, also if that failed before."""
        async with self._lock(key):
            device = self._records.device(key)
            users = await asyncio.to_thread(self._records.users, key)
            if device is not None and not users:
                await self._unstage(device)
        await self.tell()

    async def _unstage(self, device: Device) -> None:
        if self._records.was_begun(device):
            driver = self._driver_for(device)
            doubted = dataclasses.replace(device, staged=DOUBTED)
            await threads.to_its_end(self._records.save_device, doubted)
            request = {"volume_id": device.handle, "staging_target_path": driver.see(device.staging)}
            await self._undo(driver.call("NodeUnstageVolume", request), "UnmountDevice", device)
        self._records.drop_device(device)

    async def _sweep(self, driver: str) -> None:
        """What an agent was about to undo when it was killed."""
        devices = await asyncio.to_thread(self._records.devices)
        await self._leaving.wait_tried([self._leaving.begin(each.key) for each in devices if each.driver == driver])
        await self.tell()

    def _driver_for(self, record: Place | Device) -> Driver:
        try:
            return self.drivers.get(record.driver)
        except NotRegistered as error:
            raise VolumeFailure(f'UnmountVolume.TearDown failed for volume "{record.name}" : {error}') from None

    async def _try(self, work: Any, what: str, order: "Order") -> Any:
        from sampan.node.rpc.service import RpcError

        try:
            return await work
        except (RpcError, OSError) as error:
            raise VolumeFailure(f'{what} failed for volume "{order.spec_name}" : {error}') from None

    async def _undo(self, work: Any, what: str, record: Place | Device) -> None:
        from sampan.node.rpc.service import RpcError

        try:
            await work
        except RpcError as error:
            if error.code not in ("NotFound", "Unimplemented"):
                raise VolumeFailure(f'{what} failed for volume "{record.name}" : {error}') from None

    def _lock(self, key: Key) -> "_Lock":
        return self._locks.setdefault(key, _Lock(self._locks, key))


class _Lock:
    """One at a time with a volume; forgotten when nobody is with it."""

    def __init__(self, all_of_them: dict[Key, "_Lock"], key: Key) -> None:
        self._all, self._key = all_of_them, key
        self._lock, self._users = asyncio.Lock(), 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._all.pop(self._key, None)


def _not_there(order: "Order", why: str) -> VolumeFailure:
    """As a kubelet words it, by the step that needs the driver first."""
    name = order.spec_name
    if order.is_block:
        return VolumeFailure(f'MapVolume.SetUpDevice failed for volume "{name}" : {why}')
    if order.is_inline:
        text = "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client"
        return VolumeFailure(f'MountVolume.SetUp failed for volume "{name}" : {text}: {why}')
    text = "kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient"
    return VolumeFailure(f'MountVolume.MountDevice failed for volume "{name}" : {text}: {why}')


def _usage(answer: Object) -> Object:
    """As /stats/summary has it."""
    names = {1: ("availableBytes", "capacityBytes", "usedBytes"), 2: ("inodesFree", "inodes", "inodesUsed")}
    found: Object = {}
    for usage in answer["usage"]:
        if usage["unit"] in names:
            values = (usage["available"], usage["total"], usage["used"])
            found |= dict(zip(names[usage["unit"]], values, strict=True))
    if (condition := answer["volume_condition"]) is not None:
        found["volumeHealthStats"] = {"abnormal": condition["abnormal"]}
    return found
