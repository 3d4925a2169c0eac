"""A whole control plane, killed and with a failing disk while its clients work: nothing that they were told is lost.

`scripts/soak --server` has hundreds of such lives.
"""

import itertools
import shutil
from pathlib import Path

import pytest

from tests.cluster.server_fire import DB, WAL, Fault, ServerFire

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]


async def test_what_clients_were_told_holds_through_kills_and_a_failing_disk(tmp_path: Path) -> None:
    """SIGKILL amid a commit and amid an answer, syncs that fail, no room for a while; each life checks what the last has left."""
    fire = ServerFire(tmp_path / "cluster", workers=4, rounds=4)
    assert await fire.live() is None
    assert await fire.live(Fault("fdatasync:error=EIO:when=12..13", (WAL, DB))) is None
    assert await fire.live(Fault("pwrite64:signal=SIGKILL:when=60", (WAL,))) == -9
    assert await fire.live(Fault("pwrite64:error=ENOSPC:when=60..61", (WAL, DB))) is None
    assert await fire.live(Fault("write:signal=SIGKILL:when=100")) == -9
    assert await fire.live() is None
    refusals = [line["why"] for line in fire.lines if line["op"] == "refused"]
    assert any("disk I/O error" in why for why in refusals)
    assert any("no space is left" in why for why in refusals)
    ends = [line["op"] for line in fire.lines if line["op"] in ("end", "dead")]
    assert ends[-1] == "dead"
    assert not any(pair == ("dead", "dead") for pair in itertools.pairwise(ends)), (
        "a life without an acknowledged write"
    )
