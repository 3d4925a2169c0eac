"""Exec and attach over WebSocket: each message's first byte says which stream it belongs to.

0 stdin, 1 stdout, 2 stderr, 3 the outcome as a Status, 4 the terminal's size; with v5, 255 and a stream's
number closes that stream, so that a command sees the end of its input.

https://kubernetes.io/blog/2024/08/20/websockets-transition/
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import orjson

from sampan.meta.status import ApiError, internal, success
from sampan.node.runtime.protocol import ExecSession, RuntimeFailure
from sampan.node.terminal_sizes import TerminalSizes
from sampan.web import gone

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
CHUNK = 32 * 1024
SECONDS_ALONE = 60.0
"""For a command without a terminal, once its caller has left: clients send a file and leave."""

Object = dict[str, Any]


async def begun(socket: Any, starting: Coroutine[Any, Any, ExecSession], seconds_alone: float = 0.0) -> ExecSession:
    """A session as soon as it is there, and `seconds_alone` after its caller has left: ConnectionResetError then.

    The session is ended in that case.
    """
    work = asyncio.ensure_future(starting)
    try:
        try:
            await gone.unless(socket, asyncio.shield(work))
        except ConnectionResetError:
            await asyncio.wait({work}, timeout=seconds_alone)
            if not work.done():
                raise
    except BaseException:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if not work.cancelled() and work.exception() is None:
            await work.result().close()
        raise
    return work.result()


async def serve(socket: Any, session: ExecSession, wanted: frozenset[int], seconds_alone: float = 0.0) -> None:
    """Joins a WebSocket and a process until the process ends or the caller leaves. `wanted`: stream numbers.

    A process with `seconds_alone` gets what its caller sent before it left and the end of its input, and may then end by
    itself; what it says is not read any more, so that it may well have to wait.
    """
    protocol = socket.ws_protocol or PROTOCOLS[-1]
    feeding = asyncio.ensure_future(_feed(socket, session, wanted))
    ending = asyncio.ensure_future(_tell(socket, session, wanted, protocol))
    try:
        if not await _has_ended(socket, feeding, ending) and seconds_alone:
            ending.cancel()
            async with asyncio.timeout(seconds_alone):
                await feeding
                await session.close_stdin()
                await _end(session, protocol)
    except (OSError, RuntimeError):
        pass  # the caller left; nobody is there to be told
    finally:
        for work in (feeding, ending):
            work.cancel()
        await asyncio.gather(feeding, ending, return_exceptions=True)
        await session.close()
        await socket.close()


async def _has_ended(socket: Any, feeding: asyncio.Future[None], ending: asyncio.Future[None]) -> bool:
    """Once the process has, and that is told, or its caller has left before."""
    try:
        await gone.unless(socket, asyncio.shield(feeding), asyncio.shield(ending))
    except ConnectionError:
        return False
    return ending.done()


async def refuse(why: ApiError, socket: Any) -> None:
    """Says on the error stream why there is no process: a failed handshake could not say it to every client."""
    with contextlib.suppress(ConnectionError):
        await _send(socket, ERROR, _refusal(why, socket.ws_protocol or ""))
    await socket.close()


def _refusal(failed: ApiError, protocol: str) -> bytes:
    return orjson.dumps(failed.status) if _has_status(protocol) else failed.message.encode()


async def _end(session: ExecSession, protocol: str) -> bytes:
    """What came of it; some runtimes tell only now that a process could not be started."""
    try:
        return outcome(await session.wait(), protocol)
    except RuntimeFailure as failure:
        return _refusal(internal(f"error executing command in container: {failure.message}"), protocol)


def outcome(code: int, protocol: str) -> bytes:
    """What the error stream says at the end."""
    if code == 0:
        return orjson.dumps(success()) if _has_status(protocol) else b""
    text = f"command terminated with non-zero exit code: exit status {code}"
    if not _has_status(protocol):
        return text.encode()
    status = {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
    return orjson.dumps(status)


def _has_status(protocol: str) -> bool:
    return protocol[:2] in ("v4", "v5")


async def _tell(socket: Any, session: ExecSession, wanted: frozenset[int], protocol: str) -> None:
    """All output, then what came of it: a process may take input for long after it has closed its output."""
    await _pump(socket, session, wanted)
    await _send(socket, ERROR, await _end(session, protocol))


async def _pump(socket: Any, session: ExecSession, wanted: frozenset[int]) -> None:
    async for stream, data in session.output():
        channel = STDOUT if stream == "stdout" else STDERR
        if channel in wanted:
            for start in range(0, len(data), CHUNK):
                await _send(socket, channel, data[start : start + CHUNK])


async def _send(socket: Any, channel: int, data: bytes) -> None:
    if data:
        await socket.send_bytes(bytes((channel,)) + data)


async def _feed(socket: Any, session: ExecSession, wanted: frozenset[int]) -> None:
    """Input and sizes to the process, until the caller closes the connection."""
    sizes = TerminalSizes()
    async for message in socket:
        data = message.data.encode() if isinstance(message.data, str) else message.data
        if not isinstance(data, bytes) or not data:
            continue
        channel, payload = data[0], data[1:]
        if channel == STDIN and STDIN in wanted:
            await session.write(payload)
        elif channel == CLOSE and payload[:1] == bytes((STDIN,)):
            await session.close_stdin()
        elif channel == RESIZE:
            for width, height in sizes.heard(payload):
                await session.resize(width, height)
