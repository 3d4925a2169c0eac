"""Snapshots of a cluster: whole, private, checked, and only where they belong."""

import asyncio
import fcntl
import io
import os
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from sampan.cluster import host, processes, settings, snapshots
from sampan.cluster.settings import Settings
from sampan.cluster.snapshots import SnapshotError
from sampan.store import copying
from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore
from sampan.store.sqlite_file import hold

NOW = 1_767_225_600.0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """One with three objects, keys and a configuration."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    made = Settings("tide", tmp_path / "share" / "sampan" / "tide", runtime="simulated", api_port=7000)
    made.path("pki").mkdir(parents=True)
    made.save()
    for name, content in (("pki/ca.key", b"secret"), ("pki/ca.crt", b"public"), ("server.yaml", b"{}")):
        made.path(name).write_bytes(content)
    asyncio.run(write(made, b"1"))
    return made


async def write(cluster: Settings, value: bytes) -> None:
    store = SqliteStore.open(cluster.path("state.db"))
    for name in "abc":
        await store.txn((), (Put(name, value),))
    await store.close()


async def values(cluster: Settings) -> tuple[int, set[bytes]]:
    store = SqliteStore.open(cluster.path("state.db"))
    try:
        page = await store.list("")
        return page.revision, {record.value for record in page.records}
    finally:
        await store.close()


def test_what_is_saved_comes_back(cluster: Settings, tmp_path: Path) -> None:
    """Objects and keys as they were, at a revision above all that was served since; what was there is kept beside."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    assert (made.name, made.revision, made.time) == ("tide", 4, "2026-01-01T00:00:00Z")
    assert made.path.stat().st_mode & 0o777 == 0o600
    asyncio.run(write(cluster, b"2"))
    cluster.path("pki/ca.key").write_bytes(b"other")
    restored, revision = snapshots.restore(cluster, cluster.directory, made.path)
    assert (restored, revision) == (cluster, 7 + copying.JUMP)
    assert asyncio.run(values(cluster)) == (7 + copying.JUMP, {b"1"})
    assert cluster.path("pki/ca.key").read_bytes() == b"secret"
    assert cluster.path("pki/ca.key").stat().st_mode & 0o777 == 0o600
    assert copying.revision(cluster.path("state.db.replaced")) == 7
    assert not list(cluster.directory.glob(".snapshot-*"))


