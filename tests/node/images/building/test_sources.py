"""What COPY takes and what it is known by, without anything being built."""

from pathlib import Path

import pytest

from sampan.node.images.building import ignore
from sampan.node.images.building.copying import Copying
from sampan.node.images.building.orders import Copy
from sampan.node.images.building.sources import Item, Tree
from sampan.node.images.model import ImageError


def digest(folder: Path, order: Copy) -> str:
    with Tree(folder) as tree, Copying(order, tree, "") as copying:
        return copying.digest


def test_parents_count(tmp_path: Path) -> None:
    """With --parents the folders above a file are part of what is copied, without them they are not."""
    kept, flat = (Copy(("*/a",), "/d/", keeps_parents=keeps) for keeps in (True, False))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a").write_text("1")
    before = digest(tmp_path, kept), digest(tmp_path, flat)
    (tmp_path / "x").rename(tmp_path / "y")
    after = digest(tmp_path, kept), digest(tmp_path, flat)
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("rules", "source", "taken"),
    [
        ("secret\nprivate", "link", None),
        ("secret\nprivate", "li*", None),
        ("secret\nprivate", "way", None),
        ("secret\nprivate", "way/key", None),
        ("private/key", "way", ["", "cert"]),
        ("private/key", "way/key", None),
        ("private\n!private/cert", "way", ["", "cert"]),
        ("private\n!private/cert", "way/cert", [""]),
        ("private\n!private/cert", "private", ["", "cert"]),
        ("private\n!private/cert", "way/key", None),
        ("link", "link", None),
        ("link", "secret", [""]),
        ("*\n!way", "way", [""]),
        ("**", ".", [""]),
        ("", "way", ["", "cert", "key"]),
        ("", "link", [""]),
    ],
)
def test_links_to_what_is_left_out(tmp_path: Path, rules: str, source: str, taken: list[str] | None) -> None:
    """The ignore file counts for what a link in the context leads to, also below it."""
    (tmp_path / "private").mkdir()
    for name in ("secret", "private/key", "private/cert"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "way").symlink_to("private")
    seen: list[Item] = []
    with Tree(tmp_path, ignore.parse(rules)) as tree:
        found = tree.find(source)
        assert bool(found) is (taken is not None)
        for path in found:
            tree.visit(path, lambda item, _: seen.append(item))
        if taken is None and source not in ("li*", "link"):
            with pytest.raises(ImageError, match="left out"):
                tree.visit(source, lambda *_: None)
    assert [item.path for item in seen] == (taken or [])
