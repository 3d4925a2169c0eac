"""Room for another machine's node: the addresses of its cluster must be nobody else's here."""

import socket
from pathlib import Path

import pytest

from sampan.cluster import joining
from sampan.cluster.discovery import JoinError
from sampan.cluster.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the test's own, on a machine without clusters of others."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "sampan10n0"), (3, "sampan2")])
    return tmp_path / "sampan"


def test_a_cluster_of_this_user(home: Path) -> None:
    """Also one that is down: its addresses stay its own, until its data are deleted, which is said."""
    joining.check_room(home / "node-worker", {"index": "1"})
    (home / "tide").mkdir(parents=True)
    Settings("tide", home / "tide", index=1).save()
    with pytest.raises(JoinError, match="also while it is down; to free them, delete it with all its data: .*--purge"):
        joining.check_room(home / "node-worker", {"index": "1"})
    joining.check_room(home / "node-worker", {"index": "2"})
    joining.check_room(home / "tide", {"index": "1"})


@pytest.mark.parametrize("link", ["sampan2n0", "sampan2n3", "sampan2lan", "sampan2vx"])
def test_a_cluster_of_another_user(home: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """Of which no more can be seen than its links."""
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, link)])
    with pytest.raises(JoinError, match=rf"the same addresses \(number 2, its link is {link}\); whoever runs it"):
        joining.check_room(home / "node-worker", {"index": "2"})
    joining.check_room(home / "node-worker", {"index": "1"})
