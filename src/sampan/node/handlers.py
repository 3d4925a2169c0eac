"""Carrying out probes and hooks: exec, httpGet, tcpSocket, grpc, sleep.

https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from sampan.kit.clock import Clock
from sampan.node.runtime.protocol import Runtime, RuntimeFailure

Object = dict[str, Any]

USER_AGENT = "kube-probe/1.36"
BODY_BYTES = 10 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `errored` when it could not even be tried; then the verdict is unknown.

    `answered`: a web server answered, whatever it said; that is enough for a hook.
    """

    success: bool
    output: str = ""
    errored: bool = False
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The container that is asked: its id, its pod's address, and its spec (for named ports).

    `purpose` is what for: startup, liveness, readiness, postStart, preStop.
    """

    container_id: str
    pod_ip: str
    spec: Object
    purpose: str = ""


class Handlers:
    """Runs one handler at a time for whoever asks."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock
        self._session: Any = None

    async def run(self, handler: Object, target: Target, timeout_seconds: float) -> Outcome:
        """One attempt, bounded by the timeout."""
        try:
            if "exec" in handler:
                return await self._exec(tuple(handler["exec"].get("command") or ()), target, timeout_seconds)
            if "httpGet" in handler:
                return await self._http(handler["httpGet"], target, timeout_seconds)
            if "tcpSocket" in handler:
                return await self._tcp(handler["tcpSocket"], target, timeout_seconds)
            if "grpc" in handler:
                return await self._grpc(handler["grpc"], target, timeout_seconds)
            if "sleep" in handler:
                await self._clock.sleep(min(float(handler["sleep"]["seconds"]), timeout_seconds))
                return Outcome(True)
        except ValueError as error:
            return Outcome(False, str(error), errored=True)
        return Outcome(False, "this kind of handler is not supported", errored=True)

    async def close(self) -> None:
        """Closes connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exec(self, command: tuple[str, ...], target: Target, timeout_seconds: float) -> Outcome:
        try:
            code, output = await self._runtime.exec_sync(target.container_id, command, timeout_seconds)
        except TimeoutError:
            text = f'command timed out: "{" ".join(command)}" timed out after {timeout_seconds:g}s'
            return Outcome(False, text)
        except RuntimeFailure as error:
            return Outcome(False, error.message, errored=True)
        return Outcome(code == 0, output[:BODY_BYTES].decode("utf-8", "replace"))

    async def _http(self, get: Object, target: Target, timeout_seconds: float) -> Outcome:
        import aiohttp
        from yarl import URL

        host, number = get.get("host") or target.pod_ip, port(get["port"], target.spec)
        scheme = (get.get("scheme") or "HTTP").lower()
        path = get.get("path") or "/"
        url = f"{scheme}://{host}:{number}" + (path if path.startswith("/") else f"/{path}")
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
        headers |= {header["name"]: header.get("value", "") for header in get.get("httpHeaders") or ()}
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        encoded = URL(url, encoded=True)
        try:
            async with self._open().get(encoded, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                await answer.content.read(BODY_BYTES)
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            return Outcome(False, f'Get "{url}": {why}')
        except aiohttp.ClientConnectorError as error:
            return Outcome(False, f'Get "{url}": {_dial(host, number, error.os_error)}')
        except (aiohttp.ClientError, OSError):
            return Outcome(False, f'Get "{url}": EOF')
        if 200 <= answer.status < 400:
            return Outcome(True)
        return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}", answered=True)

    async def _tcp(self, probe: Object, target: Target, timeout_seconds: float) -> Outcome:
        host, number = probe.get("host") or target.pod_ip, port(probe["port"], target.spec)
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(host, number)
        except TimeoutError:
            return Outcome(False, f"dial tcp {host}:{number}: i/o timeout")
        except OSError as error:
            return Outcome(False, _dial(host, number, error))
        writer.close()
        return Outcome(True)

    async def _grpc(self, probe: Object, target: Target, timeout_seconds: float) -> Outcome:
        from sampan.node import grpc_health  # seldom needed, and an idle agent is to be small

        where = (target.pod_ip, int(probe["port"]))
        why = await grpc_health.check(where, probe.get("service") or "", timeout_seconds)
        return Outcome(not why, why)

    def _open(self) -> Any:
        if self._session is None:
            import aiohttp

            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # as upstream: a pod's certificate is its own affair
            connector = aiohttp.TCPConnector(ssl=context, limit=64, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def port(wanted: int | str, spec: Object) -> int:
    """A port by number or by its name in the container. Raises ValueError."""
    if isinstance(wanted, int) or str(wanted).isdigit():
        return int(wanted)
    for declared in spec.get("ports") or ():
        if declared.get("name") == wanted:
            return int(declared["containerPort"])
    raise ValueError(f"couldn't find port: {wanted}")


def _dial(host: str, number: int, error: OSError) -> str:
    why = {111: "connection refused", 113: "no route to host", 101: "network is unreachable"}
    text = why.get(error.errno or 0, error.strerror or "connection failed")
    return f"dial tcp {host}:{number}: connect: {text}"
