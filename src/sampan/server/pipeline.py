"""The pipeline: what every request goes through before and after it is served.

Who is it (authentication), on the record (audit), as whom (impersonation), in turn (flow control), may
they (authorization); afterwards the seat is given back, the record completed and the request counted.

https://kubernetes.io/docs/concepts/security/controlling-access/
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.meta import status
from sampan.server import impersonation, request_info
from sampan.server.access import Access, Refused, attributes_of
from sampan.server.audit.event import DECISION, REASON, Event
from sampan.server.audit.log import Audit
from sampan.server.authn import Authenticator
from sampan.server.flow.control import Flow, Ticket
from sampan.server.identity import NOBODY, User
from sampan.server.refusals import refuse
from sampan.server.request_info import RequestInfo
from sampan.server.request_metrics import READ_VERBS, RequestMetrics, is_long
from sampan.store.protocol import StoreError
from sampan.web.message import Request, Response

LOG = logging.getLogger(__name__)
MAX_AUDIT_ID = 64

Serve = Callable[["Passage"], Awaitable[Response]]


@dataclass(slots=True)
class Passage:
    """One request on its way. `notes` become annotations of the audit log."""

    request: Request
    info: RequestInfo
    user: User = NOBODY
    notes: dict[str, str] = field(default_factory=dict)
    ticket: Ticket | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """Who is asked on the way. `audit` None keeps no record."""

    authenticator: Authenticator
    access: Access
    flow: Flow
    counts: RequestMetrics
    audit: Audit | None = None


class Pipeline:
    """`serve` answers a request that may be served."""

    def __init__(self, guards: Guards, serve: Serve, clock: Clock, ids: Ids) -> None:
        self._guards = guards
        self._serve = serve
        self._clock = clock
        self._audit_prefix = ids.uid()[:24]
        self._requests = 0

    async def handle(self, request: Request) -> Response:
        """Never raises for what a caller did wrong: that is a Status."""
        started = self._clock.monotonic()
        passage = Passage(request, request_info.parse(request))
        counts = self._guards.counts
        is_write = passage.info.verb not in READ_VERBS
        counts.inflight[is_write] += 1
        try:
            response = await self._pass(passage)
        except status.ApiError as error:
            if isinstance(error, Refused):
                passage.notes.update({DECISION: "forbid", REASON: error.why})
            response = refuse(error, request)
        except StoreError as error:
            LOG.warning("the store refused: %s", error)
            response = refuse(status.unavailable(f"the store could not do it: {error}"), request)
        except Exception:
            if passage.event is not None and self._guards.audit is not None:
                self._guards.audit.failed(passage.event)
            counts.done(counts.of(passage.info), 500, "", self._clock.monotonic() - started)
            raise
        finally:
            counts.inflight[is_write] -= 1
            if passage.ticket is not None:
                self._guards.flow.done(passage.ticket)
        self._mark(passage, response)
        dry_run = request.param("dryRun") if is_write else ""
        counts.done(counts.of(passage.info), response.status, dry_run, self._clock.monotonic() - started)
        return response

    async def _pass(self, passage: Passage) -> Response:
        guards, request, info = self._guards, passage.request, passage.info
        try:
            verified = await guards.authenticator.identify(request)
        except status.ApiError:
            self._record(passage, None)
            raise
        user = passage.user = verified.user
        if guards.audit is not None:
            passage.notes.update(verified.notes)
            self._record(passage, user)
        wanted = impersonation.wanted(request)
        if wanted is not None:
            user, limit = impersonation.judge(wanted, user, attributes_of(info), guards.access.check)
            passage.user = user
            if passage.event is not None:
                passage.event.impersonated, passage.event.impersonation_limit = user, limit
        if info.verb == "watch" or not is_long(info):
            passage.ticket = await self._seat(passage)
        decision = guards.access.authorize(user, info)
        if passage.event is not None:
            passage.notes.update({DECISION: "allow", REASON: decision.reason})
        return await self._serve(passage)

    async def _seat(self, passage: Passage) -> Ticket:
        """A ticket, perhaps after a while. Raises ApiError 429."""
        flow, request, info, seats = self._guards.flow, passage.request, passage.info, 1
        if info.verb in ("list", "watch"):
            initial = request.param("sendInitialEvents") == "true"
            seats = flow.seats(info, request.param("limit"), has_initial_events=initial)
        ticket = flow.admit(passage.user, info, seats)
        return ticket if ticket is not None else await flow.wait(passage.user, info, seats)

    # The record

    def _record(self, passage: Passage, user: User | None) -> None:
        if self._guards.audit is None:
            return
        passage.event = self._guards.audit.open(
            self._audit_id(passage.request), passage.request, passage.info, attributes_of(passage.info), user
        )
        if passage.event is not None:
            passage.event.annotations = passage.notes

    def _audit_id(self, request: Request) -> str:
        given = request.headers.get("audit-id", "")
        if given:
            return given[:MAX_AUDIT_ID]
        self._requests += 1
        return f"{self._audit_prefix}{self._requests:012x}"

    def _mark(self, passage: Passage, response: Response) -> None:
        """What the client learns about all this, and the end of the record."""
        headers, event = response.headers, passage.event
        headers["Audit-ID"] = self._audit_id(passage.request) if event is None else event.audit_id
        headers.setdefault("Cache-Control", "no-cache, private")
        if passage.ticket is not None:
            headers.update(passage.ticket.route.headers)
        self._count_long(passage, response)
        audit = self._guards.audit
        if event is None or audit is None:
            return
        if isinstance(response.body, bytes | dict) or response.status >= 400:
            audit.complete(event, response)
        else:
            audit.started(event)
            response.body = _UntilItsEnd(response.body, lambda: audit.complete(event, response))

    def _count_long(self, passage: Passage, response: Response) -> None:
        """A stream counts until it ends. Watches are counted where they are kept."""
        if passage.info.verb == "watch" or response.status >= 400:
            return
        counts = self._guards.counts
        if response.hijack is not None:
            response.ended = counts.began(counts.of(passage.info))
        elif not isinstance(response.body, bytes | dict):
            response.body = _UntilItsEnd(response.body, counts.began(counts.of(passage.info)))


class _UntilItsEnd:
    """The same stream, also to who sends it; its end is told, once."""

    def __init__(self, body: AsyncIterator[Any], ended: Callable[[], None]) -> None:
        self._body, self._chunks = body, aiter(body)
        self._ended: Callable[[], None] | None = ended
        self.is_foreign = getattr(body, "is_foreign", False)

    def __aiter__(self) -> "_UntilItsEnd":
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        close = getattr(self._body, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            self._end()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
