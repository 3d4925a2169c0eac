"""Election: what a candidate writes to the lease at this moment, to become the leader or to stay it.

Who leads must have renewed its lease within `renew_seconds`, or stops; others wait until the lease has not changed for
its whole duration, by their own clocks, so that clocks need not agree. The difference between the two is the time in
which nobody leads.

https://kubernetes.io/docs/concepts/architecture/leases/#leader-election
"""

from dataclasses import dataclass

from sampan.control.plan import Create, Event, Key, Update, normal
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.kind import Object
from sampan.meta import timestamps

MOST_TRANSITIONS = 2**31 - 1
"""The field holds no more, and somebody may have written so many."""


@dataclass(frozen=True, slots=True)
class Terms:
    """For how long a lease holds, within what its holder must renew it, and how often everybody tries."""

    lease_seconds: int = 15
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants the lease `key`, and on which terms. No other candidate has the same identity."""

    identity: str
    key: Key
    terms: Terms = Terms()


def holder(lease: Object | None) -> str:
    """The identity of who has the lease; "" for nobody."""
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def claim(me: Candidate, lease: Object | None, unchanged_seconds: float, now: float) -> Create | Update | None:
    """What makes me the leader, or keeps me so; None while it is somebody else.

    `unchanged_seconds`: for how long the lease has looked like this to me.
    """
    text = timestamps.format_micro(now)
    wanted = {"holderIdentity": me.identity, "leaseDurationSeconds": me.terms.lease_seconds, "renewTime": text}
    if lease is None:
        namespace, name = me.key
        made = {**wanted, "acquireTime": text, "leaseTransitions": 0}
        metadata = {"name": name, "namespace": namespace}
        return Create(LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": made})
    spec: Object = lease.get("spec") or {}
    if holder(lease) == me.identity:
        return Update(LEASE, {**lease, "spec": {**spec, **wanted}})
    if holder(lease) and unchanged_seconds < (spec.get("leaseDurationSeconds") or 0):
        return None
    taken = {"acquireTime": text, "leaseTransitions": min((spec.get("leaseTransitions") or 0) + 1, MOST_TRANSITIONS)}
    return Update(LEASE, {**lease, "spec": {**spec, **wanted, **taken}})


def release(lease: Object, now: float) -> Update:
    """What lets somebody else have the lease at once; whoever writes it has stopped before."""
    text = timestamps.format_micro(now)
    spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
    return Update(LEASE, {**lease, "spec": {**spec, "leaseDurationSeconds": 1, "acquireTime": text, "renewTime": text}})


def told(me: Candidate, lease: Object, *, leads: bool) -> Event:
    """The event of a beginning, or of an end."""
    about = {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": lease["metadata"]}
    return normal("LeaderElection", f"{me.identity} {'became leader' if leads else 'stopped leading'}", about)
