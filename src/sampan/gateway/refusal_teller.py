"""Says on Gateways what Envoy refuses of them, by its log."""

import asyncio
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.gateway import envoy_process, kinds
from sampan.gateway.refusals import ANNOTATION, Key, Subject, attributed, of_gateways, reasons
from sampan.gateway.traffic import Plan
from sampan.gateway.xds import Server
from sampan.kinds.kind import Object
from sampan.kit.clock import Clock
from sampan.meta import objects
from sampan.meta.status import ApiError

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
MAX_READ_BYTES = 1 << 20


class Teller:
    """Follows what a server's Envoy refuses, and says it on Gateways; takes it back when it is so no longer."""

    def __init__(self, server: Server, envoy_log: Path, client: Client, clock: Clock) -> None:
        self._server, self._log, self._client, self._clock = server, envoy_log, client, clock
        self._read = envoy_log.stat().st_size if envoy_log.exists() else 0
        self._aside = self._what_is_aside()
        self._why: dict[str, str] = {}
        self._refused: set[Subject] = set()
        self._plan = Plan()
        self._gateways: tuple[Object, ...] = ()
        self._changed = asyncio.Event()
        server.on_refusal = self._changed.set

    def heed(self, plan: Plan, gateways: Iterable[Object]) -> None:
        """What is planned now, and the Gateways as they are."""
        self._plan, self._gateways = plan, tuple(gateways)
        self._changed.set()

    async def follow(self) -> None:
        """For ever."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(BATCH_SECONDS)
            self._changed.clear()
            try:
                await self.tell()
            except Exception:
                log.exception("what Envoy refuses is not told")

    async def tell(self) -> None:
        """Writes down what differs."""
        types = {type_ for type_, _ in self._server.refused}
        why = {type_: why for type_, why in self._why.items() if type_ in types} | reasons(self._new_lines())
        self._why = attributed(why, self._refused | self._server.refused)
        self._refused = set(self._server.refused)
        found = of_gateways(self._server.refused, self._why, self._plan)
        for gateway in self._gateways:
            key = objects.key(gateway)
            text = json.dumps(found[key], sort_keys=True) if key in found else None
            if objects.annotations(gateway).get(ANNOTATION) != text:
                await self._write(key, text)

    async def _write(self, key: Key, text: str | None) -> None:
        if text is not None:
            log.error("Envoy refuses what Gateway %s asks for: %s", "/".join(key), text)
        try:
            await self._client.patch(kinds.GATEWAY, key, {"metadata": {"annotations": {ANNOTATION: text}}})
        except (ApiError, TransportError) as error:
            log.warning("what Envoy refuses can't be written on Gateway %s: %s", "/".join(key), error)

    def _new_lines(self) -> str:
        """What the log got since it was read last; its end, if that is long."""
        try:
            aside, size = self._what_is_aside(), self._log.stat().st_size
            is_same = aside == self._aside and self._read <= size
            begin = max(self._read if is_same else 0, size - MAX_READ_BYTES)
            with self._log.open("rb") as file:
                file.seek(begin)
                text = file.read(MAX_READ_BYTES)
        except OSError:
            return ""
        self._read, self._aside = begin + len(text), aside
        return text.decode("utf-8", "replace")

    def _what_is_aside(self) -> tuple[int, int]:
        """Another one each time the log is put aside, and begins anew."""
        try:
            found = envoy_process.aside(self._log).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns
