"""The market's program: so many orders at once, a bad release, and an end that drops nobody."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[3] / "examples/trading-day/market.py"


@contextmanager
def market(port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program, when it serves."""
    child = subprocess.Popen(
        [sys.executable, "-u", str(PROGRAM)],
        env={**os.environ, "PORT": str(port), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    try:
        assert child.stdout.readline() == f"market {environment.get('VERSION', 'v1')} serves on port {port}\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def asked(port: int, path: str = "/") -> tuple[int, str, str]:
    """Code, version and whether the connection goes on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["x-version"], answer.headers["connection"]
    finally:
        connection.close()


def test_orders_queue_and_health_does_not() -> None:
    """More than the slots wait for each other; the probe is answered at once."""
    port = free_port()
    with market(port, SLOTS="1", SERVICE_SECONDS="0.4"), ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        orders = [pool.submit(asked, port) for _ in range(3)]
        assert asked(port, "/healthz") == (200, "v1", "keep-alive")
        assert not all(order.done() for order in orders)
        assert [order.result() for order in orders] == [(200, "v1", "keep-alive")] * 3
        assert time.monotonic() - began > 3 * 0.4 * 0.75


def test_a_bad_release() -> None:
    """It fails, says its version, and is healthy all the same."""
    port = free_port()
    with market(port, VERSION="v2", FAIL_SHARE="1", SERVICE_SECONDS="0.01"):
        assert asked(port)[:2] == (500, "v2")
        assert asked(port, "/healthz")[:2] == (200, "v2")


def test_the_end() -> None:
    """After SIGTERM it goes on for a while, sends everybody elsewhere, finishes what it has begun, and ends well."""
    port = free_port()
    with market(port, SERVICE_SECONDS="1.5", DRAIN_SECONDS="0.5") as child, ThreadPoolExecutor(2) as pool:
        child.send_signal(signal.SIGTERM)
        order = pool.submit(asked, port)
        while (said := asked(port, "/healthz"))[2] != "close":
            assert said[0] == 200
        assert order.result() == (200, "v1", "close")
        assert child.wait(60) == 0
        with pytest.raises(ConnectionRefusedError):
            asked(port)
