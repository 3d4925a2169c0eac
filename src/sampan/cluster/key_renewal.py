"""Key renewal: the control plane's certificates are made anew, and those in use changed, long before they end.

Connections that are open stay so. The administrator's goes into the kubeconfigs, DIR's and the user's, after all others
are in use. What fails, as on a full disk, is told once and tried again soon, and hinders nothing else. The authority
lives for ten years and is not changed by itself: its last year is told.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sampan.cluster import key_files, kubeconfig, pki
from sampan.cluster.settings import YEAR_SECONDS, Settings
from sampan.kit.clock import Clock
from sampan.meta import timestamps

LOOK_SECONDS = 600.0
"""Often, since a clock may be set, and a machine may sleep."""
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
    while True:
        await clock.sleep(AGAIN_SECONDS if failed else LOOK_SECONDS)
        before, failed = failed, await _look(settings, clock.now(), users, set(failed))
        for text in sorted(set(failed.values()) - set(before.values())):
            LOG.warning("%s", text)


async def _look(settings: Settings, now: float, users: Mapping[str, Sequence[User]], late: set[str]) -> dict[str, str]:
    """Renews, and brings the new ones and the late ones to their places; returns which were not reached, and why.

    Places are the names of certificates in use and the paths of kubeconfigs.
    """
    files = list(filter(None, (str(settings.path("kubeconfig")), settings.kubeconfig)))
    try:
        made = await asyncio.to_thread(pki.renew, settings, now)
    except (OSError, ValueError) as error:  # some may have been made before
        return dict.fromkeys((*users, *files), f"certificates are not renewed yet: {error}")
    for name in made:
        LOG.info("a new certificate: %s", name)
    if made:
        _tell_end(settings, now)
    wanted = late.union(made, files if key_files.ADMIN in made else ())
    failed = {}
    for place in (*users, *files):
        if place in wanted:
            try:
                await _bring(settings, place, users.get(place))
            except (OSError, ValueError, kubeconfig.KubeconfigError) as error:
                failed[place] = f"{place} has no new certificate yet: {error}"
    return failed


async def _bring(settings: Settings, place: str, users: Sequence[User] | None) -> None:
    if users is None:
        await asyncio.to_thread(_write, settings, Path(place))  # a home may be far away
        return
    certificate, key = (str(settings.path("pki", f"{place}.{end}")) for end in ("crt", "key"))
    for user in users:
        user.load_cert_chain(certificate, key)


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
                "%s.crt ends on %s, and with it all that it signed: start a new cluster before, and move there",
                name,
                timestamps.format(end),
            )
