"""Certificates: a node asks the API for its own, and for new ones well before they end.

The client certificate is how it is known to the API, the serving one how its port is known to others. Keys never
leave the machine. New pairs take the place of the old ones in their files, and of those in use, without a pause.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation
"""

import asyncio
import base64
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.certificates.certificate_signing_request import (
    APPROVED,
    CERTIFICATESIGNINGREQUEST,
    DENIED,
    FAILED,
)
from sampan.kinds.parts import csr
from sampan.kit import files
from sampan.kit.clock import NOTICE_SECONDS, Clock, Jumps
from sampan.kit.dice import Dice
from sampan.meta import timestamps
from sampan.meta.status import ApiError
from sampan.web import certificates
from sampan.web.certificates import Pair, Subject

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.05, 5.0
PATIENCE_SECONDS = 15 * 60.0
AGAIN_SECONDS, SELDOM_SECONDS = 60.0, 3600.0
EARLIEST, LATEST = 0.7, 0.9
"""A new one is asked for within this part of the old one's life."""
AHEAD_SECONDS = 24 * 3600.0
"""What begins as late as that was made while a clock was wrong."""

Object = dict[str, Any]


class NotIssued(Exception):
    """There is no certificate: why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A certificate for this subject, from one of the signers."""

    subject: Subject
    signer: str
    usages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """Where a pair is kept."""

    certificate: Path
    key: Path

    def load(self) -> Pair:
        """Raises OSError."""
        return Pair(self.certificate.read_bytes(), self.key.read_bytes())

    @property
    def _fresh(self) -> Path:
        return self.certificate.with_name(f"{self.certificate.name}.fresh")

    def settle(self) -> None:
        """Ends what `save` began, if that was broken off, so that certificate and key are of one pair."""
        if not self._fresh.exists():
            return
        if certificates.is_of_key(self._fresh.read_bytes(), self.key.read_bytes()):
            files.put_in_place(self._fresh, self.certificate)
        else:
            self._fresh.unlink()

    def save(self, pair: Pair) -> None:
        """Each file at once; they stay those of whom they belonged to, whoever writes them."""
        with files.alone(self.key.parent):
            owner = self.key.stat() if self.key.exists() else None
            files.write_whole(self._fresh, pair.certificate, 0o644)
            certificates.write_private(self.key, pair.key)
            files.put_in_place(self._fresh, self.certificate)
            if owner is not None:
                with contextlib.suppress(PermissionError):
                    os.chown(self.key, owner.st_uid, owner.st_gid)
                    os.chown(self.certificate, owner.st_uid, owner.st_gid)


def client(node: str) -> Asked:
    """A node's client certificate."""
    return Asked(_subject(node), csr.KUBELET_CLIENT, ("digital signature", "client auth"))


def serving(node: str, hosts: tuple[str, ...]) -> Asked:
    """The certificate of a node's port, by these names and addresses."""
    return Asked(_subject(node, hosts), csr.KUBELET_SERVING, ("digital signature", "server auth"))


async def ask(api: Client, clock: Clock, asked: Asked, patience_seconds: float = PATIENCE_SECONDS) -> Pair:
    """A new pair, once somebody has approved and signed it. Raises NotIssued, ApiError, TransportError."""
    made = certificates.request(asked.subject)
    spec = {
        "request": base64.b64encode(made.certificate).decode(),
        "signerName": asked.signer,
        "usages": list(asked.usages),
    }
    metadata = {"generateName": "csr-"}
    kind = CERTIFICATESIGNINGREQUEST
    wanted = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}
    name = (await api.create(kind, wanted))["metadata"]["name"]
    deadline, wait = clock.monotonic() + patience_seconds, FIRST_LOOK_SECONDS
    while clock.monotonic() < deadline:
        await clock.sleep(wait)
        wait = min(wait * 1.5, LAST_LOOK_SECONDS)
        certificate = issued(await api.get(kind, name))
        if certificate:
            return Pair(certificate, made.key)
    raise NotIssued(
        f"nobody has signed the request {name} in {patience_seconds:.0f} s; see: kubectl describe csr {name}"
    )


def issued(request: Object) -> bytes:
    """The certificate; nothing as long as there is none. Raises NotIssued when there won't be any."""
    status = request.get("status") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    for type in (DENIED, FAILED):
        if type in conditions:
            why = conditions[type].get("message") or conditions[type].get("reason") or "nobody said why"
            raise NotIssued(f"the request {request['metadata']['name']} was {type.lower()}: {why}")
    certificate = status.get("certificate")
    return base64.b64decode(certificate) if certificate and APPROVED in conditions else b""


