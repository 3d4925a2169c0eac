"""What a node takes back from the host, and in which order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.node import process
from sampan.node.runtime.protocol import RuntimeGone
from sampan.node.volumes import mounts
from sampan.node.volumes.volumes import Volumes


@pytest.mark.parametrize(
    ("fails", "error", "code"),
    [("", OSError, 0), ("containers", OSError, 1), ("network", OSError, 1), ("containers", RuntimeGone, 3)],
)
async def test_networks_go_before_what_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, error: type[Exception], code: int
) -> None:
    """Network plugins find pods' namespaces: all that is mounted in the node's folder goes later. What fails stops nothing."""
    done: list[str] = []

    async def step(name: str) -> None:
        done.append(name)
        if name == fails:
            raise error(name)

    async def nothing() -> None: ...

    runtime = SimpleNamespace(open=nothing, cleanup_all=lambda: step("containers"))
    own = SimpleNamespace(runtime=runtime, network=SimpleNamespace(teardown=lambda: step("network")))
    monkeypatch.setattr(process, "_machinery", lambda *arguments: own)
    monkeypatch.setattr(Volumes, "pods", lambda self: done.append("volumes") or set())
    monkeypatch.setattr(mounts, "unmount_below", lambda folder: done.append(f"mounts {folder.name}"))
    files: Any = dict.fromkeys(("ca", "certificate", "key", "serving_certificate", "serving_key", "client_ca"), "")
    config = process.Config(cluster="c", node="n", server="", root=str(tmp_path / "node"), network={}, **files)
    assert await process.tear_down(config) == code
    assert done == ["containers", "volumes", "network", "mounts node"]
