"""The pipeline: what every request goes through before and after it is served.

Who is it (authentication), on the record (audit), as whom (impersonation), in turn (flow control), may
they (authorization); afterwards the seat is given back, the record completed and the request counted.

https://kubernetes.io/docs/concepts/security/controlling-access/
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sampan.cel import times
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.meta import status
from sampan.server import codec, impersonation, pretty, request_info
from sampan.server.access import Access, Refused, attributes_of
from sampan.server.access_metrics import NEVER
from sampan.server.audit.event import DECISION, REASON, Event
from sampan.server.audit.log import Audit
from sampan.server.authn import Authenticator
from sampan.server.flow.control import Flow, Ticket
from sampan.server.identity import NOBODY, User
from sampan.server.refusals import refuse
from sampan.server.request_info import RequestInfo
from sampan.server.request_metrics import UNSIZED, Record, RequestMetrics, is_long, spend_elsewhere
from sampan.server.tokens import TokenError
from sampan.store.protocol import NoSpaceError, StoreError
from sampan.web.message import Pieces, Request, Response

LOG = logging.getLogger(__name__)
MAX_AUDIT_ID = 64
MAX_KNOWN = 1024
MAX_KNOWN_PATH = 256

Serve = Callable[["Passage"], Awaitable[Response]]


@dataclass(slots=True)
class Passage:
    """One request on its way. `notes` become annotations of the audit log; for the rest see request_metrics.Timed."""

    request: Request
    info: RequestInfo
    record: Record
    started: float
    user: User = NOBODY
    caller: User = NOBODY
    notes: dict[str, str] = field(default_factory=dict)
    ticket: Ticket | None = None
    event: Event | None = None
    warnings: tuple[str, ...] = ()
    identified: float = NEVER
    asked: float = NEVER
    judged: float = NEVER


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
        self._monotonic = clock.monotonic
        self._audit_prefix = ids.uid()[:24]
        self._requests = 0
        self._known: dict[tuple[str, str], tuple[RequestInfo, Record]] = {}

    async def handle(self, request: Request) -> Response:
        """Never raises for what a caller did wrong: that is a Status."""
        started = self._monotonic()
        counts, response = self._guards.counts, None
        known = None if request.query else self._known.get((request.method, request.path))
        info, record = known if known is not None else self._parse(request)
        passage = Passage(request, info, record, started)
        record.open += 1
        try:
            response = await self._pass(passage)
        except status.ApiError as error:
            if isinstance(error, Refused):
                passage.notes.update({DECISION: "forbid", REASON: error.why})
            response = refuse(error, request)
        except NoSpaceError as error:
            response = refuse(status.insufficient_storage(str(error)), request)
        except StoreError as error:
            LOG.warning("the store refused: %s", error)
            response = refuse(status.unavailable(f"the store could not do it: {error}"), request)
        except Exception:
            if passage.event is not None and self._guards.audit is not None:
                self._guards.audit.failed(passage.event)
            counts.done(passage, 500, UNSIZED, self._monotonic())
            raise
        finally:
            record.open -= 1
            self._release(passage, response)
        if pretty.is_wanted(request):
            await pretty.indent(request, response)
        self._mark(passage, response)
        size = len(response.body) if type(response.body) is bytes else getattr(response.body, "length", UNSIZED)
        counts.done(passage, response.status, size, self._monotonic())
        return response

    def _release(self, passage: Passage, response: Response | None) -> None:
        """Gives the seat back: of a long list when it is written, of a watch when what there was at first is sent."""
        if passage.ticket is None:
            return
        body: Any = None if response is None else response.body
        if isinstance(body, bytes | dict) or not hasattr(body, "ended"):
            self._guards.flow.done(passage.ticket)
        else:
            body.ended = partial(self._guards.flow.done, passage.ticket)

    def _parse(self, request: Request) -> tuple[RequestInfo, Record]:
        """What is asked and how it is counted; remembered where method and path tell it all."""
        info = request_info.parse(request)
        record = self._guards.counts.of(info)
        if not request.query and len(request.path) <= MAX_KNOWN_PATH and record.is_own:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[request.method, request.path] = info, record
        return info, record

    async def _pass(self, passage: Passage) -> Response:
        guards, request, info = self._guards, passage.request, passage.info
        if request.query and not is_long(info):
            _check_timeout(request.param("timeout"))
        try:
            verified = await guards.authenticator.identify(request)
        except status.ApiError as error:
            spent, is_error = self._monotonic() - passage.started, isinstance(error.__cause__, TokenError)
            guards.counts.access.unidentified(spent, has_credentials=is_error)
            passage.notes.update(getattr(error.__cause__, "notes", {}))
            self._record(passage, None)
            raise
        passage.identified = self._monotonic()
        user = passage.user = passage.caller = verified.user
        passage.warnings = verified.warnings
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
        passage.asked = self._monotonic()
        decision = guards.access.authorize(user, info)
        passage.judged = self._monotonic()
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
        if ticket is not None:
            return ticket
        since = self._monotonic()
        try:
            return await flow.wait(passage.user, info, seats)
        finally:
            spend_elsewhere(request, since, self._monotonic())

    # The record

    def _record(self, passage: Passage, user: User | None) -> None:
        if self._guards.audit is None:
            return
        passage.event = self._guards.audit.open(
            self._audit_id(passage.request), passage.request, passage.info, attributes_of(passage.info), user
        )
        if passage.event is not None:
            passage.event.annotations = passage.notes
            if passage.event.wants_response:
                passage.request.takes_pieces = False

    def _audit_id(self, request: Request) -> str:
        given = request.headers.get("audit-id", "")
        if given:
            return given[:MAX_AUDIT_ID]
        self._requests += 1
        return f"{self._audit_prefix}{self._requests:012x}"

    def _mark(self, passage: Passage, response: Response) -> None:
        """What the client learns about all this, and the end of the record."""
        headers, event = response.headers, passage.event
        headers["Audit-Id"] = self._audit_id(passage.request) if event is None else event.audit_id
        headers.setdefault("Cache-Control", "no-cache, private")
        if passage.ticket is not None:
            headers.update(passage.ticket.route.headers)
        if passage.warnings:
            for name, text in codec.warning_headers(passage.warnings).items():
                headers[name] = f"{text}, {headers[name]}" if name in headers else text
        self._count_long(passage, response)
        audit = self._guards.audit
        if event is None or audit is None:
            return
        if isinstance(response.body, bytes | dict | Pieces) or response.status >= 400:
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
            response.ended = counts.began(passage.record)
        elif not isinstance(response.body, bytes | dict | Pieces):
            response.body = _UntilItsEnd(response.body, counts.began(passage.record))


def _check_timeout(given: str) -> None:
    """Raises ApiError 400 for a timeout that is no duration of Go's."""
    try:
        if given:
            times.parse_duration(given)
    except ValueError as error:
        raise status.bad_request(f"invalid timeout specified in the request URL - {error}") from None


class _UntilItsEnd:
    """The same stream, also to who sends it; its end is told, once."""

    def __init__(self, body: AsyncIterator[Any], ended: Callable[[], None]) -> None:
        self._body, self._chunks = body, aiter(body)
        self._ended: Callable[[], None] | None = ended
        self.patience_seconds = getattr(body, "patience_seconds", None)

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
