"""Leases on a full disk: nobody holds an address that the record doesn't know of, nor the other way round."""

import errno
import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Self

import pytest

from sampan.node.network.leases import Leases

NETWORK = IPv4Network("10.1.0.0/29")


class _Full:
    """A file on a disk that has room for some bytes only."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self._room = open(path, "ab", buffering=0), room  # noqa: SIM115 - as any file it is closed on leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data[: self._room])


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """An address is neither leased nor freed then; afterwards all goes on."""
    path = tmp_path / "leases"
    leases = Leases(path, NETWORK)
    kept = leases.take("kept")

    def on_full_disk(self: Path, *_: Any, **__: Any) -> _Full:
        return _Full(self, room)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_full_disk)
        with pytest.raises(OSError, match="No space left"):
            leases.take("new")
        with pytest.raises(OSError, match="No space left"):
            leases.give_back("kept")
        assert leases.items() == {"kept": kept}
    new = leases.take("new")
    leases.give_back("kept")
    assert Leases(path, NETWORK).items() == leases.items() == {"new": new}
