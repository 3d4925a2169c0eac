"""Snapshots: a cluster in one file: its objects at one moment, its keys and its settings.

With the keys, since objects mean little without them: tokens and certificates that were given out are to go on
holding, encrypted Secrets to be readable. So whoever can read the file is the cluster's administrator; it is
readable by its owner only. What pods keep in volumes on a node is not in it.

The file is a tar archive under zstandard: `manifest.json` (times, revision, versions, and a checksum of each
other member), then the members. https://facebook.github.io/zstd/ has the outer form.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import orjson
import zstandard

from sampan.cluster import host, settings
from sampan.cluster.settings import CLUSTER_FILE, Settings, SettingsError
from sampan.kit import files
from sampan.kit.version import VERSION
from sampan.meta import timestamps
from sampan.store import copying, etcd_address
from sampan.store.protocol import StoreError

FORMAT = 1
SUFFIX = ".snapshot"
FOLDER = "snapshots"
STATE = "state.db"
_MANIFEST = "manifest.json"
_MEMBER = re.compile(
    r"state\.db|cluster\.json|[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.yaml|pki/[A-Za-z0-9][A-Za-z0-9._-]{0,200}"
)
_PKI = "pki"
_REPLACED = ".replaced"
_IDENTITY = "/registry/core/namespaces/kube-system"
"""The key of an object whose uid no two clusters share, and that stays as long as its cluster."""
_MAGIC = b"\x28\xb5\x2f\xfd"
_DATABASE = b"SQLite format 3\0"
_MANIFEST_BYTES = 1 << 20
_PRESSED_BYTES = 1 << 10
"""Taken in at once: what comes out of so few has a bound, whoever made them."""


class SnapshotError(Exception):
    """It could not be done: one line that says what, why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`time` is when it was made (RFC 3339), `version` by which Sampan; `files` are its members' sizes and SHA-256."""

    path: Path
    name: str
    time: str
    revision: int
    version: str
    files: dict[str, tuple[int, str]]

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size


def save(cluster: Settings, target: Path | None, now: float) -> Snapshot:
    """Makes one, whether the cluster runs or not; without a target in DIR/snapshots. SnapshotError, OSError."""
    _check_kind(cluster, "saved")
    if not cluster.path(STATE).exists():
        raise SnapshotError(f"cluster {cluster.name} has no objects yet; start it with: sampan up{_named(cluster)}")
    folder = cluster.path(FOLDER)
    if target is None:
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / f"{cluster.name}-{timestamps.format(now).replace(':', '-')}{SUFFIX}"
    with _workshop(cluster.directory) as workshop:
        if target.exists():
            raise SnapshotError(f"{target} exists already; choose another name, or remove it")
        try:
            revision = copying.save(cluster.path(STATE), workshop / STATE)
        except StoreError as error:
            raise SnapshotError(str(error)) from error
        members = {STATE: workshop / STATE} | _kept_files(cluster)
        files = {name: (path.stat().st_size, _checksum(path)) for name, path in members.items()}
        manifest = Snapshot(target, cluster.name, timestamps.format(now), revision, VERSION, files)
        _write(manifest, members)
    return read(target)


def read(path: Path) -> Snapshot:
    """What a file says of itself; its members are not looked at. SnapshotError, OSError."""
    with _opened(path) as archive:
        return _manifest(path, archive)


def kept(cluster: Settings) -> tuple[list[Snapshot], list[str]]:
    """Those in DIR/snapshots, the oldest first; and what is wrong with those that can't be read."""
    found, broken = [], []
    for path in sorted(cluster.path(FOLDER).glob(f"*{SUFFIX}")):
        try:
            found.append(read(path))
        except SnapshotError as error:
            broken.append(str(error))
    return sorted(found, key=lambda each: (each.time, each.path)), broken


