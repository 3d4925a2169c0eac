"""Where others reach us: never an address that only we have, as long as there is another."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sampan.kinds.kind import Kind, Object
from sampan.platform import own_address
from sampan.platform.layer import Around

ROUTES = {"10.0.0.7": "10.0.0.1", "127.0.0.1": "127.0.0.1", own_address.OUTSIDE: "198.51.100.4"}


@dataclass
class Api:
    """A cluster with such nodes."""

    nodes: tuple[str, ...]

    async def list(self, kind: Kind) -> Any:
        return SimpleNamespace(items=[self._node(address) for address in self.nodes])

    def _node(self, address: str) -> Object:
        return {
            "status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": address}]}
        }


@pytest.mark.parametrize(
    ("told", "nodes", "found"),
    [
        ("10.0.0.7", (), "10.0.0.1"),
        ("203.0.113.9", (), "203.0.113.9"),
        ("127.0.0.1", ("10.0.0.7",), "10.0.0.1"),
        ("127.0.0.1", ("127.0.0.1", "10.0.0.7"), "10.0.0.1"),
        ("127.0.0.1", ("127.0.0.1",), "198.51.100.4"),
        ("127.0.0.1", (), "198.51.100.4"),
    ],
)
async def test_an_address_that_others_reach(
    told: str, nodes: tuple[str, ...], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As we were told, else towards a node, else outwards."""
    monkeypatch.setattr(own_address, "towards", lambda address: ROUTES.get(address, ""))
    around = Around(cast("Any", Api(nodes)), *cast("Any", (None, None, None)), address=told)
    assert await own_address.find(around) == found
