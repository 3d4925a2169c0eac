"""nft that gives no answer."""

import asyncio
import os
from pathlib import Path

import pytest

from sampan.node.network import nft


@pytest.fixture
def began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nft that hangs; the file with its number, once it runs."""
    program, file = tmp_path / "nft", tmp_path / "began"
    program.write_text(f"#!/bin/sh\necho $$ > {file}.new\nmv {file}.new {file}\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return file


async def test_it_is_given_up(began: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute, as a refusal; it changes nothing afterwards."""
    monkeypatch.setattr(nft, "LONGEST_SECONDS", 1.0)
    async with asyncio.timeout(60):
        with pytest.raises(nft.NftError, match="nft: no answer within 1 seconds"):
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
