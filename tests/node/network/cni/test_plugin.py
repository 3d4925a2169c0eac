"""A plugin that does not come to an end."""

import asyncio
from pathlib import Path

import pytest

from sampan.node.network.cni import plugin
from sampan.node.network.cni.plugin import CniError, Errand


async def test_a_plugin_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up with those that it has called: the pod is told, and nobody goes on making an interface for it."""
    program, began = tmp_path / "slow", tmp_path / "began"
    program.write_text(f"#!/bin/sh\nsleep 1000 &\necho $$ $! > {began}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(plugin, "LONGEST_SECONDS", 1.0)
    async with asyncio.timeout(60):
        with pytest.raises(CniError, match=r'plugin type="slow" failed \(add\): no answer within 1 seconds'):
            await plugin.run("ADD", {"type": "slow"}, Errand("id", "/run/netns/id", {}), (str(tmp_path),))
        for pid in began.read_text().split() if began.exists() else ():
            while _is_there(pid):
                await asyncio.sleep(0.01)


def _is_there(pid: str) -> bool:
    """A process whose parent has not noticed its end does not count."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
