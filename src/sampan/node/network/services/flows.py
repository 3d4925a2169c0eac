"""Flows: which datagrams' connections, as the kernel tracks them, no longer lead where their service says (pure).

A client that goes on sending from one port stays in its connection for ever: to an endpoint that is gone, or to the
bare service address from before there was one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sampan.node.network.services.frontends import Frontend, Target

_PROTOCOL = "udp"

Place = tuple[str, int]


class Flow(NamedTuple):
    """Where a connection's packets were sent, and who answers."""

    sent_to: Place
    answered_by: Place


@dataclass(frozen=True, slots=True)
class Stale:
    """Frontends by address and port, and ports of the node, each with those who may answer; `own` are its addresses."""

    own: frozenset[str]
    addresses: dict[Place, frozenset[Place]] = field(default_factory=dict)
    ports: dict[tuple[int, int], frozenset[Place]] = field(default_factory=dict)

    def has(self, flow: Flow) -> bool:
        """Whether the connection is to be forgotten."""
        answering = self.addresses.get(flow.sent_to)
        if answering is None and (flow.answered_by != flow.sent_to or flow.sent_to[0] in self.own):
            address, port = flow.sent_to
            answering = self.ports.get((6 if ":" in address else 4, port))
        return answering is not None and flow.answered_by not in answering


def stale(changed: Iterable[Frontend], now: Callable[[Frontend], Target | None], own: frozenset[str]) -> Stale | None:
    """What is to be looked for after these frontends have changed; nothing if none of them is about datagrams."""
    found = Stale(own)
    for frontend in changed:
        if frontend.protocol != _PROTOCOL:
            continue
        target = now(frontend)
        pools = (*target.cluster, *(target.local or ())) if target is not None else ()
        answering = frozenset((endpoint.address, endpoint.port) for endpoint in pools)
        if frontend.address:
            found.addresses[frontend.address, frontend.port] = answering
        else:
            found.ports[frontend.family, frontend.port] = answering
    return found if found.addresses or found.ports else None
