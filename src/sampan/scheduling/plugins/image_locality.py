"""Nodes that have a pod's images already are liked, the larger the images and the more nodes have them.

https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sampan.scheduling.framework import MAX_SCORE, Local
from sampan.scheduling.verdict import Demand, Nodes, Snapshot

NAME = "ImageLocality"
MEBIBYTE = 1024 * 1024
LEAST, MOST = 23 * MEBIBYTE, 1000 * MEBIBYTE  # for each image


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, sign=sign, weigh=weigh)


def sign(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Sequence[Hashable]:
    """The images that are there, with their sizes, and how many are wanted."""
    wanted = pod.images
    if not any(image in snapshot.spread for image in wanted):
        return [()] * len(nodes)
    return [_present(wanted, snapshot.images[n]) for n in nodes]


def weigh(signs: Sequence[Hashable], snapshot: Snapshot) -> Sequence[int]:
    """0 for less than one small image, 100 for as many large ones as are wanted, on every node."""
    return [_score(each, snapshot) for each in signs]


def _present(wanted: tuple[str, ...], images: Mapping[str, int]) -> Hashable:
    found = tuple((image, images[image]) for image in wanted if image in images)
    return (len(wanted), *found) if found else ()


def _score(sign: Any, snapshot: Snapshot) -> int:
    if not sign:
        return 0
    wanted, *present = sign
    nodes, most = len(snapshot), MOST * int(wanted)
    total = sum(int(size * (snapshot.spread[image] / nodes)) for image, size in present)
    return MAX_SCORE * (min(max(total, LEAST), most) - LEAST) // (most - LEAST)
