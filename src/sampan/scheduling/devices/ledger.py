"""Ledger: which devices are taken, and how much of those that several share, by the claims that have them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.meta import quantity
from sampan.scheduling.devices.pools import Counters, DeviceId, Pool, PoolId

Tree = Mapping[str, Any]
Amounts = Mapping[str, int]  # name of a capacity -> nanos


class Ledger:
    """Entries by the uid of the claim. What is looked at for administration alone is not taken."""

    def __init__(self) -> None:
        self._entries: dict[str, Sequence[Tree]] = {}
        self._owners: dict[DeviceId, set[str]] = {}
        self._shares: dict[DeviceId, dict[tuple[str, str], Amounts]] = {}  # by claim and share
        self._consumed: dict[tuple[DeviceId, str], int] = {}
        self._versions: dict[PoolId, int] = {}
        self._spent: dict[PoolId, tuple[tuple[int, int], Counters]] = {}

    def set(self, uid: str, results: Iterable[Tree]) -> None:
        """What a claim has now. Again is harmless, and changes no version."""
        entry = [each for each in results if not each.get("adminAccess")]
        before = self._entries.get(uid, [])
        if entry == before:
            return
        for result in before:
            self._drop(uid, result)
        for result in entry:
            self._add(uid, result)
        if entry:
            self._entries[uid] = entry
        else:
            self._entries.pop(uid, None)
        for result in (*before, *entry):
            pool = (result["driver"], result["pool"])
            self._versions[pool] = self._versions.get(pool, 0) + 1

    def version(self, pool: PoolId) -> int:
        """Changes when something of the pool is taken or given back."""
        return self._versions.get(pool, 0)

    def is_taken(self, device: DeviceId) -> bool:
        """Whether somebody has the whole device."""
        return bool(self._owners.get(device))

    def is_used(self, device: DeviceId) -> bool:
        """Whether anybody has any of it."""
        return self.is_taken(device) or bool(self._shares.get(device))

    def consumed(self, device: DeviceId, name: str) -> int:
        """How much of a capacity those who share the device have."""
        return self._consumed.get((device, name), 0)

    def spent(self, pool: Pool) -> Counters:
        """How much of each counter the devices use that anybody has."""
        stamp = (pool.serial, self.version(pool.id))
        known = self._spent.get(pool.id)
        if known is None or known[0] != stamp:
            total: dict[tuple[str, str], int] = {}
            for device in pool.devices():
                if device.counters and self.is_used(device.id):
                    for counter, nanos in device.counters.items():
                        total[counter] = total.get(counter, 0) + nanos
            known = self._spent[pool.id] = (stamp, total)
        return known[1]

    def _add(self, uid: str, result: Tree) -> None:
        device = _id(result)
        share = result.get("shareID")
        if share:
            amounts = result.get("consumedCapacity") or {}
            full = {_full(name, device[0]): quantity.parse(value).nanos for name, value in amounts.items()}
            self._shares.setdefault(device, {})[uid, str(share)] = full
            self._count(device, full, 1)
        else:
            self._owners.setdefault(device, set()).add(uid)

    def _drop(self, uid: str, result: Tree) -> None:
        device = _id(result)
        shares = self._shares.get(device, {})
        self._count(device, shares.pop((uid, str(result.get("shareID"))), {}), -1)
        if not shares:
            self._shares.pop(device, None)
        owners = self._owners.get(device, set())
        owners.discard(uid)
        if not owners:
            self._owners.pop(device, None)

    def _count(self, device: DeviceId, amounts: Amounts, sign: int) -> None:
        for name, nanos in amounts.items():
            left = self._consumed.pop((device, name), 0) + sign * nanos
            if left:
                self._consumed[device, name] = left


def _id(result: Tree) -> DeviceId:
    return str(result["driver"]), str(result["pool"]), str(result["device"])


def _full(name: str, driver: str) -> str:
    return name if "/" in name else f"{driver}/{name}"
