"""What is counted of authentication and authorization: who came, what was decided, and how long it took.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from sampan.server.identity import User
from sampan.server.metrics import Histogram, Histogrammed, Metrics, Sample

SECONDS = tuple(0.001 * 2**n for n in range(15))
QUICK_SECONDS = SECONDS[0]
MAX_NAMES = 4096
NEVER = -1.0
SUCCESS, ALLOWED = "success", "allowed"
# The users that are told apart; of all others only how many requests they sent.
_NAMED = ("admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default")


class Judged(Protocol):
    """See request_metrics.Timed."""

    started: float
    identified: float
    asked: float
    judged: float
    caller: User


class AccessMetrics:
    """`slowly` is told of every known caller's request but the quick ones, `unidentified` of those whose credentials do not hold.

    Of those that were identified and allowed within QUICK_SECONDS there are `quick`, whose times add up to
    `identifying` and `judging`. `names` counts the requests of each user.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.quick = 0
        self.identifying = self.judging = 0.0
        self.names: dict[str, int] = {}
        self._identified = Histogram("", "", SECONDS)
        self._judged = Histogram("", "", SECONDS)
        label = ("result",)
        help = "Authentication duration in seconds broken out by result."
        metrics.read_histogram("authentication_duration_seconds", help, SECONDS, label).read = self._identifications
        help = "Authorization duration in seconds broken out by result."
        metrics.read_histogram("authorization_duration_seconds", help, SECONDS, label).read = self._judgements
        help = "Counter of authenticated attempts."
        attempts = metrics.read_counter("authentication_attempts", help, label)
        attempts.read = lambda: _totals(self._identifications())
        help = (
            "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', "
            "'no-opinion' or 'error'."
        )
        metrics.read("authorization_attempts_total", help, lambda: _totals(self._judgements()), label)
        help = "Counter of authenticated requests broken out by username."
        metrics.read_counter("authenticated_user_requests", help, ("username",)).read = self._users

    def slowly(self, passage: Judged, ended: float) -> None:
        """A request of a known caller is over that took its time, or did not come as far as to be allowed."""
        self._identified.of(SUCCESS).observe(passage.identified - passage.started)
        if passage.judged >= 0:
            self._judged.of(ALLOWED).observe(passage.judged - passage.asked)
        elif passage.asked >= 0:
            self._judged.of("no-opinion").observe(ended - passage.asked)

    def unidentified(self, seconds: float, *, has_credentials: bool) -> None:
        """Credentials that do not hold are an error; to have none, where some are needed, a failure."""
        self._identified.of("error" if has_credentials else "failure").observe(seconds)

    def new_name(self, name: str) -> None:
        """The first request of this user, as far as is remembered."""
        if len(self.names) >= MAX_NAMES:
            counted = [(key[0], int(count)) for key, count in self._users()]
            self.names.clear()
            self.names.update(counted)
        self.names[name] = self.names.get(name, 0) + 1

    def _identifications(self) -> Iterable[Histogrammed]:
        return _with_quick(self._identified, SUCCESS, self.quick, self.identifying)

    def _judgements(self) -> Iterable[Histogrammed]:
        return _with_quick(self._judged, ALLOWED, self.quick, self.judging)

    def _users(self) -> Iterable[Sample]:
        counted: Counter[str] = Counter()
        for name, count in self.names.items():
            counted[_shown(name)] += count
        return [((name,), count) for name, count in counted.items()]


def _with_quick(histogram: Histogram, label: str, quick: int, seconds: float) -> Iterable[Histogrammed]:
    """What was observed, and the quick ones, which are all in the first bucket."""
    histogram.of(label)
    for key, series in histogram.series.items():
        if key == (label,):
            yield key, [series.counts[0] + quick, *series.counts[1:]], series.sum + seconds
        else:
            yield key, series.counts, series.sum


def _totals(histograms: Iterable[Histogrammed]) -> Iterable[Sample]:
    return [(key, sum(counts)) for key, counts, _ in histograms]


def _shown(name: str) -> str:
    """What a user is counted as."""
    if name in _NAMED:
        return name
    return "email_id" if "@" in name or name == "email_id" else "other"
