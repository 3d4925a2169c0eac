"""Key renewal: the control plane's certificates are made anew, and those in use changed, long before they end.

Connections that are open stay so. The administrator's goes into the kubeconfigs, DIR's and the user's, after all others
are in use. What fails, as on a full disk, is told once and tried again soon, and hinders nothing else. A machine that
slept over their end, or whose clock was set, gets them as soon as that is noticed. The authority lives for ten years,
and gets a new certificate when the cluster is started in the last two: one who runs through all of these is told so.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sampan.cluster import key_files, kubeconfig, pki
from sampan.cluster.settings import YEAR_SECONDS, Settings
from sampan.kit.clock import Clock, Jumps
from sampan.meta import timestamps

LOOK_SECONDS = 600.0
AGAIN_SECONDS = 60.0

LOG = logging.getLogger("sampan")


class User(Protocol):
    """Whatever shows a certificate, such as an ssl.SSLContext."""

    def load_cert_chain(self, certfile: str, keyfile: str, /) -> None:
        """From now on it shows this one."""


async def run(settings: Settings, clock: Clock, users: Mapping[str, Sequence[User]]) -> None:
    """For ever. `users` are those who show each certificate, by the names of the files."""
    failed: dict[str, str] = {}
    _tell_end(settings, clock.now())
    places, jumps = _Places(settings, users), Jumps(clock)
    while True:
        await jumps.wait(AGAIN_SECONDS if failed else LOOK_SECONDS)
        before, failed = failed, await _look(settings, clock.now(), places)
        for text in sorted(set(failed.values()) - set(before.values())):
            LOG.warning("%s", text)


async def _look(settings: Settings, now: float, places: "_Places") -> dict[str, str]:
    """Renews, and brings what is new to its places; returns what failed, and why."""
    failed, made = {}, []
    try:
        made = await asyncio.to_thread(pki.renew, settings, now)
    except (OSError, ValueError) as error:  # some may have been made before
        failed["certificates"] = f"certificates are not renewed yet: {error}"
    for name in made:
        LOG.info("a new certificate: %s", name)
    if made:
        _tell_end(settings, now)
    return failed | await places.bring()


class _Places:
    """Where certificates are shown: those in use, by their names, and kubeconfigs, by their paths.

    What each shows is remembered: what is in the files by now may be another process' work, as `sampan up`'s.
    """

    def __init__(self, settings: Settings, users: Mapping[str, Sequence[User]]) -> None:
        self._settings, self._users = settings, users
        self._shown: dict[str, bytes] = {}
        paths = filter(None, (str(settings.path("kubeconfig")), settings.kubeconfig))
        self._places = (*users, *paths)
        for place in self._places:
            with contextlib.suppress(OSError):
                self._shown[place] = self._file(place).read_bytes()

    async def bring(self) -> dict[str, str]:
        """To each what it does not show yet; returns which were not reached, and why."""
        failed = {}
        for place in self._places:
            try:
                certificate = self._file(place).read_bytes()
                if certificate != self._shown.get(place):
                    await self._bring(place)
                    self._shown[place] = certificate
            except (OSError, ValueError, kubeconfig.KubeconfigError) as error:
                failed[place] = f"{place} has no new certificate yet: {error}"
        return failed

    def _file(self, place: str) -> Path:
        name = place if place in self._users else key_files.ADMIN
        return self._settings.path("pki", f"{name}.crt")

    async def _bring(self, place: str) -> None:
        if place not in self._users:
            await asyncio.to_thread(_write, self._settings, Path(place))  # a home may be far away
            return
        for user in self._users[place]:
            user.load_cert_chain(str(self._file(place)), str(self._settings.path("pki", f"{place}.key")))


def _write(settings: Settings, path: Path) -> None:
    fresh = kubeconfig.build(settings)
    if path == settings.path("kubeconfig"):
        kubeconfig.write(path, fresh)
    elif kubeconfig.renew(path, fresh):
        LOG.info("%s has the new certificate", path)


def _tell_end(settings: Settings, now: float) -> None:
    """In the last year of an authority."""
    for name, end in pki.authority_ends(settings).items():
        if end < now + YEAR_SECONDS:
            LOG.warning(
                "%s.crt ends on %s, and with it all that it signed; a start before makes it last: sampan down, sampan up",
                name,
                timestamps.format(end),
            )
