"""What a real container uses is what its cgroup counts."""

from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.node.cgroup_meter import CgroupMeter

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20
BUSY = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"


async def test_a_busy_container(world: Any) -> None:
    """Work in it counts for it and for the node, and not for its idle neighbour."""
    busy = await world.runtime.start(world.config("sleep 100; true"))
    idle = await world.runtime.start(world.config("sleep 100; true", name="idle"))
    meter = CgroupMeter(SystemClock(), world.runtime.cgroups)
    meter.read()
    before = meter.container(busy)
    assert before is not None
    assert await world.runtime.exec_sync(busy.id, ("sh", "-c", BUSY), 60) == (0, b"")
    meter.read()
    after, other, node = meter.container(busy), meter.container(idle), meter.node()
    assert after is not None
    assert other is not None
    assert node is not None
    assert after.cpu_seconds > before.cpu_seconds + 0.05
    assert after.cores > 5 * other.cores
    assert 0 < after.working_set <= after.memory < 100 * MIB
    assert node.working_set > after.working_set
    await world.runtime.stop(busy.id, "", 0)
    meter.read()
    assert meter.container(busy) is None
