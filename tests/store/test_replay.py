"""What a kill or a loss of power leaves, at calls spread over a run: the whole history holds, in this life and the next.

`scripts/soak --store` has each call, and more states of the disk.
"""

import dataclasses
import json
import random
import shutil
import sys
from pathlib import Path

import pytest

from sampan.store import copying
from sampan.store.sqlite import SqliteStore
from tests.store import replay, tape
from tests.store.disk import Disk

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]


@pytest.mark.parametrize(
    ("scenario", "every"), [("fresh", 23), ("upkeep", 29), ("upgrade", 31), ("snapshot", 29), ("again", 31)]
)
def test_a_kill_or_a_loss_of_power_loses_nothing(scenario: str, every: int) -> None:
    """Also torn and reordered writes, and names whose folder was not synced."""
    sweep = replay.Sweep(replay.run(scenario), every=every, states=2, goes_on=4)
    sweep.go()
    assert sweep.kills > 10
    assert not sweep.failures, "\n".join(sweep.failures)


def test_a_disk_that_lies_is_found_out() -> None:
    """Where syncs do nothing, acknowledged writes are lost: the check sees it, and so does the store where the mark is left."""
    honest = replay.run("writes")
    calls = [call for call in honest.tape.calls if not call.kind.startswith("sync")]
    sweep = replay.Sweep(
        dataclasses.replace(honest, tape=tape.Tape(honest.tape.before, calls)), every=40, states=4, goes_on=99
    )
    sweep.go()
    assert sweep.failures
    assert not any("killed" in failure for failure in sweep.failures)
    assert any("is older than what this cluster has acknowledged" in failure for failure in sweep.failures)


RESTORE = """
import asyncio, os, sys
from pathlib import Path
from sampan.store import copying
folder = Path(sys.argv[1])
revision = copying.put_in_place(folder / "copy.db", folder / "s.db")
os.write(1, b"%d\\n" % revision)
"""


async def test_a_restore_happens_or_does_not(tmp_path: Path) -> None:
    """After a kill or a loss of power at any call of it there is the old database or the new one, and both open.

    Once it was told that the new one is there, it is.
    """
    from sampan.store.protocol import Put

    store = SqliteStore.open(tmp_path / "s.db")
    await store.txn((), (Put("k", b"copied"),))
    copying.save(tmp_path / "s.db", tmp_path / "copy.db")
    await store.txn((), (Put("k", b"newer"),))
    await store.close()
    made = tape.record(tmp_path, [sys.executable, "-c", RESTORE, str(tmp_path)])
    assert made.status == 0, made.stderr
    disk, revision = Disk(made.before), 0
    for place, call in enumerate([*made.calls, None]):
        if call is not None and call.kind == "tell":
            revision = json.loads(call.data)
            continue
        right = [(b"copied", True)] if revision else [(b"newer", False), (b"copied", True)]
        dice = [random.Random(f"{place} {number}") for number in range(8 if revision else 2)]
        for number, files in enumerate([disk.killed(), *(disk.unpowered(one) for one in dice)]):
            folder = tmp_path / f"{place}-{number}"
            folder.mkdir()
            replay.lay_out(files, folder)
            found = SqliteStore.open(folder / "s.db")
            record = await found.get("k")
            assert record is not None
            assert (record.value, await found.revision() > 10**9) in right
            await found.close()
            shutil.rmtree(folder)
        if call is not None:
            disk.play(call)
    assert revision > 10**9
