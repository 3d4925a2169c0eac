"""Leading: does some work only while it holds a lease, and wants the lease for as long as it lives.

What the lease says decides `election`; here it is read and written, and the work begun and ended. Who can't renew in
time is ended before anybody else may begin; and should it wake up late, as from a process that was stopped, then
`fenced` lets none of its writes pass.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sampan.client.api import Client
from sampan.client.transport import Transport, TransportError
from sampan.control import election
from sampan.control.election import Candidate
from sampan.control.events import Recorder
from sampan.control.plan import Create
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.kind import Object
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.web.message import Request, Response

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a leader does: `start` returns when it is under way, `stop` when it has ended in peace; `kill` ends it now."""

    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    kill: Callable[[], None]


class Leading:
    """`begin` makes the work of one term, whose tasks belong to the owner that it is given.

    `component` is that of its events, of which the lease's are told by `client`.
    """

    def __init__(self, client: Client, me: Candidate, clock: Clock, tasks: Tasks, component: str) -> None:
        self.me = me
        self.leads = False
        self.is_running = False
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._component = component
        self._recorder = Recorder(client, clock, tasks)
        self._lease: Object | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._settled = asyncio.Event()
        self._candidacy: asyncio.Task[None] | None = None
        self._term: tuple[Work, Tasks] | None = None

    def start(self, begin: Callable[[Tasks], Work]) -> None:
        """Tries to lead from now on; returns at once."""
        self.is_running = True
        self._candidacy = self._tasks.spawn(self._run(begin), f"{self._component} election")

    async def wait_settled(self) -> None:
        """Returns once the work is under way, here or at somebody else's."""
        await self._settled.wait()

    async def stop(self) -> None:
        """Ends the work in peace, and lets the next one have the lease at once."""
        if self._candidacy is not None:
            self._candidacy.cancel()
            await asyncio.gather(self._candidacy, return_exceptions=True)
        if self._term is None:
            return
        work, tasks = self._term
        await work.stop()
        await tasks.close()
        self._end()
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._release()
        except (ApiError, TransportError, TimeoutError) as error:
            log.info("%s: the lease was not given back: %s", self._component, error or "no answer in time")

    def kill(self) -> None:
        """Ends the work at this instant, and tells nobody."""
        if self._candidacy is not None:
            self._candidacy.cancel()
        if self._term is not None:
            self._end()

    @property
    def may_write(self) -> bool:
        """Whether nobody else can lead yet."""
        return self.leads and self._seconds_left() > 0

    def fenced(self, transport: Transport) -> Transport:
        """The same transport, which refuses to write for who leads no more."""
        return _Fenced(transport, self)

    async def _run(self, begin: Callable[[Tasks], Work]) -> None:
        while True:
            while not await self._try():
                await self._clock.sleep(self.me.terms.retry_seconds)
            await self._lead(begin)

    async def _lead(self, begin: Callable[[Tasks], Work]) -> None:
        """Until it could not renew in time, or somebody else has the lease."""
        log.info("%s: %s became leader", self._component, self.me.identity)
        self._tell(leads=True)
        self.leads = True
        tasks = Tasks(self._component)
        self._term = begin(tasks), tasks
        self._tasks.spawn(tasks.wait(), self._component)
        tasks.spawn(self._start(self._term[0]), "start")
        while (left := self._seconds_left()) > 0 and election.holder(self._lease) == self.me.identity:
            await self._clock.sleep(min(self.me.terms.retry_seconds, left))
            if (left := self._seconds_left()) > 0:
                await self._try(left)
        log.warning("%s: %s stopped leading", self._component, self.me.identity)
        self._end()
        self._tell(leads=False)

    async def _start(self, work: Work) -> None:
        await work.start()
        self._settled.set()

    def _end(self) -> None:
        """Nothing of the term goes on."""
        assert self._term is not None
        self.leads = False
        work, tasks = self._term
        self._term = None
        work.kill()
        tasks.kill()

    async def _try(self, seconds: float | None = None) -> bool:
        """One attempt to take the lease, or to keep it; whether it is ours then."""
        asked_at, limit = self._clock.monotonic(), self.me.terms.renew_seconds / 2
        try:
            async with asyncio.timeout(min(limit, seconds or limit)):
                if not (self.leads and await self._renew()):
                    self._look(await self._read())
                    if not await self._claim():
                        self._settled.set()
                        return False
        except (ApiError, TransportError, TimeoutError) as error:
            log.info("%s: the lease could not be had: %s", self._component, error or "no answer in time")
            return False
        except Exception:  # such as for what somebody has written into it
            log.exception("%s: the lease could not be had", self._component)
            return False
        self._renewed_at = asked_at
        return True

    async def _renew(self) -> bool:
        """Keeps a lease that is as we wrote it, without a look; whether it was."""
        try:
            return await self._claim()
        except ApiError as error:
            log.info("%s: the lease has changed: %s", self._component, error)
            return False

    async def _claim(self) -> bool:
        unchanged = self._clock.monotonic() - self._seen_at
        write = election.claim(self.me, self._lease, unchanged, self._clock.now())
        if write is None:
            return False
        if isinstance(write, Create):
            self._look(await self._client.create(LEASE, write.obj))
        else:
            self._look(await self._client.update(LEASE, write.obj))
        return True

    async def _read(self) -> Object | None:
        namespace, name = self.me.key
        try:
            return await self._client.get(LEASE, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def _look(self, lease: Object | None) -> None:
        """Since when it looks like this is measured by our own clock."""
        if self._lease is None or lease is None or lease.get("spec") != self._lease.get("spec"):
            self._seen_at = self._clock.monotonic()
        self._lease = lease

    def _seconds_left(self) -> float:
        return self._renewed_at + self.me.terms.renew_seconds - self._clock.monotonic()

    async def _release(self) -> None:
        lease = self._lease or await self._read()
        if lease is None or election.holder(lease) != self.me.identity:
            return
        self._tell(leads=False)
        await self._client.update(LEASE, election.release(lease, self._clock.now()).obj)
        await self._recorder.wait_written()

    def _tell(self, *, leads: bool) -> None:
        if self._lease is not None:
            event = election.told(self.me, self._lease, leads=leads)
            assert event.about is not None
            self._recorder.record(self._component, event.about, (event.type, event.reason, event.message))


class _Fenced:
    def __init__(self, inner: Transport, leading: Leading) -> None:
        self._inner, self._leading = inner, leading

    async def request(self, request: Request) -> Response:
        if request.method != "GET" and not self._leading.may_write:
            raise TransportError(f"{self._leading.me.identity} does not lead")
        return await self._inner.request(request)

    async def close(self) -> None:
        await self._inner.close()