def test_another_machine_can_have_it(cluster: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory gets all it needs to start; the place and this machine's kubeconfig are not taken over."""
    replace(cluster, kubeconfig="/home/a/.kube/config", previous_context="work").save()
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    directory = tmp_path / "elsewhere" / "sampan" / "tide"
    restored, revision = snapshots.restore(None, directory, made.path)
    assert (restored.directory, restored.kubeconfig, restored.previous_context) == (directory, "", "")
    assert (restored.api_port, revision) == (7000, 4 + copying.JUMP)
    assert settings.load(directory) == restored
    assert asyncio.run(values(restored)) == (4 + copying.JUMP, {b"1"})
    assert restored.path("server.yaml").read_bytes() == b"{}"
    again, revision = snapshots.restore(restored, directory, made.path)
    assert revision == 4 + 2 * copying.JUMP


def test_it_is_saved_while_somebody_writes(cluster: Settings, tmp_path: Path) -> None:
    """Who holds the store goes on; the snapshot is of one moment."""

    async def both() -> None:
        store = SqliteStore.open(cluster.path("state.db"))
        saving = asyncio.create_task(asyncio.to_thread(snapshots.save, cluster, tmp_path / "x.snapshot", NOW))
        count = 0
        while not saving.done():
            count += 1
            await store.txn((), (Put("x", b"%d" % count), Put("y", b"%d" % count)))
        made = await saving
        await store.close()
        assert 4 <= made.revision <= 4 + count

    asyncio.run(both())
    snapshots.restore(cluster, cluster.directory, tmp_path / "x.snapshot")
    store = asyncio.run(values(cluster))[1]
    assert len(store - {b"1"}) <= 1


def test_those_kept_are_listed(cluster: Settings) -> None:
    """By time; what can't be read is named."""
    for days in (2, 0, 1):
        snapshots.save(cluster, None, NOW + days * 86400)
    cluster.path("snapshots", "broken.snapshot").write_bytes(b"nothing")
    found, broken = snapshots.kept(cluster)
    assert [each.time for each in found] == [f"2026-01-0{n}T00:00:00Z" for n in (1, 2, 3)]
    assert broken == [f"{cluster.path('snapshots', 'broken.snapshot')} is no snapshot"]
    assert snapshots.find("tide-2026-01-01T00-00-00Z", cluster) == found[0].path
    assert snapshots.find(str(found[1].path), None) == found[1].path
    with pytest.raises(SnapshotError, match="there is no snapshot other"):
        snapshots.find("other", cluster)


def test_a_damaged_one_is_refused_and_changes_nothing(cluster: Settings, tmp_path: Path) -> None:
    """Wherever a byte is wrong or missing, but for the few bits of the outer form that mean nothing."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    data = made.path.read_bytes()
    before = cluster.path("state.db").read_bytes()
    harmed = [data[:at] + bytes((data[at] ^ 16,)) + data[at + 1 :] for at in range(0, len(data), len(data) // 30)]
    refused = 0
    for content in [*harmed, data[:-1], data[: len(data) // 2], data[:3], b""]:
        made.path.write_bytes(content)
        try:
            snapshots.restore(cluster, cluster.directory, made.path)
        except SnapshotError as error:
            refused += 1
            assert any(words in str(error) for words in ("is damaged", "is no snapshot", "made by Sampan"))
            assert cluster.path("state.db").read_bytes() == before
        else:  # a bit that means nothing
            assert asyncio.run(values(cluster))[1] == {b"1"}
            before = cluster.path("state.db").read_bytes()
    assert refused >= len(harmed)
    assert not list(cluster.directory.glob(".snapshot-*"))


def test_a_running_cluster_is_not_overwritten(cluster: Settings, tmp_path: Path) -> None:
    """Neither while its processes run, nor while anybody has its store."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    plane = host.control_plane(cluster)
    plane.pid_file.parent.mkdir()
    plane.pid_file.write_text(f"{os.getpid()} {processes.start_time(os.getpid())}\n")
    with pytest.raises(SnapshotError, match="cluster tide runs; stop it first: sampan down --name tide"):
        snapshots.restore(cluster, cluster.directory, made.path)
    plane.pid_file.unlink()
    holder = SqliteStore.open(cluster.path("state.db"))
    with pytest.raises(SnapshotError, match="in use by another process"):
        snapshots.restore(cluster, cluster.directory, made.path)
    holder._shut()


def test_it_goes_where_it_belongs(cluster: Settings, tmp_path: Path) -> None:
    """Not over another cluster, nor beside one whose addresses it would take."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    other = Settings("other", tmp_path / "other", index=1)
    other.directory.mkdir()
    with pytest.raises(SnapshotError, match=r"is of cluster tide .*holds cluster other"):
        snapshots.restore(other, other.directory, made.path)
    with pytest.raises(SnapshotError, match="are those of cluster tide here"):
        snapshots.restore(None, tmp_path / "third", made.path)
    with pytest.raises(SnapshotError, match="exists already"):
        snapshots.save(cluster, made.path, NOW)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"store": "etcd://10.0.0.1:2379"}, "etcdctl --endpoints=10.0.0.1:2379 snapshot save FILE"),
        ({"store": "etcds://u:hush@h?ca=/x"}, "etcdctl --endpoints=https://h:2379 snapshot save FILE"),
        ({"store": "other"}, "has an unknown store"),
        ({"store": "memory"}, "keeps its objects in memory"),
        ({"joined_to": "https://10.0.0.1:6443", "joined_as": "worker"}, "is a node of https://10.0.0.1:6443"),
    ],
)
def test_other_stores_are_refused_with_what_is_right_there(
    cluster: Settings, changes: dict[str, str], told: str
) -> None:
    """Each with its own mend."""
    made = snapshots.save(cluster, None, NOW)
    with pytest.raises(SnapshotError, match=told) as refusal:
        snapshots.save(replace(cluster, **changes), None, NOW)
    assert "hush" not in str(refusal.value)
    with pytest.raises(SnapshotError):
        snapshots.restore(replace(cluster, **changes), cluster.directory, made.path)
    with pytest.raises(SnapshotError):
        snapshots.restore_database(replace(cluster, **changes), cluster.path("state.db"))


def test_members_stay_where_they_belong(cluster: Settings, tmp_path: Path) -> None:
    """A snapshot that somebody made by hand writes nothing outside."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    evil = replace(made, path=tmp_path / "evil.snapshot", files={"../escaped": made.files["pki/ca.key"]})
    snapshots._write(evil, {"../escaped": cluster.path("pki/ca.key")})
    with pytest.raises(SnapshotError, match="'../escaped' is not what its manifest says"):
        snapshots.restore(cluster, cluster.directory, evil.path)
    assert not (cluster.directory / "escaped").exists()


@pytest.mark.parametrize("name", ["authorized_keys", "state.db.mark", "run/x.yaml", "pki/x/y"])
def test_only_what_belongs_to_a_cluster_is_written(cluster: Settings, tmp_path: Path, name: str) -> None:
    """Objects, settings, configuration and keys; anything else is refused, wherever it would be."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    more = replace(made, path=tmp_path / "more.snapshot", files={name: made.files["pki/ca.key"]})
    snapshots._write(more, {name: cluster.path("pki/ca.key")})
    with pytest.raises(SnapshotError, match=f"{name!r} is not what its manifest says"):
        snapshots.restore(cluster, cluster.directory, more.path)


@pytest.mark.parametrize("name", ["../..", "/root/.ssh", "", "a/b", "Tide", 5, None, ["tide"]])
def test_a_snapshot_names_a_cluster(cluster: Settings, tmp_path: Path, name: str) -> None:
    """Its name becomes a directory's: whatever could not be a cluster's is refused as soon as it is read."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    evil = replace(made, path=tmp_path / "evil.snapshot", name=name, files={})
    snapshots._write(evil, {})
    with pytest.raises(SnapshotError, match="its manifest does not name a cluster"):
        snapshots.read(evil.path)


def test_the_name_is_that_of_the_settings(cluster: Settings, tmp_path: Path) -> None:
    """And those are settings of a cluster whose objects are in the snapshot."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    members = {name: cluster.path(name) for name in made.files}
    files = {name: (path.stat().st_size, snapshots._checksum(path)) for name, path in members.items()}
    snapshots._write(replace(made, path=tmp_path / "other.snapshot", name="other", files=files), members)
    with pytest.raises(SnapshotError, match=r"its cluster.json is not that of cluster other"):
        snapshots.restore(None, tmp_path / "other", tmp_path / "other.snapshot")


def test_a_restore_that_fails_changes_nothing(cluster: Settings, tmp_path: Path) -> None:
    """The keys that are there stay as long as the objects do."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    cluster.path("pki/ca.key").write_bytes(b"newer")
    lock = hold(cluster.path("state.db"))
    with pytest.raises(SnapshotError, match="in use by another process"):
        snapshots.restore(cluster, cluster.directory, made.path)
    os.close(lock)
    assert cluster.path("pki/ca.key").read_bytes() == b"newer"
    assert not cluster.path("pki.replaced").exists()


def test_what_is_replaced_is_kept(cluster: Settings, tmp_path: Path) -> None:
    """The keys and the configuration beside the objects that they belong to."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    for content in (b"newer", b"newest"):
        cluster.path("pki/ca.key").write_bytes(content)
        cluster.path("server.yaml").write_bytes(content)
        snapshots.restore(cluster, cluster.directory, made.path)
        assert cluster.path("pki/ca.key").read_bytes() == b"secret"
        assert cluster.path("pki.replaced/ca.key").read_bytes() == content
        assert cluster.path("server.yaml.replaced").read_bytes() == content


def test_another_clusters_objects_are_taken_only_when_that_is_meant(cluster: Settings, tmp_path: Path) -> None:
    """Name and addresses are often the same on two machines: the uid of a namespace tells clusters apart."""
    identify(cluster, b"1")
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    copying.save(cluster.path("state.db"), tmp_path / "x.db")
    snapshots.restore(cluster, cluster.directory, made.path)
    snapshots.restore_database(cluster, tmp_path / "x.db")
    identify(cluster, b"2")
    with pytest.raises(SnapshotError, match=r"is of another cluster than the one in .*--any-cluster"):
        snapshots.restore(cluster, cluster.directory, made.path)
    with pytest.raises(SnapshotError, match="is of another cluster"):
        snapshots.restore_database(cluster, tmp_path / "x.db")
    snapshots.restore(cluster, cluster.directory, made.path, any_cluster=True)
    identify(cluster, b"2")
    snapshots.restore_database(cluster, tmp_path / "x.db", any_cluster=True)


def identify(cluster: Settings, uid: bytes) -> None:
    async def put() -> None:
        store = SqliteStore.open(cluster.path("state.db"))
        await store.txn((), (Put("/registry/core/namespaces/kube-system", b'{"metadata":{"uid":"%b"}}' % uid),))
        await store.close()

    asyncio.run(put())


def test_two_at_once_wait_for_each_other(cluster: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second leaves the first one's parts alone, and is made when that is done."""
    asked, flock = threading.Event(), fcntl.flock

    def lock(file: int, how: int) -> None:
        asked.set()
        flock(file, how)

    second = threading.Thread(target=snapshots.save, args=(cluster, tmp_path / "x.snapshot", NOW))
    with snapshots._workshop(cluster.directory) as workshop:
        monkeypatch.setattr(fcntl, "flock", lock)
        second.start()
        assert asked.wait(10)
        assert workshop.exists()
        assert not (tmp_path / "x.snapshot").exists()
    second.join(10)
    assert snapshots.read(tmp_path / "x.snapshot").revision == 4


def test_what_is_pressed_hard_takes_no_memory(cluster: Settings, tmp_path: Path) -> None:
    """However much comes out of a small file, little of it is held at once."""
    pressed = zstandard.ZstdCompressor(level=1)
    with (tmp_path / "large.snapshot").open("wb") as file:
        pressed.copy_stream(io.BytesIO(bytes(160 << 20)), file)
    assert (tmp_path / "large.snapshot").stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError):
            snapshots.restore(cluster, cluster.directory, tmp_path / "large.snapshot")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_what_the_disk_has_no_room_for_is_not_begun(cluster: Settings, tmp_path: Path) -> None:
    """By the sizes that the snapshot names."""
    made = snapshots.save(cluster, tmp_path / "x.snapshot", NOW)
    head = replace(made, path=tmp_path / "huge.snapshot", files={"pki/huge": (1 << 60, "")})
    snapshots._write(head, {})
    with pytest.raises(SnapshotError, match=r"needs \d+ bytes on the disk"):
        snapshots.restore(cluster, cluster.directory, head.path)
