"""Carrying out probes and hooks: exec, httpGet, tcpSocket, grpc, sleep.

https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any

from sampan.kit.clock import Clock
from sampan.node.outcome import Outcome, dialled
from sampan.node.runtime.protocol import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

Object = dict[str, Any]

PROBE_AGENT, HOOK_AGENT = "kube-probe/1.36", "kube-lifecycle/1.36"
HOOKS = ("postStart", "preStop")
BODY_BYTES = 10 * 1024


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
        except OSError as error:  # there are no files, threads or processes to be had for it
            return Outcome(False, (error.strerror or str(error)).lower(), errored=True)
        except Exception as error:  # our fault: this one can't be carried out, and the others are
            log.exception("the %s of %s", target.purpose, target.container_id)
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
        from sampan.node import http_probe  # with all that it imports, only where something is asked over HTTP

        host, number = get.get("host") or target.pod_ip, port(get["port"], target.spec)
        path = get.get("path") or "/"
        url = f"{(get.get('scheme') or 'HTTP').lower()}://{host}:{number}" + (path if path[0] == "/" else f"/{path}")
        agent = HOOK_AGENT if target.purpose in HOOKS else PROBE_AGENT
        headers = http_probe.headers(get.get("httpHeaders") or [], agent)
        return await http_probe.ask(self._open(), url, headers, timeout_seconds)

    async def _tcp(self, probe: Object, target: Target, timeout_seconds: float) -> Outcome:
        host, number = probe.get("host") or target.pod_ip, port(probe["port"], target.spec)
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(host, number)
        except TimeoutError:
            return Outcome(False, f"dial tcp {host}:{number}: i/o timeout")
        except OSError as error:
            return Outcome(False, dialled(host, number, error))
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
