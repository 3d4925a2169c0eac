"""Near logs: the logs of simulated nodes' containers, and what they use, for a server in the same process."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from sampan.node import log_requests, stats
from sampan.node.agent import Agent
from sampan.node.log_requests import Refusal
from sampan.node.runtime.protocol import RuntimeFailure
from sampan.web.message import Request


class NearLogs:
    """Asks agents without a connection. `agent_at` finds the one with an address."""

    def __init__(self, agent_at: Callable[[str], Agent | None]) -> None:
        self._agent_at = agent_at

    async def get(self, url: str) -> tuple[int, AsyncIterator[bytes]]:
        """Status code and body. OSError when no agent runs there."""
        parts = urlsplit(url)
        agent = self._agent_at(parts.hostname or "")
        if agent is None:
            raise ConnectionRefusedError(f"dial tcp {parts.netloc}: connect: connection refused")
        first, *names = unquote(parts.path).strip("/").split("/")
        if (first, names) == ("stats", ["summary"]):
            return 200, _once(orjson.dumps(stats.summary(agent)))
        request = Request("GET", parts.path, tuple(parse_qsl(parts.query)))
        try:
            return 200, log_requests.read(agent, request, names)
        except Refusal as refusal:
            return refusal.code, _once(refusal.text.encode())
        except RuntimeFailure as failure:
            return 400, _once(failure.message.encode())


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
