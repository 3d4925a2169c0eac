"""Exec and attach over WebSocket: each message's first byte says which stream it belongs to.

0 stdin, 1 stdout, 2 stderr, 3 the outcome as a Status, 4 the terminal's size; with v5, 255 and a stream's
number closes that stream, so that a command sees the end of its input.

https://kubernetes.io/blog/2024/08/20/websockets-transition/
"""

import asyncio
from typing import Any

import orjson

from sampan.meta.status import internal, success
from sampan.node.runtime.protocol import ExecSession, RuntimeFailure

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
CHUNK = 32 * 1024

Object = dict[str, Any]


async def serve(socket: Any, session: ExecSession, wanted: frozenset[int]) -> None:
    """Joins a WebSocket and a process until the process ends or the caller leaves. `wanted`: stream numbers."""
    protocol = socket.ws_protocol or PROTOCOLS[-1]
    feeding = asyncio.ensure_future(_feed(socket, session, wanted))
    pumping = asyncio.ensure_future(_pump(socket, session, wanted))
    try:
        await asyncio.wait((feeding, pumping), return_when=asyncio.FIRST_COMPLETED)
        if pumping.done():
            pumping.result()
            await _send(socket, ERROR, await _end(session, protocol))
    except (ConnectionError, RuntimeError):
        pass  # the caller left; nobody is there to be told
    finally:
        for task in (feeding, pumping):
            task.cancel()
        await asyncio.gather(feeding, pumping, return_exceptions=True)
        await session.close()
        await socket.close()


async def refuse(text: str, socket: Any) -> None:
    """Says on the error stream why there is no process: a failed handshake could not say it to every client."""
    await _send(socket, ERROR, _refusal(text, socket.ws_protocol or ""))
    await socket.close()


def _refusal(text: str, protocol: str) -> bytes:
    failed = internal(text)
    return orjson.dumps(failed.status) if _has_status(protocol) else failed.message.encode()


async def _end(session: ExecSession, protocol: str) -> bytes:
    """What came of it; some runtimes tell only now that a process could not be started."""
    try:
        return outcome(await session.wait(), protocol)
    except RuntimeFailure as failure:
        return _refusal(f"error executing command in container: {failure.message}", protocol)


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
            await _resize(session, payload)


async def _resize(session: ExecSession, payload: bytes) -> None:
    try:
        size = orjson.loads(payload)
        width, height = int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return
    await session.resize(width, height)
