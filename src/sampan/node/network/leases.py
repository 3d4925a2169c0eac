"""Leases: which pod holds which address, on disk, so that no address is ever held twice.

Addresses are handed out round robin: one that was given back is the last to be used again, since
somebody may still remember whom it belonged to. The record is one small document replaced by a
rename; after a power cut it may be gone, and so are then the pods it spoke of.
"""

import json
import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path


class NoAddressLeft(Exception):
    """Every address of the node's pod CIDR is held by a pod."""


class Leases:
    """The addresses of one node. `path` is the record; the first two addresses are never leased."""

    def __init__(self, path: Path, network: IPv4Network) -> None:
        self._path = path
        self._network = network
        self._next = 2
        self._held: dict[str, str] = {}
        self._load()

    def get(self, pod_uid: str) -> str | None:
        return self._held.get(pod_uid)

    def items(self) -> dict[str, str]:
        """Address by pod uid."""
        return dict(self._held)

    def take(self, pod_uid: str) -> str:
        """Lease an address to the pod, or say again which one it holds."""
        held = self._held.get(pod_uid)
        if held is not None:
            return held
        address = self._free_address()
        self._held[pod_uid] = address
        self._save()
        return address

    def give_back(self, pod_uid: str) -> None:
        """Free the pod's address; nothing happens when it holds none."""
        if self._held.pop(pod_uid, None) is not None:
            self._save()

    def _free_address(self) -> str:
        taken = set(self._held.values())
        usable = self._network.num_addresses - 3
        for step in range(usable):
            index = 2 + (self._next - 2 + step) % usable
            address = str(self._network[index])
            if address not in taken:
                self._next = index + 1
                return address
        raise NoAddressLeft(f"no address left in {self._network}: {len(taken)} pods hold all of them")

    def _load(self) -> None:
        try:
            record = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        held = record.get("pods", {})
        self._held = {uid: ip for uid, ip in held.items() if _belongs(ip, self._network)}
        self._next = int(record.get("next", 2))

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"next": self._next, "pods": self._held}))
        os.replace(fresh, self._path)


def _belongs(address: str, network: IPv4Network) -> bool:
    return IPv4Address(address) in network
