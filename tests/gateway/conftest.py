"""One Envoy for all tests of the gateway; each has a configuration server of its own."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from sampan.gateway import envoy_process, envoy_resources
from sampan.gateway.envoy_process import Envoy, EnvoyMissing
from tests.gateway import world
from tests.gateway.world import World


@pytest.fixture(scope="session")
def envoy_program() -> str:
    """Envoy's path."""
    try:
        return envoy_process.find()
    except EnvoyMissing:
        pytest.skip("there is no Envoy")


@pytest.fixture(scope="session")
def envoy_directory(envoy_program: str) -> Iterator[Path]:
    """Where an Envoy runs that takes its configuration from Envoy.SOCKET there."""
    with tempfile.TemporaryDirectory(prefix="sampan-envoy-") as name:
        directory = Path(name)
        config = envoy_resources.bootstrap(Envoy.SOCKET, Envoy.ADMIN, "test")
        (directory / Envoy.CONFIG).write_bytes(orjson.dumps(config))
        command = [envoy_program, "--config-path", Envoy.CONFIG, "--disable-hot-restart", "--log-level", "warning"]
        with (directory / "envoy.log").open("wb") as log:
            child = subprocess.Popen([*command, "--concurrency", "1"], cwd=directory, stdout=log, stderr=log)
        try:
            yield directory
        finally:
            child.terminate()
            child.wait(10)
            if os.environ.get("SHOW_ENVOY_LOG"):
                print((directory / "envoy.log").read_text())


@pytest.fixture
async def made(envoy_directory: Path) -> AsyncIterator[World]:
    """A world with nothing in it."""
    async with world.of(envoy_directory / Envoy.SOCKET) as found:
        yield found
