"""An agent that is there before its API server: nothing is asked of it until it answers, and then at once."""

import asyncio
import dataclasses
import ssl

import pytest

from sampan.client.transport import TransportError
from sampan.kinds.core.node import NODE
from sampan.kit.dice import Dice
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.meta import conditions
from sampan.node import first_contact
from sampan.web.message import Response
from tests.node.conftest import Node


class Late:
    """A server that answers from some time on; `reasons` are in turn why it does not before."""

    def __init__(self, clock, seconds, reasons=("nobody listens",), cause=None):
        self.clock, self.at, self.asked = clock, clock.monotonic() + seconds, 0
        self.reasons, self.cause = reasons, cause

    async def request(self, request):
        self.asked += 1
        if self.clock.monotonic() < self.at:
            raise TransportError(self.reasons[self.asked % len(self.reasons)]) from self.cause
        return Response(500)

    async def close(self):
        """Nothing is open."""


def looked_for(seconds, *how, seed=1):
    """How long it took after the server was there, and how often it was asked."""
    loop = SimLoop()
    clock = VirtualClock(loop)
    server = Late(clock, seconds, *how)
    loop.run_until_complete(first_contact.made(server, clock, Dice(seed)))
    loop.close()
    return clock.monotonic() - server.at, server.asked


def test_a_server_that_starts_is_found_at_once():
    """Within 20 ms; any answer will do."""
    for seconds in (0.0, 0.1, 0.5, 1.0):
        late, asked = looked_for(seconds)
        assert late <= 0.02 + 1e-9
        assert asked <= 2 + seconds / 0.02


def test_one_that_is_away_for_long_is_asked_more_and_more_seldom():
    """Once a second in the first minute, and each ten seconds in the end, not all agents at the same time."""
    late, asked = looked_for(59.0)
    assert late <= 1.0
    assert asked < 59 + 300
    late, asked = looked_for(3600.0)
    assert late <= 10.0
    assert asked < 360 * 2 + 600
    assert looked_for(3600.0) == (late, asked)
    assert len({looked_for(3600.0, seed=seed)[0] for seed in range(5)}) == 5


def test_a_certificate_that_is_none_of_ours():
    """Nobody makes another one soon."""
    wrapped = OSError("cannot connect")
    wrapped.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    late, asked = looked_for(60.0, ("a certificate",), wrapped)
    assert late <= 10.0
    assert asked <= 1 + 60 / 5 + 1


@pytest.mark.parametrize(
    ("seconds", "reasons", "lines"),
    [
        (4.9, ("refused",), 0),  # a start
        (50.0, ("refused",), 1),
        (50.0, ("refused", "timed out"), 2),
        (170.0, ("refused",), 3),
    ],
)
def test_why_it_waits(caplog, seconds, reasons, lines):
    """The log says it when that takes longer than a start, and each reason once a minute."""
    looked_for(seconds, reasons)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert len(told) == lines
    assert set(told) == {("WARNING", f"the API server does not answer: {reason}") for reason in reasons[:lines]}


def test_the_agent_waits_for_contact_and_then_is_ready(tmp_path):
    """No list and no watch goes to a server that isn't there: they would be tried again later than need be."""

    class Early(Node):
        def __init__(self, root):
            self.contact = None
            super().__init__(root)

        def begin(self):
            self.contact = asyncio.Event()
            self.starting = super().begin(wait=False)

        def parts(self):
            return dataclasses.replace(super().parts(), contact=self.contact.wait)

    node = Early(tmp_path)
    node.loop.run_until_complete(node.clock.sleep(5))
    assert not node.starting.done()
    assert not any(cache._started for cache in node.agent._first_caches())
    node.contact.set()
    node.loop.run_until_complete(node.starting)
    found = node.client.find(NODE.plural, "node-1", "")
    assert conditions.is_true(found, "Ready")
    node.end()
    node.loop.close()
