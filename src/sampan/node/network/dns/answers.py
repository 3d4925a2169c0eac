"""Answers: what the cluster's own names are answered with, kept as bytes until what they say changes (pure).

https://datatracker.ietf.org/doc/html/rfc1034#section-4.3.2, https://datatracker.ietf.org/doc/html/rfc2308
"""

from collections.abc import Hashable, Iterable

from sampan.node.network.dns import wire
from sampan.node.network.dns.reply import ADDITIONAL, ANSWER, AUTHORITY, Reply, Writer, next_turn
from sampan.node.network.dns.wire import Labels, Question
from sampan.node.network.dns.zone import TTL, Object, Record, Records, Zone

MAX_CHAIN = 8
MAX_KEPT = 8192

_PLAIN = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_WITH_OPT = bytes((0, 1, 0, 0, 0, 0, 0, 1))
_OPT = bytes((0, 0, wire.OPT))
_OPT_SIZE = 11
_REFUSED_TYPES = frozenset((wire.AXFR, wire.IXFR))
_CLUSTER_OPTS = (wire.opt(wants_dnssec=False), wire.opt(wants_dnssec=True))


class Answers:
    """The answers of one zone. `change` it as objects change."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._known: dict[bytes, Reply] = {}
        self._by_cause: dict[Hashable, set[bytes]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._known)

    def change(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Takes over an object's version: what depended on the old one is forgotten, and nothing else."""
        for cause in self.zone.change(plural, old, new):
            for key in self._by_cause.pop(cause, ()):
                self._known.pop(key, None)

    def quick(self, packet: bytes) -> tuple[bytes, Reply] | None:
        """The message that answers a plain question which was answered before; None for any other packet.

        A name is looked for as it came: only what was read with all care before can be found.
        """
        end = packet.find(0, wire.HEADER) + 5
        counts = packet[4:12]
        room, opt = wire.SMALLEST_UDP, b""
        if counts == _WITH_OPT:
            if (
                len(packet) != end + _OPT_SIZE
                or packet[end : end + 3] != _OPT
                or packet[end + 6]
                or any(packet[end + 9 :])
            ):
                return None
            room = min(max(packet[end + 3] << 8 | packet[end + 4], room), wire.LARGEST_UDP)
            opt = _CLUSTER_OPTS[packet[end + 7] >> 7]
        elif counts != _PLAIN or len(packet) != end:
            return None
        reply = self._known.get(packet[wire.HEADER : end - 4].lower() + packet[end - 4 : end])
        if reply is None or packet[2] & 0xF8:
            return None
        bits = packet[2] & 1 | packet[3] >> 3 & 2
        return reply.sent(packet[:2] + packet[wire.HEADER : end], bits, opt, room, self.turn()), reply

    def reply(self, asked: Question) -> Reply | None:
        """What is to be said; None when the name is none of the cluster's.

        A reply with a `target` is only the beginning: it leads out of the cluster.
        """
        known = self._known.get(asked.key)
        if known is not None:
            return known
        if asked.type in _REFUSED_TYPES or not asked.is_internet:
            return Writer(asked.key).finished((".", asked.type, wire.REFUSED), is_authoritative=False)
        labels = wire.labels(asked.name)
        causes: list[Hashable] = []
        if self.zone.covers(labels):
            made = self._of_zone(asked, labels, causes)
        else:
            found = self.zone.reverse(labels)
            if found is None:
                return None
            causes.append(found[1])
            made = self._of_address(asked, found[0])
        if not made.target:
            self._keep(asked.key, made, causes)
        return made

    def turn(self) -> int:
        """For the next answer: whose turn it is among several addresses."""
        self._turn = next_turn(self._turn)
        return self._turn

    def _keep(self, key: bytes, made: Reply, causes: Iterable[Hashable]) -> None:
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
            self._by_cause.clear()
        self._known[key] = made
        for cause in causes:
            if cause is not None:
                self._by_cause.setdefault(cause, set()).add(key)

    def _of_zone(self, asked: Question, labels: Labels, causes: list[Hashable]) -> Reply:
        writer, type = Writer(asked.key), asked.type
        kind = f"{self.zone.domain}."
        owner = asked.name
        for _ in range(MAX_CHAIN):
            found, cause = self.zone.find(labels)
            causes.append(cause)
            alias = found[0] if found and found[0].type == wire.CNAME else None
            if alias is None or type in (wire.CNAME, wire.ANY):
                return self._finished((writer, asked, owner), found, causes)
            writer.add(ANSWER, owner, _timed((alias,)))
            owner, labels = alias.target, wire.labels(alias.target.lower())
            if not self.zone.covers(labels):
                return writer.finished((kind, type, wire.NOERROR), target=owner)
        return Writer(asked.key).finished((kind, type, wire.SERVFAIL))

    def _finished(self, begun: tuple[Writer, Question, bytes], found: Records | None, causes: list[Hashable]) -> Reply:
        """The last of a chain: its records of the type that was asked for, or the word that there is none."""
        writer, asked, owner = begun
        type, domain = asked.type, f"{self.zone.domain}."
        wanted = [record for record in found or () if type in (record.type, wire.ANY)]
        writer.add_addresses(ANSWER, owner, _timed(filter(_is_address, wanted)))
        writer.add(ANSWER, owner, _timed(record for record in wanted if not _is_address(record)))
        if not wanted:
            writer.add(AUTHORITY, self.zone.name, _timed((self.zone.authority,)))
        targets = dict.fromkeys(record.target for record in wanted if record.type in (wire.SRV, wire.NS))
        for target in targets if type != wire.ANY else ():
            glue, cause = self.zone.find(wire.labels(target))
            causes.append(cause)
            writer.add(ADDITIONAL, target, _timed(filter(_is_address, glue or ())))
        return writer.finished((domain, type, wire.NXDOMAIN if found is None else wire.NOERROR))

    def _of_address(self, asked: Question, found: Records | None) -> Reply:
        writer = Writer(asked.key)
        wanted = [record for record in found or () if asked.type in (record.type, wire.ANY)]
        writer.add(ANSWER, asked.name, _timed(wanted))
        if not wanted:
            writer.add(AUTHORITY, asked.name[asked.name[0] + 1 :], _timed((self.zone.authority,)))
        return writer.finished((f"{self.zone.domain}.", asked.type, wire.NXDOMAIN if found is None else wire.NOERROR))


def _timed(records: Iterable[Record]) -> list[tuple[int, int, bytes, bytes]]:
    return [(record.type, TTL, record.data, record.target) for record in records]


def _is_address(record: Record) -> bool:
    return record.type in (wire.A, wire.AAAA)
