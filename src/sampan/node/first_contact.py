"""First contact: the agent's caches begin when the API server answers.

Both mostly start at the same time, and the agent is there first. Each cache that finds nobody waits longer every time;
so it is asked for often, by one request, as long as the start of a server takes, and more and more seldom after that.
After a minute agents that all wait for the same server no longer ask at the same time.
"""

import logging
import ssl

from sampan.client.transport import Transport, TransportError
from sampan.kit.clock import Clock
from sampan.kit.dice import Dice
from sampan.web.message import Request

SHORTEST_SECONDS, LONGEST_SECONDS = 0.02, 1.0
SHARE = 0.02
"""Of what it has taken so far."""
SOON_SECONDS = 60.0
"""So long the pauses are no longer than LONGEST_SECONDS, and then than SELDOM_SECONDS."""
SELDOM_SECONDS = 10.0
SILENT_SECONDS, AGAIN_SECONDS = 5.0, 60.0
"""What goes wrong is told after a while, which a start may take, and then as often as this."""

log = logging.getLogger(__name__)


async def made(transport: Transport, clock: Clock, dice: Dice) -> None:
    """Returns once there is an answer, whatever it says; the log says why there is none."""
    began = clock.monotonic()
    told: dict[str, float] = {}
    while True:
        try:
            await transport.request(Request("GET", "/livez"))
        except TransportError as error:
            waited, text = clock.monotonic() - began, str(error)
            told = {each: when for each, when in told.items() if waited - when < AGAIN_SECONDS}
            if waited >= SILENT_SECONDS and text not in told:
                told[text] = waited
                log.warning("the API server does not answer: %s", text)
            await clock.sleep(_pause(waited, dice, is_certificate=_is_certificate(error)))
        else:
            return


def _pause(waited: float, dice: Dice, *, is_certificate: bool) -> float:
    """A server whose certificate is not what it should be does not get another one soon."""
    if is_certificate:
        return dice.between(SELDOM_SECONDS / 2, SELDOM_SECONDS)
    if waited < SOON_SECONDS:
        return min(max(waited * SHARE, SHORTEST_SECONDS), LONGEST_SECONDS)
    return min(waited * SHARE, SELDOM_SECONDS) * dice.between(0.5, 1.0)


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__
    return False
