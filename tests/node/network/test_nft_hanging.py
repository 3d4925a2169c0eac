"""nft that gives no answer."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.node.network import nft
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.settings import NetworkSettings

PORT = 31998


@pytest.fixture
def began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nft that hangs; the file with its number, once it runs."""
    program, file = tmp_path / "nft", tmp_path / "began"
    program.write_text(f"#!/bin/sh\necho $$ > {file}.new\nmv {file}.new {file}\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return file


async def test_it_is_given_up(began: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute; it changes nothing afterwards."""
    monkeypatch.setattr(nft, "LONGEST_SECONDS", 1.0)
    async with asyncio.timeout(60):
        with pytest.raises(nft.NftNoAnswer, match="nft: no answer within 1 seconds"):
            await nft.apply("add table inet x")
    assert not began.exists() or not Path("/proc", began.read_text().strip()).exists()


async def test_it_is_broken_off(began: Path) -> None:
    """With who has asked it."""
    asking = asyncio.ensure_future(nft.query("list", "chains"))
    async with asyncio.timeout(60):
        while not began.exists():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait((asking,))
    assert asking.cancelled() and not Path("/proc", began.read_text().strip()).exists()


async def test_no_answer_is_not_that_there_is_nothing(began: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where something is listed, nor where a table is removed."""
    monkeypatch.setattr(nft, "LONGEST_SECONDS", 0.1)
    for asking in (nft.query("list", "chains"), nft.delete_table("x")):
        with pytest.raises(nft.NftNoAnswer):
            await asking


async def test_rules_are_not_half_made(
    make_settings: Callable[..., NetworkSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody knows through whose chains pods' packets go, there is no table, so that it is tried again."""
    network, made = PodNetwork(make_settings()), list[str]()

    async def unanswered(*command: str) -> None:
        raise nft.NftNoAnswer

    async def apply(text: str) -> None:
        made.append(text)

    monkeypatch.setattr(nft, "query", unanswered)
    monkeypatch.setattr(nft, "apply", apply)
    monkeypatch.setattr(nft, "has_table", lambda name: False)
    with pytest.raises(nft.NftNoAnswer):
        await network.restore()
    assert not made


@pytest.mark.root
async def test_a_port_that_may_be_open_is_closed(network: PodNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """nft was killed after the kernel had done all of it; the pod was deleted before another attempt."""
    apply, table = nft.apply, network.settings.table

    async def killed(text: str) -> None:
        if "add element" in text and "delete" not in text:
            await apply(text)
        raise nft.NftNoAnswer

    async def is_open() -> bool:
        return any(str(PORT) in str(item) for item in await nft.query("list", "table", "inet", table))

    with monkeypatch.context() as patch:
        patch.setattr(nft, "apply", killed)
        with pytest.raises(nft.NftNoAnswer):
            await network.add("web", PodRequest("default", "web", host_ports=(HostPort("tcp", PORT, 80),)))
    assert await is_open()
    await network.remove("web")
    assert not await is_open()
