"""Authority: a node goes on when its cluster's authority is prolonged, which gets another certificate for the same key.

The API tells of it by the ConfigMap kube-root-ca.crt of kube-system. It is believed where it is of the name and the key
of an authority that is trusted already, which has signed it: who may write ConfigMaps makes the node trust nobody else.
What somebody puts into the file itself is taken up too.

https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/
"""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from sampan.client.api import Client
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit import files
from sampan.kit.clock import Clock, Jumps
from sampan.kit.dice import Dice
from sampan.meta import timestamps
from sampan.web import certificates

log = logging.getLogger(__name__)

NAME, NAMESPACE, KEY = "kube-root-ca.crt", "kube-system", "ca.crt"
FIRST_SECONDS = 20.0
LOOK_SECONDS = 6 * 3600.0
AGAIN_SECONDS = 600.0

Use = Callable[[bytes], Awaitable[None]]


class Authority:
    """The file of those whom the node trusts (PEM), and what the API tells of them."""

    def __init__(self, api: Client, clock: Clock, file: Path) -> None:
        self._api, self._clock, self._file = api, clock, file
        self._written = self._used = b""

    async def run(self, dice: Dice, use: Use) -> None:
        """For ever. `use` is told what to trust from now on; what fails is told once, and tried again."""
        failed, jumps, pause = "", Jumps(self._clock), dice.between(0.0, FIRST_SECONDS)
        while True:
            await jumps.wait(pause)
            try:
                await self._look(use)
                failed, pause = "", LOOK_SECONDS * dice.between(0.9, 1.1)
            except Exception as error:  # noqa: BLE001 (whatever stands in there: the agent goes on with whom it trusts)
                if str(error) != failed:
                    log.warning("whether the cluster's authority was prolonged is not known yet: %s", error)
                failed, pause = str(error), AGAIN_SECONDS

    async def _look(self, use: Use) -> None:
        written = await asyncio.to_thread(self._file.read_bytes)
        if written != self._written:  # before the API is asked: the former one may have ended
            await self._change(written, use)
            self._written = written
        found = await self._api.get(CONFIGMAP, NAME, NAMESPACE)
        told = (found.get("data") or {}).get(KEY, "").encode()
        fresh = certificates.prolonged(self._used, told, self._clock.now())
        if fresh != self._used:
            await self._change(fresh, use)
            end = timestamps.format(certificates.last_end(fresh))
            log.info("the cluster's authority was prolonged: %s holds until %s", self._file.name, end)
        if self._used != self._written and await asyncio.to_thread(self._save, self._written, self._used):
            self._written = self._used

    async def _change(self, trusted: bytes, use: Use) -> None:
        """All of it can be read, or nothing is changed: somebody may be writing it just now. ValueError, OSError."""
        certificates.last_end(trusted)
        ssl.create_default_context(cadata=trusted.decode())
        await use(trusted)
        self._used = trusted

    def _save(self, former: bytes, fresh: bytes) -> bool:
        """At once; the file stays that of whom it belonged to. False where another one has changed it meanwhile."""
        with files.alone(self._file.parent):
            if self._file.read_bytes() != former:
                return False
            owner = self._file.stat()
            files.write_whole(self._file, fresh, 0o644)
            with contextlib.suppress(PermissionError):
                os.chown(self._file, owner.st_uid, owner.st_gid)
        return True
