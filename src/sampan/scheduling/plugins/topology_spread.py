"""Pods of one controller are spread over nodes and zones, softly: the cluster's default constraints.

Hosts may differ by 3 and zones by 5 before it counts; a zone's pods count more the more zones there are.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#internal-default-constraints
"""

from math import log

from sampan.scheduling.snapshot import ZONE
from sampan.scheduling.verdict import Demand, Nodes, Snapshot

HOST_SKEW, ZONE_SKEW = 3, 5


def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """How crowded the node and its zone are with the controller's pods: the less the better."""
    counts = snapshot.owned.get(pod.owner) if pod.owner else None
    if not counts:
        return [0] * len(nodes)
    host_weight = log(len(nodes) + 2)
    hosts = [counts.get(snapshot.names[n], 0) * host_weight + HOST_SKEW - 1 for n in nodes]
    zones: dict[str, int] = {}
    for n in nodes:
        zone = snapshot.labels[n].get(ZONE)
        if zone is not None:
            zones[zone] = zones.get(zone, 0) + counts.get(snapshot.names[n], 0)
    if not zones:
        return hosts
    weight = log(len(zones) + 2)
    extra = {zone: count * weight + ZONE_SKEW - 1 for zone, count in zones.items()}
    return [host + extra.get(snapshot.labels[n].get(ZONE, ""), 0) for host, n in zip(hosts, nodes, strict=True)]
