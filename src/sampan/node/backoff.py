"""Back-off of restarts and image pulls: 10 s, doubling to 5 min or less, forgotten after 10 quiet minutes."""

from sampan.node.observed import Backoff

FIRST_SECONDS = 10.0
LAST_SECONDS = 300.0
FORGOTTEN_SECONDS = 600.0


def waits_until(backoff: Backoff | None, finished_at: float) -> float:
    """When the next attempt may start after one that ended then; 0 for at once."""
    if backoff is None or _is_stale(backoff, finished_at):
        return 0.0
    return finished_at + backoff.seconds


def after(backoff: Backoff | None, now: float, longest: float = LAST_SECONDS) -> Backoff:
    """What to remember when an attempt starts now; none waits for more than `longest` seconds."""
    if backoff is None or _is_stale(backoff, now):
        return Backoff(min(FIRST_SECONDS, longest), now)
    return Backoff(min(backoff.seconds * 2, longest), now)


def text(seconds: float) -> str:
    """As messages say it, to the millisecond: 850ms, 10s, 1m20s, 5m0s, 1h0m0.5s."""
    if 0 < seconds < 1:
        return f"{int(seconds * 1000)}ms"
    minutes, rest = divmod(int(seconds * 1000) / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    found = f"{round(rest, 3):g}s"
    return f"{hours}h{minutes}m{found}" if hours else f"{minutes}m{found}" if minutes else found


def _is_stale(backoff: Backoff, at: float) -> bool:
    return at - backoff.updated_at > FORGOTTEN_SECONDS
