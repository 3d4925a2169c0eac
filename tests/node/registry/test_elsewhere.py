"""Pulls of a node that has a network namespace of its own."""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from sampan.node.network import namespaces
from sampan.node.registry import elsewhere, session

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")]


async def heard(port: int, namespace: int | None) -> str:
    connector = elsewhere.connector(namespace) if namespace is not None else None
    async with session.connection(connector) as http:
        try:
            answer = await http.get(f"http://localhost:{port}/")
            return await answer.text()
        except OSError as error:
            return type(error).__name__


def far_away(errand: Callable[[], Any]) -> Any:
    """The errand's result in a namespace where nothing is."""
    found: list[Any] = []

    def run() -> None:
        os.close(namespaces.enter_new())
        found.append(errand())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


async def test_the_hosts_loopback_is_reached_from_a_nodes_namespace() -> None:
    """And only by such a connector."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="the host's")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    host = namespaces.host_fd()

    def ask() -> list[str]:
        return [asyncio.run(heard(port, host)), asyncio.run(heard(port, None))]

    try:
        answers = await asyncio.to_thread(far_away, ask)
    finally:
        os.close(host)
        await runner.cleanup()
    assert answers == ["the host's", "ClientConnectorError"]
