"""API servers: which one the agent talks to, where there are several.

One that does not answer, or says that it is not ready, is left for another one that is; all that is under way ends, and
begins again there. The agent goes back to the one that it prefers when that has been ready for a while. It follows the
endpoints of the Service kubernetes, and notes them in a file, so that it finds a living one when it starts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from sampan.client import servers
from sampan.client.http import REQUEST_SECONDS, HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind
from sampan.kit import files
from sampan.kit.clock import Clock
from sampan.web.message import Request

log = logging.getLogger(__name__)

FILE = "api-servers.json"
LONGEST_EVERY_SECONDS = 10.0
LOOKS = 4
"""How often the one in use is looked at within a node's lease."""
RETURN_AFTER = 3
"""For so many times that span the preferred one has to be ready before the agent comes back to it."""
LONGEST_LOOK = 4
"""So many times that span a look takes at most."""
PAUSE_SHARE = 0.1

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """Where the agent begins: the node's name, the way to its own control plane, and that one's address as others know it.

    The address is "" where the control plane is another machine's. `tell` hears of the servers' URLs, each time that
    there are others; what it can't keep is its own concern (OSError).
    """

    node: str
    server: str
    own_address: str
    root: Path
    tell: Callable[[Sequence[str]], None] | None = None

    @property
    def file(self) -> Path:
        return self.root / FILE


class ApiServers:
    """A follower of EndpointSlices; `run` as a task for as long as the agent lives."""

    kinds: tuple[Kind, ...] = (ENDPOINTSLICE,)

    def __init__(self, start: Start, transport: HttpTransport, clock: Clock, lease_seconds: float) -> None:
        self._start, self._transport, self._clock = start, transport, clock
        self._every_seconds = min(lease_seconds / LOOKS, LONGEST_EVERY_SECONDS)
        self._doubt = asyncio.Event()
        self._listed = _noted(start.file)
        self._told: tuple[str, ...] = ()
        self._slices: dict[str, Object] = {}
        self._ready_since: float | None = None
        self._drop_at: float | None = None
        transport.on_failure = self._doubt.set
        if self._listed:
            self._doubt.set()

    @property
    def known(self) -> tuple[str, ...]:
        """All there are, the preferred one first."""
        start = self._start
        home = servers.home(start.server, start.own_address, self._listed)
        return servers.order((start.server, *self._listed), home, start.node)

    @property
    def current(self) -> str:
        """The one in use."""
        return self._transport.access.server

    @property
    def _has_choice(self) -> bool:
        """The one in use need not be listed any more."""
        return any(server != self.current for server in self.known)

    @property
    def _is_by_another_name(self) -> bool:
        """The way that the user gave is in use, and leads to the only server listed, for all that anybody knows."""
        start = self._start
        is_given = self.current == start.server and not start.own_address
        return is_given and start.server not in self._listed and len(self._listed) < 2

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Hears of each slice."""
        for slice in (old, new):
            if slice is not None and servers.is_listed_by(slice):
                self._slices.pop(slice["metadata"]["name"], None)
        if new is not None and servers.is_listed_by(new):
            self._slices[new["metadata"]["name"]] = new

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Notes which there are; a list without any is of no use to anybody."""
        start, found = self._start, servers.listed(self._slices.values())
        listed = tuple(servers.url(start.server, start.own_address, *server) for server in found)
        is_one = len(listed) < 2 and not self._listed
        if listed and listed != self._listed:
            if not is_one:
                content = orjson.dumps(listed, option=orjson.OPT_INDENT_2)
                await asyncio.to_thread(files.write_whole, start.file, content)
            self._listed = listed
            self._doubt.set()
        if listed and not is_one:
            await self._tell(listed)

    async def _tell(self, listed: tuple[str, ...]) -> None:
        if self._start.tell is None or listed == self._told:
            return
        try:
            await asyncio.to_thread(self._start.tell, listed)
            self._told = listed
        except OSError as error:
            log.warning("which API servers there are could not be noted for commands: %s", error)

    async def run(self) -> None:
        """For ever. As long as there is one server only, nothing is done; if it has two names, only when it fails."""
        while True:
            seconds = self._every_seconds if self._has_choice and not self._is_by_another_name else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._doubt.wait()
            self._doubt.clear()
            if self._has_choice:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LONGEST_LOOK * self._every_seconds):
                        await self.look()
                await self._clock.sleep(self._every_seconds * PAUSE_SHARE)

    async def look(self) -> None:
        """Goes to another one if need be, or back."""
        if self._drop_at is not None and self._clock.monotonic() >= self._drop_at:
            self._drop_at = None
            await self._transport.drop_former()
        if not await self._answers():
            await self._go_on()
        else:
            await self._consider_return()

    async def _go_on(self) -> None:
        left = self.current
        server = await self._first_ready(server for server in self.known if server != left)
        if server:
            self._use(server)
            self._drop_at = None
            await self._transport.drop_former()
            log.warning("the API server at %s does not answer or is not ready; %s is used instead", left, server)

    async def _first_ready(self, known: Iterable[str]) -> str:
        """They are asked side by side; "" when none is."""
        asked = {server: asyncio.ensure_future(self._is_ready(server)) for server in known}
        try:
            for server, answer in asked.items():
                if await answer:
                    return server
            return ""
        finally:
            for answer in asked.values():
                answer.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def _consider_return(self) -> None:
        preferred, now = self.known[0], self._clock.monotonic()
        if self.current == preferred or not await self._is_ready(preferred):
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = now
        elif now - self._ready_since >= RETURN_AFTER * self._every_seconds:
            self._use(preferred)
            self._drop_at = now + REQUEST_SECONDS  # what is under way has its answer by then
            log.info("the API server at %s is used again", preferred)

    def _use(self, server: str) -> None:
        self._ready_since = None
        self._transport.change(self._access(server))

    def _access(self, server: str) -> Access:
        name = "" if server == self._start.server else servers.CERTIFIED
        return replace(self._transport.access, server=server, server_name=name)

    async def _answers(self) -> bool:
        """The one in use. One that is only slow gets a second chance."""
        access = self._transport.access
        answer = await self._ask(access)
        return answer if answer is not None else bool(await self._ask(access))

    async def _is_ready(self, server: str) -> bool:
        return bool(await self._ask(self._access(server)))

    async def _ask(self, access: Access) -> bool | None:
        """Whether it is ready; None when it took too long. Its connection is a new one: streams may have all others."""
        transport = HttpTransport(access)
        try:
            async with asyncio.timeout(self._every_seconds / 2):
                answer = await transport.request(Request("GET", "/readyz"))
        except TimeoutError:
            return None
        except (TransportError, ValueError):
            return False
        finally:
            await transport.close()
        return answer.status < 500


def _noted(file: Path) -> tuple[str, ...]:
    """What an agent before this one knew; a file that can't be read is of no use, and does no harm."""
    try:
        found = orjson.loads(file.read_bytes())
        return tuple(filter(servers.is_url, found))[: servers.MOST]
    except (OSError, orjson.JSONDecodeError, TypeError):
        return ()
