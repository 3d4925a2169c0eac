"""Adoption: what is on the node already when an agent starts, and whose it is.

Containers, addresses, volumes and whatever else the runtime holds of a pod belong to the pod of that uid; what belongs to none is a stranger's.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sampan.meta import objects
from sampan.node import admission
from sampan.node.parts import Parts
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import EXITED, ContainerState

log = logging.getLogger(__name__)

Finish = Callable[[PodRecord, ContainerState], ContainerState]


@dataclass(frozen=True, slots=True)
class Survey:
    """The pods that have something here, those that have nothing yet, and strangers with their containers."""

    known: dict[str, PodRecord]
    fresh: list[PodRecord]
    strangers: dict[str, list[ContainerState]]


async def survey(records: Iterable[PodRecord], parts: Parts, finish: Finish) -> Survey:
    """Gives each record what it has; the fresh ones in the order in which they are to begin."""
    wanted = {record.uid: record for record in records}
    strangers: dict[str, list[ContainerState]] = {}
    places = await parts.network.attachments()
    held = parts.plugins.pods() if parts.plugins is not None else set()
    for state in await parts.runtime.containers():
        if (record := wanted.get(state.pod_uid)) is not None:
            record.take_state(finish(record, state) if state.state == EXITED else state)
        else:
            strangers.setdefault(state.pod_uid, []).append(state)
    for uid, attachment in places.items():
        if uid in wanted:
            wanted[uid].take_place(attachment.netns_path, attachment.ips)
        else:
            strangers.setdefault(uid, [])
    for uid in sorted((parts.volumes.pods() | parts.runtime.pods() | held) - wanted.keys()):
        strangers.setdefault(uid, [])
    known = {uid: record for uid, record in wanted.items() if record.states or record.netns}
    for record in known.values():
        try:
            record.needs = admission.needs(record.pod)
        except Exception:  # our fault: what runs goes on running
            log.exception("what pod %s needs is not known", record.uid)
    fresh = sorted((record for uid, record in wanted.items() if uid not in known), key=_turn)
    return Survey(known, fresh, strangers)


def _turn(record: PodRecord) -> tuple[bool, str]:
    return not record.is_static, objects.metadata(record.pod).get("creationTimestamp") or ""
