"""Doctor of an etcd: what is wrong with the one that a cluster's objects are in, or are to be in, and how to mend each thing.

`gather` asks, `examine` judges (pure). An error means that it can't be used, a warning that it won't be for long, or
not well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.cluster.doctor import Finding, Level
from sampan.meta import timestamps
from sampan.store.compaction import MAX_REVISIONS
from sampan.store.etcd_address import Address
from sampan.store.etcd_health import Health, Member, look
from sampan.store.etcd_version import fault, flaw

DAY_SECONDS = 24 * 3600
SOON_SECONDS = 30 * DAY_SECONDS
FAR_SECONDS = 5
"""So far clocks may be apart."""
NEARLY_FULL, HALF = 0.8, 0.5
UNCOMPACTED = 4 * MAX_REVISIONS
MIB = 1 << 20
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Seen:
    """An etcd, and when our own certificates for it end, unix seconds, by the names of their files."""

    address: Address
    health: Health
    ends: Mapping[str, float] = field(default_factory=dict)


async def gather(address: Address) -> Seen:
    """Look at it; changes nothing."""
    from sampan.kit.clock import SystemClock

    return Seen(address, await look(address, SystemClock().now), _ends(address))


def examine(seen: Seen, now: float) -> list[Finding]:
    """All findings, first of our own files, then of each member, then of all together."""
    members = seen.health.members
    found = [finding for name, end in seen.ends.items() for finding in _certificate(name, end, now)]
    is_served = not seen.health.refusal and not all(member.fault for member in members)
    for member in members:
        found += _member(member, "warning" if is_served else "error", now)
    return [*found, *_together(seen), *_password(seen.address)]


def _certificate(name: str, end: float, now: float) -> list[Finding]:
    if end > now + SOON_SECONDS:
        return []
    mend = "renew it, in the same file: a control plane that runs takes it up within 10 s"
    if end <= now:
        return [Finding("error", f"{name} ended on {timestamps.format(end)}", mend)]
    return [Finding("warning", f"{name} ends on {timestamps.format(end)}", mend)]


def _member(member: Member, level: Level, now: float) -> list[Finding]:
    """`level` is that of a member which is of no use: others may be."""
    name = f"etcd {member.name}"
    if member.fault:
        return [Finding(level, f"{name}: {member.fault}", "see its log, and whether --store names what it listens on")]
    found = [*_version(name, member.version), *_state(name, member, level), *_room(name, member)]
    if member.ends:
        found += _certificate(f"the certificate of {name}", member.ends, now)
    if abs(member.ahead_seconds) > FAR_SECONDS:
        way = "ahead of" if member.ahead_seconds > 0 else "behind"
        what = f"{name}: its clock is {abs(member.ahead_seconds)} s {way} this machine's"
        found.append(
            Finding("warning", f"{what}: certificates and tokens may be refused", "set both by NTP: chronyc tracking")
        )
    is_well = member.has_leader and not member.is_learner and all(finding.level != "error" for finding in found)
    return [_well(name, member), *found] if is_well else found


def _well(name: str, member: Member) -> Finding:
    told = [member.version and f"etcd {member.version}", "leader" if member.is_leader else "", _share(member)]
    return Finding("ok", f"{name}: {', '.join(filter(None, told))}".rstrip(": "))


def _share(member: Member) -> str:
    if not member.size:
        return ""
    return f"{member.size / MIB:.1f}" + (f" of {member.quota / MIB:.0f} MiB" if member.quota else " MiB")


def _version(name: str, version: str) -> list[Finding]:
    if version and (why := fault(version)):
        return [Finding("error", f"{name} is {why}", "install a later one, member by member")]
    if why := flaw(version):
        return [Finding("warning", f"{name} is {why}", "install a later one, member by member")]
    return []


def _state(name: str, member: Member, level: Level) -> list[Finding]:
    found = []
    if not member.has_leader:
        mend = "see that a majority of its members run and reach each other: etcdctl endpoint status --cluster"
        found.append(Finding(level, f"{name} knows of no leader: it neither reads nor writes", mend))
    if member.is_learner:
        mend = f"etcdctl member promote, or leave {member.name} out of --store"
        found.append(Finding(level, f"{name} is a learner, which answers no requests", mend))
    if "CORRUPT" in member.alarms:
        mend = "replace it: etcdctl member remove, delete its data, etcdctl member add"
        found.append(Finding("error", f"{name}: its data are damaged (alarm CORRUPT)", mend))
    if member.history > UNCOMPACTED:
        what = f"{name}: {member.history} changes are not compacted"
        mend = "a control plane does that every 30 s while it runs, see: sampan logs control-plane; or: etcdctl compact"
        found.append(Finding("warning", what, mend))
    return found


def _room(name: str, member: Member) -> list[Finding]:
    if "NOSPACE" in member.alarms:
        mend = "etcdctl defrag --cluster, then etcdctl alarm disarm; or give it a greater --quota-backend-bytes"
        return [Finding("error", f"{name} is full (alarm NOSPACE): it takes no writes", mend)]
    if member.quota and member.size > NEARLY_FULL * member.quota:
        mend = "etcdctl defrag --cluster" if member.used < HALF * member.size else "a greater --quota-backend-bytes"
        what = f"{name} is nearly full: {_share(member)}, {member.used / MIB:.1f} MiB of it in use"
        return [Finding("warning", what, mend)]
    return []


def _together(seen: Seen) -> list[Finding]:
    health = seen.health
    there = [member for member in health.members if not member.fault]
    found = []
    if len({member.cluster for member in there if member.cluster}) > 1:
        what = f"{', '.join(member.name for member in there)} are members of different etcds"
        found.append(Finding("error", what, "name the members of one: etcdctl member list"))
    if health.refusal:
        found.append(Finding("error", f"{seen.address}: {health.refusal}", _mend_refusal(health.refusal)))
    if health.count > len(health.members):
        what = f"it has {health.count} members, and --store names {len(health.members)}"
        found.append(Finding("note", f"{what}: the others are not asked when these are gone", "etcdctl member list"))
    return found


def _mend_refusal(refusal: str) -> str:
    if any(word in refusal for word in ("user", "permission", "auth")):
        return "give a user who may read and write all: --store etcd://USER:PASSWORD@HOST:PORT"
    return "see that a majority of its members run and reach each other: etcdctl endpoint health --cluster"


def _password(address: Address) -> Sequence[Finding]:
    far = [host for host, _ in address.members if host not in LOOPBACK]
    if not address.user or address.is_secure or not far:
        return ()
    return (Finding("warning", "the password of etcd goes over the network as it is", "use TLS: etcds://"),)


def _ends(address: Address) -> dict[str, float]:
    """Those that can be read: what can't is told by who uses them. Of several authorities the last one's end counts."""
    from cryptography import x509

    found = {}
    for name in filter(None, (address.ca, address.certificate)):
        try:
            read = x509.load_pem_x509_certificates(Path(name).read_bytes())
            ends = [one.not_valid_after_utc.timestamp() for one in (read if name == address.ca else read[:1])]
        except (OSError, ValueError):
            continue
        found[name] = max(ends)
    return found
