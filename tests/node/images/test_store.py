"""Images come in from archives and root file systems, are found by every name, and go again."""

import fcntl
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sampan.node.images import content, holders, reference, rooted, users
from sampan.node.images.model import Image, ImageConfig, ImageError
from sampan.node.images.store import Fetched, ImageStore

root = pytest.mark.root


def tar_of(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return file.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


LAYERS = [tar_of({"etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "a": b"1"}), tar_of({"a": b"2", ".wh.b": b""})]
CONFIG = json.dumps(
    {
        "config": {"Cmd": ["serve"], "Entrypoint": None, "Env": ["A=b=c"], "User": "12", "WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in LAYERS]},
    }
).encode()


def docker_archive(**changes: Any) -> bytes:
    record = {"Config": "c.json", "RepoTags": ["web:v1", "example.com/a/b:2"], "Layers": ["0/l.tar", "1/l.tar"]}
    return tar_of(
        {
            "c.json": CONFIG,
            "0/l.tar": LAYERS[0],
            "1/l.tar": LAYERS[1],
            "manifest.json": json.dumps([record | changes]).encode(),
        }
    )


def oci_archive(pack: Any = gzip.compress, damage: str = "") -> bytes:
    packed = [pack(layer) for layer in LAYERS]
    manifest = json.dumps(
        {"config": {"digest": digest(CONFIG)}, "layers": [{"digest": digest(layer)} for layer in packed]}
    ).encode()
    nested = json.dumps(
        {
            "manifests": [
                {"digest": digest(b"none"), "platform": {"os": "linux", "architecture": "vax"}},
                {"digest": digest(manifest)},
            ]
        }
    ).encode()
    top = {"digest": digest(nested), "annotations": {"io.containerd.image.name": "docker.io/library/web:v2"}}
    blobs = {digest(blob): blob for blob in [*packed, manifest, nested, CONFIG]}
    if damage == "layer":
        blobs[digest(packed[1])] = packed[0]
    if damage == "config":
        blobs[digest(CONFIG)] = CONFIG + b" "
    files = {"blobs/" + name.replace(":", "/"): blob for name, blob in blobs.items()}
    return tar_of({"index.json": json.dumps({"manifests": [top]}).encode(), **files})


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def load(store: ImageStore, tmp_path: Path, data: bytes) -> Image:
    (tmp_path / "archive").write_bytes(data)
    (image,) = store.load_archive(tmp_path / "archive")
    return image


@root
@pytest.mark.parametrize("wrap", [bytes, gzip.compress, zstandard.compress])
def test_docker_archive(wrap: Any, store: ImageStore, tmp_path: Path) -> None:
    """A docker archive, compressed or not, gives an image with its names, configuration and layers."""
    image = load(store, tmp_path, wrap(docker_archive()))
    assert image.id == digest(CONFIG)
    assert image.repo_tags == ("docker.io/library/web:v1", "example.com/a/b:2")
    assert image.config == ImageConfig(cmd=("serve",), env=(("A", "b=c"),), user="12", working_dir="/srv")
    assert [Path(layer, "a").read_text() for layer in image.layer_dirs] == ["1", "2"]
    assert store.resolve("web:v1") == store.resolve(image.repo_digests[0]) == store.resolve(image.id) == image
    assert store.resolve("web") is None
    assert store.list() == [image]
    assert ImageStore(tmp_path / "images").list() == [image]


@root
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_oci_archive(pack: Any, store: ImageStore, tmp_path: Path) -> None:
    """An OCI archive with a nested index and compressed layers gives the same image."""
    image = load(store, tmp_path, oci_archive(pack))
    assert (image.id, image.repo_tags) == (digest(CONFIG), ("docker.io/library/web:v2",))
    assert [Path(layer, "a").read_text() for layer in image.layer_dirs] == ["1", "2"]


BAD = {
    "no archive": b"x" * 2000,
    "empty": b"",
    "no manifest": tar_of({"a": b""}),
    "missing layer": docker_archive(Layers=["0/l.tar", "2/l.tar"]),
    "swapped layers": docker_archive(Layers=["1/l.tar", "0/l.tar"]),
    "one layer too few": docker_archive(Layers=["0/l.tar"]),
    "bad name": docker_archive(RepoTags=["UPPER/../x"]),
    "damaged layer": oci_archive(damage="layer"),
    "damaged config": oci_archive(damage="config"),
    "damaged gzip": gzip.compress(docker_archive())[:300],
}


@root
@pytest.mark.parametrize("name", BAD)
def test_bad_archive(name: str, store: ImageStore, tmp_path: Path) -> None:
    """What is damaged, incomplete or not what its digest says is refused and leaves no image."""
    with pytest.raises(ImageError):
        load(store, tmp_path, BAD[name])
    assert store.list() == []


@root
def test_import_save_and_remove(store: ImageStore, tmp_path: Path) -> None:
    """A directory becomes an image, which can be saved, loaded elsewhere with the same id, and removed."""
    (tmp_path / "fs" / "etc").mkdir(parents=True)
    (tmp_path / "fs" / "etc" / "x").write_text("y")
    image = store.import_rootfs(tmp_path / "fs", "mine", ImageConfig(cmd=("/x",)))
    assert image.repo_tags == ("docker.io/library/mine:latest",)
    assert Path(image.layer_dirs[0], "etc/x").read_text() == "y"
    store.save("mine", tmp_path / "out.tar")
    other = ImageStore(tmp_path / "other")
    assert [found.id for found in other.load_archive(tmp_path / "out.tar")] == [image.id]
    assert store.remove("mine")
    assert not store.remove("mine")
    assert store.list() == []
    assert list((tmp_path / "images" / "l").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/it", "docker.io/me/it:latest"),
        ("localhost/it", "localhost/it:latest"),
        ("localhost:5000/it:a", "localhost:5000/it:a"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
        ("a:b@sha256:" + "0" * 64, "docker.io/library/a:b@sha256:" + "0" * 64),
    ],
)
def test_reference(text: str, full: str) -> None:
    """A reference is completed as Docker does."""
    assert str(reference.parse(text)) == full


@pytest.mark.parametrize("text", ["", "A", "a//b", "a:", "a:b c", "-a", "a@sha256:12", "f" * 64, "a/../b", "a" * 300])
def test_bad_reference(text: str) -> None:
    """What is no reference is refused."""
    with pytest.raises(ValueError, match=r"reference format|255"):
        reference.parse(text)


PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbad:x:4294967296:0::/:/x\n"
GROUP = b"root:x:0:\nweb:x:34:\nextra:x:50:web\nother:x:51:root,web\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", users.User(0, 0, (51,), "/root")),
        ("web", users.User(33, 34, (50, 51), "/srv")),
        ("33", users.User(33, 34, (50, 51), "/srv")),
        ("web:extra", users.User(33, 50, (), "/srv")),
        ("1000", users.User(1000, 0, (), "/")),
        ("1000:1001", users.User(1000, 1001, (), "/")),
        ("nobody", "unable to find user nobody"),
        ("web:nobody", "unable to find group nobody"),
        ("4294967296", "must be in range"),
        ("-1", "must be in range"),
        ("bad", "must be in range"),
        ("0x0", "unable to find user"),
    ],
)
def test_user(text: str, expected: users.User | str, tmp_path: Path) -> None:
    """Users and groups are found in the image; numbers that the kernel cannot hold are refused."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(PASSWD)
    (tmp_path / "etc/group").write_bytes(GROUP)
    with tmp_path.joinpath("etc/passwd").open():
        fd = rooted.open_directory(_fd(tmp_path), ".")
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            users.lookup(fd, text)
    else:
        assert users.lookup(fd, text) == expected


def test_passwd_that_is_a_link_to_the_host(tmp_path: Path) -> None:
    """The image's passwd is never the host's, and a huge one is refused."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/shadow")
    assert users.lookup(_fd(tmp_path), "5").uid == 5
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").write_bytes(b"x" * (users.MAX_FILE_BYTES + 1))
    with pytest.raises(ValueError, match="larger than"):
        users.lookup(_fd(tmp_path), "5")


def _fd(path: Path) -> int:
    import os

    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


@root
def test_names_go_one_by_one_and_prune_takes_what_nobody_uses(store: ImageStore, tmp_path: Path) -> None:
    """The last tag takes the image with it; what a container is made of stays, and half a pull goes."""
    image = load(store, tmp_path, docker_archive())
    assert store.resolve("example.com/a/b:2").reference == "example.com/a/b:2"
    assert store.remove("web:v1")
    assert store.resolve(image.id).repo_tags == ("example.com/a/b:2",)
    assert [name.partition("@")[0] for name in store.resolve(image.id).repo_digests] == ["example.com/a/b"]
    assert store.remove("example.com/a/b:2")
    assert store.list() == []
    kept = load(store, tmp_path, docker_archive())
    gone = store.import_rootfs(tmp_path, "gone:v1")
    store.downloads.mkdir()
    (store.downloads / ("0" * 64)).write_bytes(b"half")
    assert store.prune([kept.repo_digests[0]]) == ([gone], gone.size)
    assert (store.list(), list(store.downloads.glob("0*0"))) == ([kept], [])
    assert store.prune()[0] == [kept]


def test_no_mark_is_made_while_images_go(store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From asking who uses them until their layers are away; and of them nothing is left."""
    (tmp_path / "a.tar").write_bytes(docker_archive())
    [image] = store.load_archive(tmp_path / "a.tar")
    held, asked = holders.held, []

    def seen(root: Path) -> set[str]:
        descriptor = os.open(root / "used", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(descriptor)
        asked.append(root)
        return held(root)

    monkeypatch.setattr(holders, "held", seen)
    assert store.prune()[0] == [image]
    assert asked
    for folder in ("l", "tmp"):
        assert not list((asked[0] / folder).iterdir())


@root
def test_what_the_index_names_is_on_the_disk_before(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull's blobs are, each by itself; the whole file system waits for layers that are unpacked, and nothing else."""
    steps: list[str | int] = []
    fsync, write_index, sync = os.fsync, content.Content.write_index, content._sync_file_system

    def noted(descriptor: int) -> None:
        steps.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def indexed(self: content.Content, index: dict[str, Any]) -> None:
        steps.append("index")
        write_index(self, index)

    def synced(path: Path) -> None:
        steps.append("file system")
        sync(path)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(content.Content, "write_index", indexed)
    monkeypatch.setattr(content, "_sync_file_system", synced)
    blobs = {digest(blob): blob for blob in (*LAYERS, CONFIG)}
    layers = tuple(map(digest, LAYERS))
    for names in (("docker.io/library/a:1",), ("docker.io/library/a:2",)):
        files = {name: tmp_path / name for name in blobs}
        for name, blob in blobs.items():
            files[name].write_bytes(blob)
        inodes = {path.stat().st_ino for path in files.values()}
        steps.clear()
        store.add_fetched(Fetched(digest(CONFIG), layers, b"{}", names, (), files))
        assert inodes <= set(steps[: steps.index("index")])
    assert "file system" not in steps
    store.remove("a:1")
    store.prune()
    assert steps.count("index") == 3
    assert "file system" not in steps
