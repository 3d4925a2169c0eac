"""The way out of a simulated cluster's server: to functions of this process, in the place of webhooks.

    def review(asked):                                   # the AdmissionReview or ConversionReview, or the query
        return {"allowed": False, "status": {"message": "not on a Friday"}}

    cluster.outbound.serve("https://policy.default.svc/validate", review)

A webhook that is configured by its service answers while the Service has a ready endpoint, as anywhere. Where
nothing is served, connections are refused.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from sampan.server.outbound import ANSWER_BYTES, OutboundError, Target
from sampan.web.message import Request, Response

Object = dict[str, Any]
Function = Callable[[Object], Any]
Handler = Callable[[Request], Awaitable[Response]]

TIMEOUT = "context deadline exceeded"


@dataclass(eq=False, slots=True)
class Trouble:
    """What goes wrong with calls to URLs that match a pattern: `error` as the caller sees it, after `seconds`."""

    pattern: str = "*"
    seconds: float = 0.0
    error: str = ""
    status: int = 0


class SimulatedOutbound:
    """An Outbound. `serve` what is to be reached; `troubles` is what goes wrong on the way."""

    is_simulated = True

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        self._served: dict[tuple[str, str], Function] = {}
        self._hosts: dict[str, Handler] = {}

    def serve(self, url: str, function: Function) -> None:
        """Answers with what the function returns: a response, or a whole review; it may also be a coroutine function.

        A Response is sent as it is. `url` is as a webhook's configuration has it; for a service:
        https://NAME.NAMESPACE.svc/PATH.
        """
        self._served[_place(url)] = function

    def serve_host(self, name: str, handler: Handler) -> None:
        """All that is asked of a host goes to the handler, but for what is served there otherwise."""
        self._hosts[name] = handler

    def withdraw(self, url: str) -> None:
        """Nothing is there any more. Raises KeyError where nothing was."""
        del self._served[_place(url)]

    def copy(self) -> "SimulatedOutbound":
        """The same functions, without the troubles."""
        made = SimulatedOutbound()
        made._served = dict(self._served)
        return made

    async def send(
        self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = ANSWER_BYTES
    ) -> Response:
        """See Outbound.send."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._answer(target, request)
        except TimeoutError as error:
            raise OutboundError(TIMEOUT, timed_out=True) from error

    async def open(self, target: Target, request: Request) -> Response:
        """See Outbound.open: what is served here answers, without a stream."""
        return await self._answer(target, request)

    async def close(self) -> None:
        """Nothing is open."""

    async def _answer(self, target: Target, request: Request) -> Response:
        url = f"{target.scheme}://{target.name}{request.path}"
        for trouble in self.troubles:
            if not fnmatchcase(url, trouble.pattern):
                continue
            await asyncio.sleep(trouble.seconds)
            if trouble.status:
                return Response(trouble.status, b"")
            if trouble.error:
                raise OutboundError(trouble.error)
        function = self._served.get((target.name, request.path))
        if function is None and target.name in self._hosts:
            return await self._hosts[target.name](request)
        if function is None:
            raise OutboundError(f"dial tcp {target.address}: connect: connection refused")
        review = _asked(request)
        answer = function(review)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, Response) else Response(200, orjson.dumps(_whole(review, answer)))


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url} is no URL of a web server")
    return parts.hostname, parts.path or "/"


def _asked(request: Request) -> Object:
    """What the function is given: the body, or the parameters of a request without one."""
    if isinstance(request.body, bytes) and request.body:
        body: Object = orjson.loads(request.body)
        return body
    return dict(parse_qsl(request.raw_query))


def _whole(review: Object, answer: Object) -> Object:
    """The review around a response that came alone."""
    if "response" in answer or "request" not in review:
        return answer
    response = {"uid": review["request"].get("uid"), **answer}
    return {"apiVersion": review.get("apiVersion"), "kind": review.get("kind"), "response": response}
