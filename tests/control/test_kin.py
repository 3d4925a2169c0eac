"""Which parents a change of a child makes due, and which changes those hear of who adopt."""

from typing import Any

from sampan.control.kin import Kin
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.batch.job import JOB
from sampan.kit.clock import SystemClock
from sampan.kit.workqueue import WorkQueue

Tree = dict[str, Any]


def a_child(*owners: tuple[str, str, str, bool]) -> Tree:
    references = [
        {"apiVersion": version, "kind": kind, "name": name, "controller": is_controller}
        for version, kind, name, is_controller in owners
    ]
    return {"metadata": {"namespace": "default", "name": "c", "ownerReferences": references}}


JOBS_CHILD = a_child(("batch/v1", "Job", "j", True), ("apps/v1", "ReplicaSet", "r", False))
SETS_CHILD = a_child(("apps/v1", "ReplicaSet", "r", True))
OTHERS_CHILD = a_child(("example.com/v1", "Job", "j", True))


class Family:
    """Jobs and ReplicaSets, and what they were told."""

    def __init__(self) -> None:
        self.kin = Kin()
        self.jobs: WorkQueue[tuple[str, str]] = WorkQueue(SystemClock())
        self.sets: WorkQueue[tuple[str, str]] = WorkQueue(SystemClock())
        self.strays: list[str] = []
        self.kin.own(JOB, self.jobs, 0.0)
        self.kin.own(REPLICASET, self.sets, 0.0)
        self.kin.adopt(lambda change, old, new: self.strays.append(change))

    async def due(self, old: Tree | None, new: Tree | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        self.kin.changed("CHANGE", old, new)
        return await _taken(self.jobs), await _taken(self.sets)


async def _taken(queue: WorkQueue[tuple[str, str]]) -> list[tuple[str, str]]:
    taken = [await queue.get() for _ in range(len(queue))]
    for key in taken:
        queue.done(key)
    return taken


async def test_only_the_controller_is_due() -> None:
    """Not an owner beside it, nor one of the same kind in another group; whoever adopts hears nothing of these."""
    family = Family()
    assert await family.due(None, JOBS_CHILD) == ([("default", "j")], [])
    assert await family.due(JOBS_CHILD, {**JOBS_CHILD, "status": {}}) == ([("default", "j")], [])
    assert await family.due(None, OTHERS_CHILD) == ([], [])
    assert not family.strays


async def test_both_are_due_when_a_child_changes_hands() -> None:
    """The one that had it and the one that has it; who adopts hears when nobody has it, or had it."""
    family = Family()
    assert await family.due(JOBS_CHILD, SETS_CHILD) == ([("default", "j")], [("default", "r")])
    assert not family.strays
    assert await family.due(JOBS_CHILD, a_child()) == ([("default", "j")], [])
    assert await family.due(a_child(), SETS_CHILD) == ([], [("default", "r")])
    assert await family.due(a_child(), None) == ([], [])
    assert len(family.strays) == 3