def due_at(pair: Pair, dice: Dice) -> float:
    """When to ask for the next one, unix seconds: not all nodes at the same time."""
    start, end = certificates.lifetime(pair.certificate)
    return start + (end - start) * dice.between(EARLIEST, LATEST)


class Rotation:
    """Keeps one pair fresh. `use` is told of each new one, after it is in its files.

    A node that slept over its certificate's end is answered by nobody: if somebody else, as its own machine's control
    plane, puts another one that holds into the files, that is used.
    """

    def __init__(self, api: Client, clock: Clock, asked: Asked, files: Files) -> None:
        self._api, self._clock, self._asked, self._files = api, clock, asked, files

    async def run(self, dice: Dice, use: Callable[[Pair], Awaitable[None]]) -> None:
        """For ever: what fails is tried again, and the old pair serves meanwhile."""
        while (used := await self._first()) is None:
            await self._clock.sleep(AGAIN_SECONDS)
        due, pause, jumps = due_at(used, dice), AGAIN_SECONDS, Jumps(self._clock)
        while True:
            while (left := self._left(used, due)) > 0:
                pause = AGAIN_SECONDS
                await jumps.wait(left)
            found = await self._found(used)
            fresh = found or await self._ask()
            while fresh is not None and not await self._is_used(fresh, use, save=found is None):
                await self._clock.sleep(AGAIN_SECONDS)
            if fresh is None:
                await self._wait_again(used, due, AGAIN_SECONDS)
                continue
            used, due = fresh, due_at(fresh, dice)
            log.info("a new certificate is in use: %s", self._files.certificate.name)
            if self._left(used, due) <= 0:  # the next one would be of no more use
                if pause == AGAIN_SECONDS:
                    self._tell_useless(used)
                await self._wait_again(used, due, pause)
                pause = min(2 * pause, SELDOM_SECONDS)

    async def _first(self) -> Pair | None:
        try:
            pair = await asyncio.to_thread(self._files.load)
            certificates.lifetime(pair.certificate)
        except (OSError, ValueError) as error:
            log.warning("a certificate can't be read, and is not renewed yet: %s", error)
            return None
        return pair

    def _left(self, used: Pair, due: float) -> float:
        """Seconds until another one is asked for."""
        return 0.0 if self._is_lost(used) else due - self._clock.now()

    def _is_lost(self, used: Pair) -> bool:
        """Whether nobody answers who sees it: it has ended, or was made while the clock was far ahead."""
        start, end = certificates.lifetime(used.certificate)
        return not start - AHEAD_SECONDS < self._clock.now() < end

    async def _found(self, used: Pair) -> Pair | None:
        """What somebody else has put into the files, where the one in use does not hold."""
        if not self._is_lost(used):
            return None
        try:
            pair = await asyncio.to_thread(self._files.load)
            is_good = pair.certificate != used.certificate and certificates.holds(pair.certificate, self._clock.now())
            return pair if is_good and certificates.is_of_key(pair.certificate, pair.key) else None
        except (OSError, ValueError):
            return None

    async def _wait_again(self, used: Pair, due: float, seconds: float) -> None:
        """Until the next one may be asked for; not so long when there is another one, or a clock has been set."""
        until = self._clock.monotonic() + seconds
        while self._clock.monotonic() < until and self._left(used, due) <= 0 and await self._found(used) is None:
            await self._clock.sleep(NOTICE_SECONDS)

    def _tell_useless(self, fresh: Pair) -> None:
        start, end = map(timestamps.format, certificates.lifetime(fresh.certificate))
        name, now = self._files.certificate.name, timestamps.format(self._clock.now())
        log.warning(
            "%s is new, but holds from %s to %s, and here it is %s: set this machine's clock, or the API server's",
            name, start, end, now,
        )  # fmt: skip

    async def _is_used(self, fresh: Pair, use: Callable[[Pair], Awaitable[None]], *, save: bool) -> bool:
        try:
            if save:
                await asyncio.to_thread(self._files.save, fresh)
            await use(fresh)
        except (OSError, ValueError) as error:
            log.warning("a new certificate is not in use yet: %s: %s", self._files.certificate.name, error)
            return False
        return True

    async def _ask(self) -> Pair | None:
        try:
            return await ask(self._api, self._clock, self._asked)
        except (NotIssued, ApiError, TransportError) as error:
            log.warning("no new certificate yet: %s", error)
            return None


def _subject(node: str, hosts: tuple[str, ...] = ()) -> Subject:
    return Subject(f"{csr.NODE_PREFIX}{node}", (csr.NODES_GROUP,), hosts)
