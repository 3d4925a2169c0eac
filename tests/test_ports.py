"""The ports that tests give to servers."""

import os
import socket
import subprocess
import sys

import pytest

from sampan.gateway import proxy
from tests import ports

OTHER = """
import os, sys
os.getpid = lambda: int(sys.argv[1])
from tests import ports
print(*(getattr(ports, sys.argv[2])() for _ in range(200)))
"""


@pytest.mark.parametrize("of", ["free_port", "gateway_port"])
def test_no_two_processes_are_given_the_same(of: str) -> None:
    """Even where they would begin at the same."""
    own = {getattr(ports, of)() for _ in range(200)}
    command = [sys.executable, "-c", OTHER, str(os.getpid()), of]
    others = {int(port) for port in subprocess.check_output(command, text=True).split()}
    assert len(own) > 50 and len(others) > 50
    assert not own & others


def test_they_are_nobody_elses() -> None:
    """Neither of the gateway, nor of Services, nor of the kernel's usual ones for connections."""
    assert proxy.LAST_PORT < ports.FIRST < ports.FIRST + ports.SLOTS * ports.SIZE <= 30000
    assert proxy.FIRST_PORT < ports.GATEWAY_FIRST
    assert ports.GATEWAY_FIRST + ports.GATEWAY_SLOTS * ports.SIZE <= proxy.LAST_PORT


def test_what_somebody_listens_at_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """When that is so everywhere, it is said."""
    with socket.create_server(("127.0.0.1", ports.free_port())) as server:
        taken = server.getsockname()[1]
        assert taken not in {ports.free_port() for _ in range(ports.SIZE)}
    monkeypatch.setattr(ports, "_is_free", lambda *_: False)
    with pytest.raises(RuntimeError, match="all ports of this process are taken"):
        ports.free_port()
