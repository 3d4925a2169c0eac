"""How an etcd is: each member is asked what it knows of itself, and all of them whether they agree.

https://etcd.io/docs/latest/op-guide/monitoring/
"""

import asyncio
import contextlib
import dataclasses
import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from sampan.store import etcd_diagnosis, etcd_wire
from sampan.store.etcd_address import Address
from sampan.store.etcd_client import EVERYTHING, Client, Unanswered
from sampan.store.protocol import StoreError

ASK_SECONDS = 5.0
_LEADS, _LEARNS = "etcd_server_is_leader", "etcd_server_is_learner"
_QUOTA, _SIZE, _USED = (
    "etcd_server_quota_backend_bytes",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
)
_CURRENT, _COMPACTED = "etcd_debugging_mvcc_current_revision", "etcd_debugging_mvcc_compact_revision"


@dataclass(frozen=True, slots=True)
class Member:
    """What one says of itself. Sizes in bytes; 0 and "" for what it does not tell.

    `cluster` tells one etcd from another; `ahead_seconds` is its clock beside this machine's, in whole seconds; `ends` is
    when its certificate does, unix seconds; `history` counts the changes that are not compacted.
    """

    name: str
    fault: str = ""
    version: str = ""
    cluster: int = 0
    has_leader: bool = True
    is_leader: bool = False
    is_learner: bool = False
    alarms: tuple[str, ...] = ()
    size: int = 0
    used: int = 0
    quota: int = 0
    history: int = 0
    ahead_seconds: int = 0
    ends: float = 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """All of them; `refusal` is why the whole of it can't be read, `count` how many members it has, 0 if nobody knows."""

    members: tuple[Member, ...]
    refusal: str = ""
    count: int = 0


async def look(address: Address, now: Callable[[], float]) -> Health:
    """Within seconds, whatever is wrong."""
    findings = await etcd_diagnosis.look(address)
    if len(findings) != len(address.members):  # our own files are of no use
        return Health(tuple(Member(finding.member, finding.fault) for finding in findings))
    members = await asyncio.gather(
        *(
            _member(dataclasses.replace(address, members=(address.members[number],)), finding.fault, now)
            for number, finding in enumerate(findings)
        )
    )
    if all(member.fault for member in members):
        return Health(tuple(members))
    refusal, count = await _asked(address)
    return Health(tuple(members), refusal, count)


async def _member(address: Address, fault: str, now: Callable[[], float]) -> Member:
    (name,) = address.targets
    if fault:
        return Member(name, fault)
    found = await asyncio.to_thread(_told, address, now)
    client = Client(address)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            status = await client.call("status", etcd_wire.make("StatusRequest")())
    except (StoreError, TimeoutError):
        return found  # who may ask what is said of all of them
    finally:
        await client.close()
    return dataclasses.replace(
        found,
        version=status.version,
        cluster=status.header.cluster,
        has_leader=bool(status.leader),
        is_leader=status.leader == status.header.member,
        is_learner=status.is_learner,
        alarms=tuple(sorted({error.rpartition("alarm:")[2].strip() for error in status.errors if "alarm:" in error})),
        size=status.size,
        used=status.used or found.used,
        quota=status.quota or found.quota,
    )


async def _asked(address: Address) -> tuple[str, int]:
    """Whether all can be read, as far as we may, and how many members there are."""
    client, count = Client(address), 0
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await client.range(EVERYTHING, EVERYTHING, count_only=True)
            with contextlib.suppress(StoreError):
                answer = await client.call("members", etcd_wire.make("MembersRequest")())
                count = len(answer.members)
    except (StoreError, Unanswered) as error:
        return str(error), count
    except TimeoutError:
        return "" if count else "no answer to a read that a majority of its members must agree to", count
    finally:
        await client.close()
    return "", count


def _told(address: Address, now: Callable[[], float]) -> Member:
    """What is to be had without a user: its metrics, its clock, its certificate."""
    ((host, port),), (name,) = address.members, address.targets
    context = etcd_diagnosis.context(address)
    plain = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    connection = (
        plain if context is None else http.client.HTTPSConnection(host, port, timeout=ASK_SECONDS, context=context)
    )
    try:
        connection.connect()
        ends = _ends(connection.sock)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        values = _values(answer.read().decode(errors="replace")) if answer.status == 200 else {}
        ahead = _ahead(answer.getheader("Date", ""), now())
    except (OSError, http.client.HTTPException):
        return Member(name)
    finally:
        connection.close()
    return Member(
        name,
        is_leader=bool(values.get(_LEADS)),
        is_learner=bool(values.get(_LEARNS)),
        size=int(values.get(_SIZE, 0)),
        used=int(values.get(_USED, 0)),
        quota=int(values.get(_QUOTA, 0)),
        history=int(values.get(_CURRENT, 0)) - max(int(values.get(_COMPACTED, 0)), 0),
        ahead_seconds=ahead,
        ends=ends,
    )


def _values(text: str) -> dict[str, float]:
    """Those metrics that have no labels."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in (_LEADS, _LEARNS, _QUOTA, _SIZE, _USED, _CURRENT, _COMPACTED):
            with contextlib.suppress(ValueError, OverflowError):
                found[name] = float(int(float(value)))
    return found


def _ahead(date: str, now: float) -> int:
    try:
        return round(parsedate_to_datetime(date).timestamp() - int(now))
    except ValueError:
        return 0


def _ends(connected: object) -> float:
    """When the certificate ends that was shown; 0 where there is none."""
    if not isinstance(connected, ssl.SSLSocket):
        return 0.0
    shown = connected.getpeercert() or {}
    ends = shown.get("notAfter")
    return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else 0.0
