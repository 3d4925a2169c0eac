"""The agent's HTTPS port: logs, exec, attach and ports of this node's pods, what they use, the pods and health.

Every path needs an authenticated and authorized caller; anything else is 401, 403 or 404.
"""

import asyncio
import errno
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sampan.client.transport import TransportError
from sampan.meta.status import ApiError, failure, internal
from sampan.node import access, commands, log_requests, podspec, port_forward, reports, stream_places, streams
from sampan.node.access import Access
from sampan.node.agent import Agent
from sampan.node.housekeeping import Housekeeping
from sampan.node.log_requests import Refusal
from sampan.node.network import loopback
from sampan.node.runtime.protocol import RUNNING, RuntimeFailure
from sampan.node.stream_places import NoPlaceError, StreamPlaces
from sampan.web.listener import Address, Listener, Upgrade, server_context
from sampan.web.message import Request, Response

log = logging.getLogger(__name__)

Object = dict[str, Any]


class NodeServer:
    """Answers requests about the agent's pods."""

    def __init__(self, agent: Agent, housekeeping: Housekeeping | None = None) -> None:
        self._agent, self._housekeeping = agent, housekeeping
        self._access = Access(agent.parts.client, agent.settings.node, agent.parts.clock)
        self._listener: Listener | None = None
        self._context: ssl.SSLContext | None = None
        self._places = StreamPlaces()

    async def listen(self, address: Address, certificate: str, key: str, client_ca: str) -> int:
        """Opens the port; certificate files are PEM. Returns the port's number."""
        self._context = server_context(certificate, key, client_ca)
        self._listener = Listener(self.handle, _on_error, self._context)
        return await self._listener.listen(address)

    def change(self, certificate: str, key: str) -> None:
        """Whoever connects from now on sees this certificate; connections that are open stay so."""
        if self._context is not None:
            self._context.load_cert_chain(certificate, key)

    def trust(self, client_ca: str) -> None:
        """Whoever connects from now on may also have a certificate of these authorities (PEM)."""
        if self._context is not None:
            self._context.load_verify_locations(cadata=client_ca)

    async def close(self) -> None:
        """Closes the port and what is open on it."""
        if self._listener is not None:
            await self._listener.close()

    async def handle(self, request: Request) -> Response:
        """One request, from authentication to the answer."""
        try:
            await self._admit(request)
            return await self._route(request)
        except Refusal as refusal:
            return _refused(refusal.code, refusal.text)
        except RuntimeFailure as error:
            return _refused(500, error.message)
        except ConnectionResetError:
            raise  # nobody is there to be told
        except OSError as error:  # no descriptor, thread or process is to be had just now
            log.warning("%s: %s", request.path, error)
            return _refused(500, (error.strerror or str(error)).lower())

    async def _admit(self, request: Request) -> None:
        try:
            user = await self._access.authenticate(request)
            if user is None:
                raise Refusal(401, "Unauthorized")
            if not await self._access.is_allowed(user, request):
                verb, subresources = access.wanted(request)
                shown = f"resource=nodes, subresource(s)=[{' '.join(subresources)}]"
                raise Refusal(403, f"Forbidden (user={user.name}, verb={verb}, {shown})")
        except (ApiError, TransportError) as error:
            log.warning("authorizing a request for %s: %s", request.path, error)
            raise Refusal(500, "Authorization error") from error

    async def _route(self, request: Request) -> Response:
        first, *rest = request.path.strip("/").split("/")
        if (report := reports.find(first, rest)) is not None:
            if request.method != "GET":
                raise Refusal(405, "405: Method Not Allowed")
            return await report(reports.Asked(self._agent, self._housekeeping, request))
        if (first, len(rest)) in commands.PATHS:
            try:
                async with self._places.place(stream_places.EXEC, request.gone):
                    return await commands.run(self._agent, request, first, rest)
            except NoPlaceError as error:
                raise self._no_place() from error
        if first == "containerLogs" and len(rest) == 3:
            return await self._log(request, rest)
        if first in ("exec", "attach") and len(rest) in (3, 4):
            if len(rest) == 4:  # NAMESPACE/POD/UID/CONTAINER
                rest = [rest[0], rest[1], rest[3]]
            return self._open(request, first, rest)
        if first == "portForward" and len(rest) in (2, 3):  # NAMESPACE/POD[/UID]
            return self._forward(request, rest[0], rest[1])
        raise Refusal(404, "404 page not found")

    async def _log(self, request: Request, names: list[str]) -> Response:
        """Who waits for a place has opened nothing yet; what there is to be read may be another log by then."""
        opened = log_requests.found(self._agent, request, names)
        if not log_requests.is_set(request, "follow"):
            return Response(200, opened(), content_type="text/plain")
        hold = self._places.place(stream_places.LOGS, request.gone)
        try:
            await hold.__aenter__()
        except NoPlaceError as error:
            raise self._no_place() from error
        try:
            body = log_requests.read(self._agent, request, names)
        except BaseException:
            await hold.__aexit__(None, None, None)
            raise
        return Response(200, log_requests.Followed(body, hold), content_type="text/plain")

    def _no_place(self) -> Refusal:
        node = self._agent.settings.node
        return Refusal(429, f"too many streams are open on node {node}, please try again later")

    def _in_place(self, cost: int, serve: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """Serves a WebSocket when there is a place; says so on its error stream if there is none."""

        async def served(socket: Any) -> None:
            try:
                async with self._places.place(cost, getattr(socket, "gone", None)):
                    if getattr(socket, "has_closed", False):
                        raise ConnectionResetError("the caller left while it waited")
                    await serve(socket)
            except NoPlaceError:
                refusal = self._no_place()
                await streams.refuse(failure(refusal.code, "TooManyRequests", refusal.text), socket)
            except ConnectionError:
                await socket.close()  # the caller left

        return served

    def _forward(self, request: Request, namespace: str, name: str) -> Response:
        """One place for the caller, who may have a connection with it, and one for each that is open beside."""
        record = self._agent.running(namespace, name)
        if record is None:
            raise Refusal(404, "pod does not exist")
        if "upgrade" not in request.headers.get("connection", "").lower():
            raise Refusal(400, "Upgrade request required")
        try:
            ports = port_forward.ports([value for key, value in request.query if key == "ports"])
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        is_host = podspec.is_host_network(record.pod)

        has_open = False

        @asynccontextmanager
        async def dial(port: int) -> AsyncIterator[port_forward.Pipe]:
            nonlocal has_open
            cost = stream_places.CONNECTION if has_open else 0
            try:
                self._places.take_at_once(cost)
            except NoPlaceError as error:
                raise OSError(errno.EAGAIN, self._no_place().text) from error
            has_open = True
            try:
                if is_host:
                    end = await loopback.connected(loopback.sockets(), port)
                else:
                    end = await self._agent.parts.network.connect(record.uid, port)
                yield await asyncio.open_connection(sock=end)
            finally:
                has_open &= cost > 0
                self._places.give_back(cost)

        async def serve(socket: Any) -> None:
            await port_forward.serve(socket, dial, ports)

        try:
            self._places.take_at_once(stream_places.FORWARD)
        except NoPlaceError as error:
            raise self._no_place() from error
        ended = partial(self._places.give_back, stream_places.FORWARD)
        return Response(101, hijack=Upgrade(port_forward.PROTOCOLS, serve), ended=ended)

    def _open(self, request: Request, verb: str, names: list[str]) -> Response:
        namespace, name, container = names
        if self._agent.running(namespace, name) is None:
            raise Refusal(404, "pod does not exist")
        record = log_requests.find(self._agent, namespace, name, container)
        if "upgrade" not in request.headers.get("connection", "").lower():
            raise Refusal(400, "Upgrade request required")
        state = next((s for s in record.states.values() if s.name == container and s.state == RUNNING), None)
        if state is None:
            missing = f'container not found ("{container}")'
            raise Refusal(
                500, missing if verb == "exec" else f"container {container} not found in pod {name}_{namespace}"
            )
        wanted = _streams(request)
        if not wanted:
            raise Refusal(400, "you must specify at least 1 of stdin, stdout, stderr")
        command = tuple(value for key, value in request.query if key == "command")
        if verb == "exec" and not command:
            raise Refusal(400, "you must specify at least one command for the container")
        runtime, container_id = self._agent.parts.runtime, state.id
        has_tty, has_stdin = log_requests.is_set(request, "tty"), streams.STDIN in wanted
        seconds_alone = streams.SECONDS_ALONE if verb == "exec" and not has_tty else 0.0

        async def serve(socket: Any) -> None:
            try:
                if verb == "exec":
                    starting = runtime.exec(container_id, command, tty=has_tty, stdin=has_stdin)
                    session = await streams.begun(socket, starting, seconds_alone)
                else:
                    session = await streams.begun(socket, runtime.attach(container_id))
            except (RuntimeFailure, OSError) as error:
                why = error.message if isinstance(error, RuntimeFailure) else (error.strerror or str(error)).lower()
                await streams.refuse(internal(f"{_FAILED[verb]}: {why}"), socket)
                return
            await streams.serve(socket, session, wanted, seconds_alone)

        cost = stream_places.EXEC if verb == "exec" else stream_places.ATTACH
        return Response(101, hijack=Upgrade(streams.PROTOCOLS, self._in_place(cost, serve)))


_FAILED = {"exec": "error executing command in container", "attach": "error attaching to container"}


def _streams(request: Request) -> frozenset[int]:
    """The streams that are asked for, by either of the names in use."""
    numbers = {"stdin": streams.STDIN, "stdout": streams.STDOUT, "stderr": streams.STDERR}
    chosen = {n for name, n in numbers.items() if log_requests.is_set(request, name)}
    short = {"input": streams.STDIN, "output": streams.STDOUT, "error": streams.STDERR}
    return frozenset(chosen | {n for name, n in short.items() if log_requests.is_set(request, name)})


def _refused(code: int, text: str) -> Response:
    """The refusal as text; and as a Status in a header, since a failed WebSocket handshake has no body."""
    response = _text(code, text)
    reasons = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}
    reason = reasons.get(code, "InternalError")
    if code == 429:
        response.headers["Retry-After"] = "1"
    tree = failure(code, reason, text).status
    response.headers["X-Sampan-Status"] = json.dumps(tree)  # ASCII, as a header has to be
    return response


def _text(code: int, text: str) -> Response:
    return Response(code, (text + "\n").encode(), content_type="text/plain; charset=utf-8")


def _on_error(request: Request, error: BaseException) -> Response:
    log.error("%s %s failed: %r", request.method, request.path, error, exc_info=error)
    return _text(500, "internal error")
