"""What is said in the end of a pod's containers that never ran: nobody waits any more for what an ended pod did not start.

A pod that could have started them has failed in that; where its init containers were not done, theirs is the failure that counts.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-states
"""

from collections.abc import Sequence
from typing import Any

from sampan.node import podspec
from sampan.node.snapshot import Snapshot

Status = dict[str, Any]

MESSAGE = "The container could not be located when the pod was terminated"


def settle(seen: Snapshot, inits: list[Status], apps: list[Status]) -> None:
    """Ends those that still wait, once the pod has ended; the statuses are changed."""
    if not (seen.is_ending and seen.is_quiet):
        return
    waiting = list(apps) if _had_its_turn(seen, inits, apps) else []
    for each in (*_reached(inits), *waiting):
        if "terminated" not in each["state"]:
            ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": MESSAGE}
            each["state"] = {"terminated": {**ended, "startedAt": None, "finishedAt": None}}


def _had_its_turn(seen: Snapshot, inits: Sequence[Status], apps: Sequence[Status]) -> bool:
    """Whether the pod came so far that its app containers could be started."""
    if not podspec.init_containers(seen.pod) or any(_has_run(each) for each in apps):
        return True
    ends = (inits[-1][key].get("terminated") for key in ("state", "lastState"))
    return any(end is not None and end["exitCode"] == 0 for end in ends)


def _reached(inits: Sequence[Status]) -> Sequence[Status]:
    """All up to the last init container that has run, but at least the first."""
    last = max((number for number, each in enumerate(inits) if _has_run(each)), default=0)
    return inits[: last + 1]


def _has_run(each: Status) -> bool:
    return "waiting" not in each["state"] or "terminated" in each["lastState"]
