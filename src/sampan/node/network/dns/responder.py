"""Responder: what is said to each packet, wherever it came from.

Names in the cluster are answered at once; others when the servers outside have been asked. Nothing that a pod sends may
stop it: what makes no sense is told so, and what isn't a question is dropped.
"""

import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from sampan.kit.clock import Clock
from sampan.node.network.dns import wire
from sampan.node.network.dns.answers import Answers
from sampan.node.network.dns.figures import Figures
from sampan.node.network.dns.forward import Forwarder
from sampan.node.network.dns.reply import ANSWER, AUTHORITY, Kind, Reply, Writer
from sampan.node.network.dns.wire import Malformed, Question

log = logging.getLogger(__name__)

_OUTSIDE = "."

Later = Coroutine[Any, Any, bytes]


class Responder:
    """`answers` for the cluster's names, `forwarder` for others."""

    def __init__(self, answers: Answers, forwarder: Forwarder, figures: Figures, clock: Clock) -> None:
        self.answers, self.forwarder, self.figures, self.clock = answers, forwarder, figures, clock
        self.zone = f"{answers.zone.domain}."

    def respond(self, packet: bytes, sender: str, counts: Counter[Kind], room: int = 0) -> bytes | Later | None:
        """The answer, how to get it, or nothing to be said. It is counted in `counts`.

        There is as much `room` as is given, as much as the asker says when it is 0.
        """
        if not room:
            quick = self.answers.quick(packet)
            if quick is not None:
                counts[quick[1].kind] += 1
                return quick[0]
        if len(packet) < wire.HEADER or packet[2] & 0x80:
            return None
        if packet[2] & 0x78:
            return _refusal(packet, wire.NOTIMP, counts)
        try:
            asked = wire.question(packet)
        except Malformed:
            return _refusal(packet, wire.FORMERR, counts)
        if asked.version:
            reply = Reply((_OUTSIDE, asked.type, wire.NOERROR), is_authoritative=False)
            counts[_OUTSIDE, asked.type, wire.BADVERS] += 1
            return reply.packed(packet[:2], asked, 0, room)
        reply_now = self._reply(asked)
        if reply_now is None:
            return self._later(packet[:2], asked, sender, (counts, room))
        counts[reply_now.kind] += 1
        return reply_now.packed(packet[:2], asked, self.answers.turn(), room)

    def _reply(self, asked: Question) -> Reply | None:
        """What can be said at once."""
        ours = self.answers.reply(asked)
        if ours is None:
            return self.forwarder.kept(asked)
        if not ours.target:
            return ours
        outside = _question(asked, ours.target)
        found = self.forwarder.kept(outside)
        return None if found is None else _joined(asked, ours, outside, found)

    async def _later(self, id: bytes, asked: Question, sender: str, to: tuple[Counter[Kind], int]) -> bytes:
        """The answer of the servers outside, put behind our part of it if the name was ours."""
        counts, room = to
        began = self.clock.monotonic()
        ours = self.answers.reply(asked)
        if ours is None or not ours.target:
            reply = ours or await self.forwarder.ask(asked, sender)
        else:
            outside = _question(asked, ours.target)
            reply = _joined(asked, ours, outside, await self.forwarder.ask(outside, sender))
        counts[reply.kind] += 1
        self.figures.took(reply.kind[0], self.clock.monotonic() - began)
        return reply.packed(id, asked, self.answers.turn(), room)


def _refusal(packet: bytes, code: int, counts: Counter[Kind]) -> bytes:
    counts[_OUTSIDE, 0, code] += 1
    return wire.failure(packet, code)


def _question(asked: Question, target: bytes) -> Question:
    """The same of where a name leads."""
    key = target.lower() + asked.key[-4:]
    return Question(key, key, asked.bits, wire.LARGEST_UDP, asked.opt, 0, asked.wants_dnssec)


def _joined(asked: Question, ours: Reply, outside: Question, found: Reply) -> Reply:
    """One answer of ours, which leads outside, and theirs. If theirs is none, so is the whole."""
    kind = (ours.kind[0], asked.type, found.code)
    if found.code not in (wire.NOERROR, wire.NXDOMAIN):
        return Reply(kind)
    writer = Writer(asked.key)
    try:
        for before, reply in ((asked, ours), (outside, found)):
            packet = bytes(wire.HEADER) + before.key + reply.body
            spans = list(wire.spans(packet, wire.HEADER + len(before.key), sum(reply.counts)))
            answers, authority, _ = reply.counts
            for number, span in enumerate(spans[: answers + authority]):
                owner, data = wire.name(packet, span.owner), wire.data(packet, span)
                writer.add(ANSWER if number < answers else AUTHORITY, owner, [(span.type, span.ttl, data, b"")])
    except Malformed:
        return Reply((ours.kind[0], asked.type, wire.SERVFAIL))
    return writer.finished(kind)
