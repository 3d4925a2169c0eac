"""While nobody answers Envoy's questions: it tries again and is silent about it, and takes what there is afterwards."""

import asyncio
from pathlib import Path

from sampan.gateway import envoy_resources, xds
from sampan.gateway.envoy_process import Envoy
from sampan.gateway.traffic import Cluster, Plan
from sampan.gateway.xds import Server
from sampan.kit.tasks import Tasks
from tests.gateway.world import SECONDS, until

TRIES = 6


def plan(*names: str) -> Plan:
    return Plan(endpoints={Cluster("default", name, 80): (("127.0.0.1", 9),) for name in names})


async def served(directory: Path, *names: str) -> None:
    """Envoy has the clusters of these names; then nobody answers any more."""
    tasks = Tasks("test")
    server = Server(tasks)
    await server.start(directory / Envoy.SOCKET)
    try:
        server.publish(envoy_resources.resources(plan(*names)))
        async with asyncio.timeout(SECONDS):
            await server.settled()
    finally:
        await server.stop()
        await tasks.close()


async def test_while_nobody_answers(envoy_directory: Path) -> None:
    """No question fails, so that none is followed by another at once, and by a line in the log."""
    await served(envoy_directory, "web")
    log, tries = envoy_directory / "envoy.log", 0
    before = log.stat().st_size

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.close()

    socket = envoy_directory / Envoy.SOCKET
    socket.unlink(missing_ok=True)
    async with await asyncio.start_unix_server(hang_up, str(socket)):
        await until(lambda: tries >= TRIES)
    assert log.read_text()[before:] == ""
    await served(envoy_directory, "web", "more")


def test_it_asks_ever_more_seldom() -> None:
    """Up to two seconds, so that after we are back it has what is new before a step is taken without it; and hardly a
    question is given up.
    """
    (server,) = envoy_resources.bootstrap("xds.sock", "admin.sock", "n")["static_resources"]["clusters"]
    (options,) = server["typed_extension_protocol_options"].values()
    assert options["retry_policy"]["retry_back_off"] == {"base_interval": "0.100s", "max_interval": "2.000s"}
    assert 2 * envoy_resources.LAST_RETRY_SECONDS < xds.STEP_SECONDS
    assert options["retry_policy"]["per_try_timeout"] == "310s"
    assert envoy_resources.source()["api_config_source"]["request_timeout"] == "3600s"
