"""One Envoy for all tests of the gateway; each has a configuration server of its own."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from sampan.gateway import envoy_process, envoy_resources
from sampan.gateway.envoy_process import Envoy, EnvoyMissing
from tests.gateway import world
from tests.gateway.world import World


@dataclass(frozen=True)
class Lone:
    """An Envoy that takes its configuration from Envoy.SOCKET in its directory, and stands still while nobody offers any.

    Otherwise it would look for one ever more seldom, and the next test would wait for that.
    """

    directory: Path
    process: subprocess.Popen[bytes]

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)


@pytest.fixture(scope="session")
def envoy_program() -> str:
    """Envoy's path."""
    try:
        return envoy_process.find()
    except EnvoyMissing:
        pytest.skip("there is no Envoy")


@pytest.fixture(scope="session")
def lone_envoy(envoy_program: str) -> Iterator[Lone]:
    with tempfile.TemporaryDirectory(prefix="sampan-envoy-") as name:
        directory = Path(name)
        config = envoy_resources.bootstrap(Envoy.SOCKET, Envoy.ADMIN, "test")
        (directory / Envoy.CONFIG).write_bytes(orjson.dumps(config))
        command = [envoy_program, "--config-path", Envoy.CONFIG, *envoy_process.OPTIONS]
        with (directory / "envoy.log").open("wb") as log:
            child = subprocess.Popen([*command, "--concurrency", "1"], cwd=directory, stdout=log, stderr=log)
        try:
            yield Lone(directory, child)
        finally:
            child.send_signal(signal.SIGCONT)
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise
            if os.environ.get("SHOW_ENVOY_LOG"):
                print((directory / "envoy.log").read_text())


@pytest.fixture
def envoy_directory(lone_envoy: Lone) -> Iterator[Path]:
    """Where an Envoy runs that takes its configuration from Envoy.SOCKET there."""
    with lone_envoy.awake():
        yield lone_envoy.directory


@pytest.fixture
async def made(envoy_directory: Path) -> AsyncIterator[World]:
    """A world with nothing in it."""
    async with world.of(envoy_directory / Envoy.SOCKET) as found:
        yield found
