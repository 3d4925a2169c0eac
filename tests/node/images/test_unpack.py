"""A layer is unpacked as written, and nothing outside of its directory is touched, whatever it tries."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sampan.node.images import rooted, unpack
from sampan.node.images.model import ImageError

pytestmark = pytest.mark.root


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as out:
        for info, data in members:
            out.addfile(info, io.BytesIO(data))
    file.seek(0)
    return file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to unpack into, beside files that must stay as they are."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("untouched")
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def outside(place: Path) -> dict[str, tuple[str, int]]:
    beside = place.parent
    return {
        str(path.relative_to(beside)): (path.read_text(), path.stat().st_nlink)
        for path in sorted(beside.rglob("*"))
        if place not in path.parents and path.is_file() and not path.is_symlink()
    }


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.LNKTYPE, linkname=target)


ATTACKS = {
    "dot-dot": [member("../outside/secret", data=b"x")],
    "dot-dot inside": [member("a/../../outside/secret", data=b"x")],
    "dot-dot hard link": [hard("a", "../outside/secret")],
    "hard link to the host": [hard("a", "/OUT/secret")],
    "hard link through a link": [link("d", "/OUT"), hard("a", "d/secret")],
    "hard link through a relative link": [link("d", "../outside"), hard("a", "d/secret")],
    "unknown type": [member("a", b"Z")],
    "whiteout of dot-dot": [member(".wh...")],
    "whiteout of nothing": [member(".wh.")],
    "link loop": [link("a", "b"), link("b", "a"), member("a/c", data=b"x")],
    "dot-dot whiteout": [member("../outside/.wh.secret")],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(name: str, place: Path) -> None:
    """What asks for a path outside of the layer is refused, and the outside is as before."""
    before = outside(place)
    members = [(info, data) for info, data in ATTACKS[name]]
    for info, _ in members:
        info.linkname = info.linkname.replace("/OUT", str(place.parent / "outside"))
    with pytest.raises(ImageError):
        unpack.unpack(layer(*members), str(place))
    assert outside(place) == before


CONFINED = {
    "absolute": [member("/OUT/secret", data=b"x")],
    "file through an absolute link": [link("d", "/OUT"), member("d/secret", data=b"x")],
    "file through a relative link": [link("d", "../../outside"), member("d/secret", data=b"x")],
    "file over a link": [link("a", "/OUT/secret"), member("a", data=b"x")],
    "file over a hard link to a link": [link("a", "/OUT/secret"), hard("b", "a"), member("b", data=b"x")],
    "directory over a link": [link("d", "/OUT"), member("d", tarfile.DIRTYPE), member("d/secret", data=b"x")],
    "whiteout through a link": [link("d", "/OUT"), member("d/.wh.secret")],
    "opaque through a link": [link("d", "/OUT"), member("d/.wh..wh..opq")],
    "deep link": [link("a", "b/c"), link("b", "/OUT/.."), member("a/x/y", data=b"x")],
    "device": [member("sda", tarfile.BLKTYPE, devmajor=8), member("mem", tarfile.CHRTYPE, devmajor=1, devminor=1)],
}


@pytest.mark.parametrize("name", CONFINED)
def test_attack_stays_inside(name: str, place: Path) -> None:
    """What Docker would resolve inside of the image is resolved there, and the outside is as before."""
    before = outside(place)
    for info, _ in CONFINED[name]:
        info.linkname = info.linkname.replace("/OUT", str(place.parent / "outside"))
        info.name = info.name.replace("/OUT", str(place.parent / "outside"))
    unpack.unpack(layer(*CONFINED[name]), str(place))
    assert outside(place) == before
    assert not [path for path in place.rglob("*") if path.is_block_device()]
    assert all(path.lstat().st_rdev == 0 for path in place.rglob("*"))


def test_metadata_is_kept(place: Path) -> None:
    """Owner, set-user-id mode, times, links and content are as in the archive."""
    unpack.unpack(
        layer(
            member("bin", tarfile.DIRTYPE, mode=0o750, mtime=1000),
            member("bin/su", data=b"program", mode=0o4755, uid=12, gid=34, mtime=2000),
            hard("bin/again", "bin/su"),
            link("sh", "bin/su"),
        ),
        str(place),
    )
    found = (place / "bin/su").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), found.st_mtime, found.st_nlink) == (
        12,
        34,
        0o4755,
        2000,
        2,
    )
    assert stat.S_IMODE((place / "bin").stat().st_mode) == 0o750
    assert (place / "bin").stat().st_mtime == 1000
    assert os.readlink(place / "sh") == "bin/su"
    assert (place / "bin/again").read_bytes() == b"program"


def test_whiteouts(place: Path) -> None:
    """A whiteout hides the lower name, also where the same layer brings the name anew."""
    unpack.unpack(
        layer(
            member("gone/.wh.file"),
            member("opaque/.wh..wh..opq"),
            member(".wh.replaced"),
            member("replaced", tarfile.DIRTYPE),
            member("replaced/new", data=b"x"),
            member("later/new", data=b"x"),
            member(".wh.later"),
        ),
        str(place),
    )
    assert stat.S_ISCHR((place / "gone/file").stat().st_mode)
    for name in ("opaque", "replaced", "later"):
        assert os.getxattr(place / name, "trusted.overlay.opaque") == b"y"
    assert (place / "later/new").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (unpack.Limits(entries=2), "more than 2 entries"),
        (unpack.Limits(total_bytes=1000), "larger than 1000 bytes"),
    ],
)
def test_limits(limits: unpack.Limits, text: str, place: Path) -> None:
    """Too many entries or bytes end the unpacking."""
    members = [member(f"f{number}", data=b"x" * 600) for number in range(3)]
    with pytest.raises(ImageError, match=text):
        unpack.unpack(layer(*members), str(place), limits)


@pytest.mark.parametrize(
    ("at", "raw"),
    [
        (124, b"\xff" * 12),
        (124, b"-0000000012\0"),
        (108, b"\x80\0\0\xff\xff\xff\xff\xff"),
        (148, b"0000000\0"),
    ],
)
def test_bad_numbers(at: int, raw: bytes, place: Path) -> None:
    """Negative, huge or damaged numbers in a header are refused."""
    block = bytearray(layer(member("a", data=b"x")).getvalue())
    block[at : at + len(raw)] = raw
    if at != 148:
        total = sum(block[:148]) + 8 * 32 + sum(block[156:512])
        block[148:156] = b"%06o\0 " % total
    with pytest.raises(ImageError):
        unpack.unpack(io.BytesIO(bytes(block)), str(place))


def test_truncated(place: Path) -> None:
    """An archive that ends in the middle of a file is refused."""
    with pytest.raises(ImageError, match="unexpected end"):
        unpack.unpack(io.BytesIO(layer(member("a", data=b"x" * 2000)).getvalue()[:1024]), str(place))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(form: int, place: Path) -> None:
    """Names are read in each of the formats that tar programs write."""
    name = "/".join(["directory-of-a-long-name"] * 4 + ["f" * 60])
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as out:
        for info, data in (member(name, data=b"x"), link("l", "t" * 90), member("umlaut-\u00fc", data=b"y")):
            out.addfile(info, io.BytesIO(data))
    file.seek(0)
    unpack.unpack(file, str(place))
    assert (place / name).read_bytes() == b"x"
    assert os.readlink(place / "l") == "t" * 90
    assert (place / "umlaut-\u00fc").read_bytes() == b"y"


def test_deep_tree_is_replaced(place: Path) -> None:
    """A deep tree is unpacked and deleted again, one that is too deep refused."""
    too_deep = "/".join(["d"] * 1500)
    with pytest.raises(ImageError, match="too many"):
        unpack.unpack(layer(member(too_deep + "/f", data=b"x")), str(place))
    steps = [member("/".join(["e"] * depth), tarfile.DIRTYPE) for depth in range(1, 1200)]
    with pytest.raises(ImageError, match="too many"):
        unpack.unpack(layer(*steps, member("e", data=b"now a file")), str(place))
    rooted.remove_tree(str(place / "e"))
    deep = "/".join(["d"] * 250)
    unpack.unpack(layer(member(deep + "/f", data=b"x"), member("d", data=b"now a file")), str(place))
    assert (place / "d").read_bytes() == b"now a file"
