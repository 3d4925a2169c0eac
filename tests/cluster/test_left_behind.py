"""What goes on without the control plane, and is wanted no more when that is back; what a runtime that is gone has."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sampan.cluster import agents, forsaken, host, processes
from sampan.cluster.control_plane import ControlPlane
from sampan.cluster.settings import Settings


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_envoy_ends_if_the_gateway_was_disabled_meanwhile(tmp_path: Path, is_enabled: bool) -> None:
    """Else it is left to the layer, which takes it over."""
    settings = Settings(name="left", directory=tmp_path)
    file = tmp_path / "gateway" / "envoy.pid"
    file.parent.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as envoy:
        file.write_text(f"{envoy.pid} {processes.start_time(envoy.pid)}\n")
        try:
            assert host.gateway_proxy(settings).pid == envoy.pid
            plane = ControlPlane(settings, cast("Any", None))
            await plane._end_left_behind(cast("Any", SimpleNamespace(is_enabled=lambda _: is_enabled)))
            assert (envoy.poll() is None, file.exists()) == (is_enabled, is_enabled)
        finally:
            envoy.kill()


async def test_without_envoy_nothing_is_done(tmp_path: Path) -> None:
    """Neither is anything asked."""
    plane = ControlPlane(Settings(name="left", directory=tmp_path), cast("Any", None))
    await plane._end_left_behind(cast("Any", None))


def test_a_container_runtime_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has can't be taken back: that fails, and says how to go on, until somebody forsakes it."""
    cluster = Settings(name="left", directory=tmp_path, runtime="unix:///none.sock", nodes=1)
    (name,) = cluster.node_names()
    config = agents.config_path(cluster, name)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch()
    host.node_agent(cluster, name).log.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(host, "check_elevation", lambda cluster: None)
    monkeypatch.setattr(host, "_python", lambda cluster: ["sh", "-c", f"echo '{forsaken.GONE}{config}'; exit 3"])
    with pytest.raises(host.HostError, match=r"nobody listens at unix:///none.sock; start it .*: sampan down --purge"):
        host.stop(cluster, lambda step: None)
    assert config.exists()
    left: list[str] = []
    host.stop(cluster, lambda step: None, left)
    assert [text.partition(": ")[0] for text in left] == [
        "nobody listens at unix:///none.sock, so what it had may be left"
    ]
    assert not config.exists()