def find(name: str, cluster: Settings | None) -> Path:
    """The file that is meant: a path, or the name of one in DIR/snapshots. SnapshotError."""
    path = Path(name).expanduser()
    folder = None if cluster is None else cluster.path(FOLDER)
    candidates: list[Path] = [path, *((folder / name, folder / f"{name}{SUFFIX}") if folder is not None else ())]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.absolute()
    raise SnapshotError(f"there is no snapshot {name}; those that are kept: sampan snapshot list")


def is_database(path: Path) -> bool:
    """Whether the file is no snapshot, but a store's own file."""
    with path.open("rb") as file:
        return file.read(len(_DATABASE)) == _DATABASE


def restore_database(cluster: Settings, path: Path, *, any_cluster: bool = False) -> int:
    """Has the cluster go on with a store's own file; returns the revision. See `restore`. SnapshotError."""
    _check_stopped(cluster)
    _check_kind(cluster, "restored")
    if not any_cluster:
        _check_same(path, path, cluster)
    try:
        return copying.put_in_place(path, cluster.path(STATE))
    except StoreError as error:
        raise SnapshotError(str(error)) from error


def restore(
    cluster: Settings | None, directory: Path, path: Path, *, any_cluster: bool = False
) -> tuple[Settings, int]:
    """Makes the cluster in the directory, which may be new, what it was; returns it and its revision. SnapshotError.

    A cluster that is there is overwritten by a snapshot of itself only, unless `any_cluster` will do.
    """
    if cluster is not None:
        _check_stopped(cluster)
        _check_kind(cluster, "restored")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _workshop(directory) as workshop:
        snapshot = _unpack(path, workshop)
        restored = _settings(cluster, directory, snapshot, workshop)
        _check_kind(restored, "restored")
        if not any_cluster:
            _check_same(path, workshop / STATE, restored)
        revision = _put_in_place(snapshot, workshop, restored)
    return restored, revision


def _put_in_place(snapshot: Snapshot, workshop: Path, cluster: Settings) -> int:
    """The objects last: whoever finds them finds the keys that they were made with. What can fail is done before all."""
    try:
        with copying.prepared(workshop / STATE, cluster.path(STATE)) as ready:
            _keep_old(cluster)
            _take_keys(snapshot, workshop, cluster)
            ready.swap()
    except StoreError as error:
        raise SnapshotError(str(error)) from error
    cluster.save()
    settings.note(cluster.directory)
    return ready.revision


def _keep_old(cluster: Settings) -> None:
    """Keys and configuration that are replaced, beside them, as the objects are; the last such only."""
    kept = cluster.path(f"{_PKI}{_REPLACED}")
    shutil.rmtree(kept, ignore_errors=True)
    if cluster.path(_PKI).exists():
        shutil.copytree(cluster.path(_PKI), kept)
    for path in cluster.directory.glob("*.yaml"):
        shutil.copy2(path, path.with_name(f"{path.name}{_REPLACED}"))


def _take_keys(snapshot: Snapshot, workshop: Path, cluster: Settings) -> None:
    cluster.path(_PKI).mkdir(exist_ok=True, mode=0o700)
    for name in snapshot.files:
        if name not in (STATE, CLUSTER_FILE):
            is_public = name.endswith((".crt", ".pub"))
            files.write_whole(cluster.path(name), (workshop / name).read_bytes(), 0o644 if is_public else 0o600)


def _check_same(path: Path, database: Path, cluster: Settings) -> None:
    """Raises SnapshotError for another cluster's objects, as far as there are any here to compare them with."""
    theirs, ours = _uid(database), _uid(cluster.path(STATE))
    if theirs and ours and theirs != ours:
        raise SnapshotError(
            f"{path} is of another cluster than the one in {cluster.directory}, though it may have the same name; "
            "choose another directory with --data-dir, or replace that one's objects and keys with --any-cluster"
        )


