"""What goes on without the control plane, and is wanted no more when that is back."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sampan.cluster import host, processes
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
