"""A cluster's authority near its end: a start prolongs it, and machines that joined before learn of it by the API."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.cluster import key_files, pki
from sampan.cluster.settings import Settings
from sampan.kit.clock import SystemClock
from sampan.kit.dice import Dice
from sampan.node import authority
from sampan.node.authority import Authority
from sampan.node.certificates import Files
from sampan.web.certificates import YEAR_SECONDS, new_authority
from tests.cluster.test_election_over_etcd import Plane
from tests.ports import free_port


@pytest.mark.slow
async def test_a_machine_that_joined_learns_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the node that it is, over the connection that it has by what it trusts, though none of its pods needs to read that."""
    monkeypatch.setattr(authority, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(authority, "AGAIN_SECONDS", 0.05)  # it may not be published yet
    clock, home, joined = SystemClock(), tmp_path / "home", tmp_path / "joined"
    home.mkdir()
    joined.mkdir()
    plane = Plane(home, Settings("sampan", home).store, free_port())
    plane.settings = dataclasses.replace(plane.settings, nodes=1)
    plane.settings.save()
    old = new_authority("sampan-ca", clock.now() - 9 * YEAR_SECONDS)
    old.save(home / "pki", key_files.AUTHORITY)
    (joined / "ca.crt").write_bytes(old.certificate)
    pair = Files(home / "pki" / "node-sampan.crt", home / "pki" / "node-sampan.key")
    plane.start()
    try:
        await plane.settled()
        ends = pki.authority_ends(plane.settings)[key_files.AUTHORITY]
        assert ends > clock.now() + 9 * YEAR_SECONDS
        own = pair.load()
        transport = HttpTransport(
            Access(plane.settings.server_url, old.certificate.decode(), own.certificate.decode(), own.key.decode())
        )
        told: asyncio.Queue[bytes] = asyncio.Queue()
        following = asyncio.ensure_future(
            Authority(Client(transport, "test"), clock, joined / "ca.crt").run(Dice(7), told.put)
        )
        async with asyncio.timeout(60):
            assert await told.get() == old.certificate
            assert await told.get() == (home / "pki" / "ca.crt").read_bytes()
            while (joined / "ca.crt").read_bytes() != (home / "pki" / "ca.crt").read_bytes():
                await asyncio.sleep(0.02)
        following.cancel()
        await transport.close()
    finally:
        plane.end()
