"""A mount program that waits for a server for ever."""

import asyncio
from pathlib import Path

import pytest

from sampan.node.volumes import mounted
from sampan.node.volumes.failure import VolumeFailure


async def test_a_mount_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and so is its file system's helper: that would mount the export when the pod is long gone."""
    program, began = tmp_path / "mount", tmp_path / "began"
    program.write_text(f"#!/bin/sh\nsleep 1000 &\necho $$ $! > {began}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(mounted, "SECONDS", 1.0)
    async with asyncio.timeout(60):
        with pytest.raises(VolumeFailure, match="mount -t nfs far:/ .*/there: no answer within 1 seconds"):
            await mounted.nfs({"server": "far", "path": "/"}, (), tmp_path / "there")
        for pid in began.read_text().split() if began.exists() else ():
            while _is_there(pid):
                await asyncio.sleep(0.01)


def _is_there(pid: str) -> bool:
    """A process whose parent has not noticed its end does not count."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
