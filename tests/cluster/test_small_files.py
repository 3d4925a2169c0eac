"""Keys, certificates, settings and checkpoints are whole after a kill or a loss of power at any call of their writing.

Each writer has put something old in place. Then it writes something new, and its system calls are taped: at every point
there is the old or the new, and the new for certain once the writer has returned.
"""

import os
import posixpath
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cluster import key_files, pki
from sampan.cluster.settings import Settings
from sampan.kit import files
from sampan.web import certificates
from sampan.web.certificates import Pair
from tests.store import replay, tape
from tests.store.disk import Disk, Files

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]
SEEDS = 5
NOW = 1_800_000_000.0

WRITERS = {
    "a small file": 'files.write_whole(folder / "file", b"new" * 900)',
    "a cluster's settings": 'Settings("new", folder, runtime="simulated").save()',
    "a kubeconfig": 'kubeconfig.write(folder / "kubeconfig", {"kind": "Config", "clusters": ["new" * 900]})',
    "a scheduler's configuration": 'scheduler_config.keep(Settings("a", folder), b"new" * 900)',
    "a plugin's checkpoint": 'checkpoint.save(folder / "state", {"a": "new" * 900})',
    "a volume's record": 'csi._write(folder / "vol_data.json", csi.Device("a", "new" * 900, "pv"))',
    "a pull's record": 'pull_records._write(folder / "sha256-1", {"a": "new" * 900})',
    "the index of images": 'content.Content(folder).write_index({"images": "new" * 900})',
    "a private key": 'certificates.write_private(folder / "sa.key", b"new" * 900)',
}
IMPORTS = """
import os, sys
from pathlib import Path
from sampan.cluster import kubeconfig, pki, scheduler_config
from sampan.cluster.settings import Settings
from sampan.kit import files
from sampan.node import pull_records
from sampan.node.csi import records as csi
from sampan.node.images import content
from sampan.node.plugins import checkpoint
from sampan.web import certificates
"""


def taped(folder: Path, work: str) -> tape.Tape:
    made = tape.record(folder, [sys.executable, "-c", IMPORTS + work])
    assert made.status == 0, made.stderr
    return made


def states(made: tape.Tape, seeds: int = SEEDS) -> Iterator[tuple[Files, int, set[str]]]:
    """All that kills, and some of what losses of power leave at each call.

    With how many lines were told before, and which names have been there when their folder was synced.
    """
    disk, told, settled = Disk(made.before), 0, set(made.before)
    for place, call in enumerate([*made.calls, tape.Call("tell", "", 0, 0)]):
        yield disk.killed(), told, settled
        for seed in range(seeds):
            yield disk.unpowered(random.Random(f"{place} {seed}")), told, settled
        disk.play(call)
        told += call.data.count(b"\n") if call.kind == "tell" else 0
        if call.kind == "sync folder":
            settled |= {name for name in disk.killed() if posixpath.dirname(name) == call.name}


def test_each_is_the_old_or_the_new(tmp_path: Path) -> None:
    """Never a part, never nothing, and never the old one after the writer has returned."""
    lines = []
    for number, work in enumerate(WRITERS.values()):
        place = f"folder = Path({str(tmp_path)!r}, '{number}')"
        (tmp_path / str(number)).mkdir()
        exec(f"{IMPORTS}\n{place}\n{work.replace('new', 'old')}")  # noqa: S102
        lines += [place, work, r"os.write(1, b'written\n')"]
    made = taped(tmp_path, "\n".join(lines))
    names = sorted(made.before)
    assert len(names) == len(WRITERS)
    new = {name: (tmp_path / name).read_bytes() for name in names}
    for found, told, _ in states(made):
        for number, (kind, name) in enumerate(zip(WRITERS, names, strict=True)):
            assert found[name] in ({new[name]} if number < told else {made.before[name], new[name]}), kind


def test_keys_and_certificates_always_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever their making or their renewal was cut off, the next start has whole pairs, and no key that signed is lost."""
    signing_key = certificates.new_signing_key()  # making one takes long
    monkeypatch.setattr(certificates, "new_signing_key", lambda: signing_key)
    begin = f"settings = Settings('a', Path({str(tmp_path)!r}), runtime='simulated')\n"
    done = "\nos.write(1, b'made\\n')\n"
    made = taped(tmp_path, f"{begin}pki.ensure(settings, {NOW}){done}")
    _check_pairs(made, tmp_path)
    renewed = taped(tmp_path, f"{begin}pki.renew(settings, {NOW + 350 * 86400}){done}")
    assert any(call.kind == "rename" for call in renewed.calls)
    _check_pairs(renewed, tmp_path)


def _check_pairs(made: tape.Tape, done: Path) -> None:
    kept = {f"pki/{name}": (done / "pki" / name).read_bytes() for name in ("ca.key", "sa.key")}
    seen = set()
    for found, told, settled in states(made, seeds=2):
        state = tuple(sorted((name, data) for name, data in found.items() if not name.endswith(".new")))
        for name, data in kept.items():  # before a state is left out: it may have been right earlier
            assert found.get(name) == data if told or name in settled else found.get(name) in (None, data), name
        if state in seen:
            continue
        seen.add(state)
        with tempfile.TemporaryDirectory(dir=replay.memory()) as place:
            replay.lay_out(found, Path(place))
            keys = pki.ensure(Settings("a", Path(place), runtime="simulated"), NOW)
            for name in sorted(path.stem for path in keys.glob("*.crt") if path.with_suffix(".key").exists()):
                pair = Pair.load(keys, name)
                assert pair is not None
                assert certificates.is_of_key(pair.certificate, pair.key), f"{name} is not of its key"
            assert (keys / key_files.CLIENT_AUTHORITIES).exists()


def test_a_refused_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside it."""
    (tmp_path / "file").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}
