"""Leases: which pod holds which address, on disk, so that no address is ever held twice.

Addresses are handed out round robin: one that was given back is the last to be used again, since
somebody may still remember whom it belonged to. The record is a line for each change, written anew when they have
become many; after a power cut it may be gone, and so are then the pods it spoke of.
"""

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

_MOST_LINES = 10_000


class NoAddressLeft(Exception):
    """Every address of the node's pod CIDR is held by a pod."""


class Leases:
    """The addresses of one node. `path` is the record; the first two addresses are never leased."""

    def __init__(self, path: Path, network: IPv4Network) -> None:
        self._path = path
        self._network = network
        self._next = 2
        self._held: dict[str, str] = {}
        self._lines = 0
        self._load()

    def get(self, pod_uid: str) -> str | None:
        return self._held.get(pod_uid)

    def items(self) -> dict[str, str]:
        """Address by pod uid."""
        return dict(self._held)

    def take(self, pod_uid: str) -> str:
        """Lease an address to the pod, or say again which one it holds. NoAddressLeft, or OSError: it has none."""
        held = self._held.get(pod_uid)
        if held is not None:
            return held
        address = self._free_address()
        self._held[pod_uid] = address
        try:
            self._note(pod_uid, address)
        except OSError:
            del self._held[pod_uid]
            raise
        return address

    def give_back(self, pod_uid: str) -> None:
        """Free the pod's address; nothing happens when it holds none. OSError: it keeps it."""
        address = self._held.pop(pod_uid, None)
        if address is None:
            return
        try:
            self._note(pod_uid, None)
        except OSError:
            self._held[pod_uid] = address
            raise

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
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of an agent that was killed
                self._take_in(json.loads(line))
        self._lines = len(lines)

    def _take_in(self, record: dict[str, Any]) -> None:
        for uid, address in record.get("pods", {}).items():
            if address is None:
                self._held.pop(uid, None)
            elif _belongs(address, self._network):
                self._held[uid] = address
        self._next = int(record.get("next", 2))

    def _note(self, pod_uid: str, address: str | None) -> None:
        """One more line; or all of them anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lines += 1
        if self._lines > _MOST_LINES:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(self._line(self._held))
            os.replace(fresh, self._path)
            self._lines = 1
            return
        line = f"\n{self._line({pod_uid: address})}".encode()
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def _line(self, pods: Mapping[str, str | None]) -> str:
        return json.dumps({"next": self._next, "pods": pods})


def _belongs(address: str, network: IPv4Network) -> bool:
    return IPv4Address(address) in network
