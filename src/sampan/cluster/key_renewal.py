"""Key renewal: the control plane's certificates are made anew, and those in use changed, long before they end.

Connections that are open stay so. What fails, as on a full disk, is tried again soon.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping

from sampan.cluster import pki
from sampan.cluster.settings import Settings
from sampan.kit.clock import Clock

LOOK_SECONDS = 6 * 3600.0
AGAIN_SECONDS = 60.0

LOG = logging.getLogger("sampan")


async def run(settings: Settings, clock: Clock, tls: Mapping[str, ssl.SSLContext]) -> None:
    """For ever. `tls` has those in use by the names of their files."""
    stale: set[str] = set()
    while True:
        await clock.sleep(AGAIN_SECONDS if stale else LOOK_SECONDS)
        try:
            made = await asyncio.to_thread(pki.renew, settings, clock.now())
            for name in made:
                LOG.info("a new certificate: %s", name)
            for name in stale | set(made):
                _use(settings, name, tls)
            stale = set()
        except (OSError, ValueError) as error:
            LOG.warning("certificates are not renewed yet: %s", error)
            stale = set(tls)  # some may have been made before


def _use(settings: Settings, name: str, tls: Mapping[str, ssl.SSLContext]) -> None:
    if name in tls:
        pair = (settings.path("pki", f"{name}.{end}") for end in ("crt", "key"))
        tls[name].load_cert_chain(*map(str, pair))
