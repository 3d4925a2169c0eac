"""Near logs: the logs of simulated nodes' containers, for a server in the same process."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

from sampan.node import log_requests
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
        _, *names = unquote(parts.path).strip("/").split("/")
        request = Request("GET", parts.path, tuple(parse_qsl(parts.query)))
        try:
            return 200, log_requests.read(agent, request, names)
        except Refusal as refusal:
            return refusal.code, _once(refusal.text)
        except RuntimeFailure as failure:
            return 400, _once(failure.message)


async def _once(text: str) -> AsyncIterator[bytes]:
    yield text.encode()