def _uid(database: Path) -> str:
    """What a cluster is known by; "" when that can't be found out."""
    try:
        return str(orjson.loads(copying.value(database, _IDENTITY) or b"")["metadata"]["uid"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _settings(cluster: Settings | None, directory: Path, snapshot: Snapshot, workshop: Path) -> Settings:
    """The cluster's own, where there is one; else those of the snapshot, in this place."""
    try:
        saved = settings.load(workshop)
    except SettingsError as error:
        raise SnapshotError(f"{snapshot.path} is damaged: its {CLUSTER_FILE} cannot be read") from error
    if saved is None:
        raise SnapshotError(f"{snapshot.path} lacks {CLUSTER_FILE}")
    if (
        saved.name != snapshot.name
        or not isinstance(saved.index, int)
        or saved.index not in range(settings.MAX_CLUSTERS)
    ):
        raise SnapshotError(f"{snapshot.path} is damaged: its {CLUSTER_FILE} is not that of cluster {snapshot.name}")
    if cluster is None:
        taken = [c.name for c in settings.known_clusters() if c.index == saved.index and c.directory != directory]
        if taken:
            raise SnapshotError(
                f"the addresses of the snapshot's cluster ({saved.pod_cidr}) are those of cluster {taken[0]} here; "
                f"remove that one (sampan down --name {taken[0]} --purge), or restore on another machine"
            )
        return replace(saved, directory=directory, kubeconfig="", previous_context="")
    if (saved.name, saved.index) != (cluster.name, cluster.index):
        raise SnapshotError(
            f"{snapshot.path} is of cluster {saved.name} with addresses {saved.pod_cidr}, and {directory} holds cluster "
            f"{cluster.name} with {cluster.pod_cidr}; choose another directory with --data-dir"
        )
    return cluster


def _check_kind(cluster: Settings, verb: str) -> None:
    if cluster.joined_to:
        raise SnapshotError(
            f"{cluster.directory} is a node of {cluster.joined_to}; its cluster is {verb} on that machine"
        )
    if cluster.store == "memory":
        raise SnapshotError(f"cluster {cluster.name} keeps its objects in memory: there is nothing to be {verb}")
    if etcd_address.is_etcd(cluster.store):
        address = etcd_address.Address.parse(cluster.store)
        endpoints = ",".join(f"https://{target}" if address.is_secure else target for target in address.targets)
        ending = "snapshot save FILE"
        if verb == "restored":
            ending = "member list, and etcdutl snapshot restore FILE --bump-revision 1000000000 --mark-compacted"
        raise SnapshotError(
            f"cluster {cluster.name} keeps its objects in etcd, which is {verb} with etcd's own tools: "
            f"etcdctl --endpoints={endpoints} {ending}; its keys are in {cluster.path('pki')}"
        )
    if cluster.store != "sqlite":
        raise SnapshotError(f"cluster {cluster.name} has an unknown store: it cannot be {verb}")


def _check_stopped(cluster: Settings) -> None:
    if any(process.pid for process in host.all_processes(cluster)):
        raise SnapshotError(f"cluster {cluster.name} runs; stop it first: sampan down{_named(cluster)}")


def _named(cluster: Settings) -> str:
    return "" if cluster.name == settings.DEFAULT_NAME else f" --name {cluster.name}"


def _kept_files(cluster: Settings) -> dict[str, Path]:
    """What belongs to the objects: settings, keys, and the configuration of server, scheduler and nodes."""
    names = [CLUSTER_FILE, *(path.name for path in sorted(cluster.directory.glob("*.yaml")))]
    names += [f"pki/{path.name}" for path in sorted(cluster.path("pki").glob("*")) if path.is_file()]
    return {name: cluster.path(name) for name in names if _MEMBER.fullmatch(name) and cluster.path(name).is_file()}


@contextlib.contextmanager
def _workshop(directory: Path) -> Iterator[Path]:
    """A folder for parts, on the same file system, one at a time; those that a kill left behind go."""
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in directory.glob(".snapshot-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".snapshot-", dir=directory) as made:
            yield Path(made)
    finally:
        os.close(lock)


def _write(manifest: Snapshot, members: dict[str, Path]) -> None:
    """The file appears whole or not at all."""
    head = orjson.dumps(
        {
            "format": FORMAT,
            "name": manifest.name,
            "time": manifest.time,
            "revision": manifest.revision,
            "version": manifest.version,
            "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in manifest.files.items()},
        },
        option=orjson.OPT_INDENT_2,
    )
    made = manifest.path.with_name(f"{manifest.path.name}.part")
    made.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            pressed = zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
            with pressed, tarfile.open(fileobj=pressed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, _MANIFEST, len(head), io.BytesIO(head))
                for name, path in members.items():
                    with path.open("rb") as member:
                        _add(archive, name, manifest.files[name][0], member)
            os.fsync(file.fileno())
        files.put_in_place(made, manifest.path)
    finally:
        made.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    archive.addfile(member, content)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SnapshotError(f"{path} is no snapshot")
        file.seek(0)
        try:
            plain = zstandard.ZstdDecompressor().stream_reader(file)
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                yield archive
        except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
            raise SnapshotError(f"{path} is damaged: {error}") from error


def _manifest(path: Path, archive: tarfile.TarFile) -> Snapshot:
    first = archive.next()
    content = archive.extractfile(first) if first is not None and first.isfile() else None
    if first is None or content is None or first.name != _MANIFEST or first.size > _MANIFEST_BYTES:
        raise SnapshotError(f"{path} is no snapshot")
    try:
        told: dict[str, Any] = orjson.loads(content.read())
        if told["format"] > FORMAT:
            raise SnapshotError(
                f"{path} has format {told['format']}, made by Sampan {told['version']}; this version knows {FORMAT}"
            )
        files = {str(name): (int(each["bytes"]), str(each["sha256"])) for name, each in told["files"].items()}
        texts = [told[each] for each in ("name", "time", "version")]
        if not all(isinstance(text, str) for text in texts) or not settings.NAME.fullmatch(told["name"]):
            raise SnapshotError(f"{path} is damaged: its manifest does not name a cluster")
        return Snapshot(path, told["name"], told["time"], int(told["revision"]), told["version"], files)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"{path} is damaged: its manifest cannot be read") from error


def _unpack(path: Path, into: Path) -> Snapshot:
    """Every member, once it is what the manifest says. SnapshotError."""
    _check_whole(path)
    with _opened(path) as archive:
        snapshot = _manifest(path, archive)
        missing = dict(snapshot.files)
        _check_room(snapshot, into)
        (into / "pki").mkdir(mode=0o700)
        while (member := archive.next()) is not None:
            content = archive.extractfile(member) if member.isfile() else None
            size, digest = missing.pop(member.name, (-1, ""))
            if content is None or size != member.size or not _MEMBER.fullmatch(member.name):
                raise SnapshotError(f"{path} is damaged: {member.name!r} is not what its manifest says")
            with os.fdopen(os.open(into / member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if _checksum(into / member.name) != digest:
                raise SnapshotError(f"{path} is damaged: the checksum of {member.name} is wrong")
    if missing or STATE not in snapshot.files:
        raise SnapshotError(f"{path} is damaged: it lacks {', '.join(sorted(missing) or [STATE])}")
    return snapshot


def _check_room(snapshot: Snapshot, into: Path) -> None:
    needed, free = sum(size for size, _ in snapshot.files.values()), shutil.disk_usage(into).free
    if needed > free:
        raise SnapshotError(f"{snapshot.path} needs {needed} bytes on the disk of {into.parent}, and {free} are free")


def _check_whole(path: Path) -> None:
    """The outer form's own checksum, which is at the very end."""
    form = zstandard.ZstdDecompressor().decompressobj()
    try:
        with path.open("rb") as file:
            while (data := file.read(_PRESSED_BYTES)) and not form.eof:
                form.decompress(data)
    except zstandard.ZstdError as error:
        raise SnapshotError(f"{path} is no snapshot, or is damaged: {error}") from error
    if not form.eof:
        raise SnapshotError(f"{path} is damaged: its end is missing")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
