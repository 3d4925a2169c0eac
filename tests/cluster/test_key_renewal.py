"""The control plane's certificates are renewed in use, also after a disk was full."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sampan.cluster import key_files, key_renewal, pki
from sampan.cluster.settings import Settings

NOW = 1_800_000_000.0
DAY = 24 * 3600


class Clock:
    """The last look is the end."""

    def __init__(self) -> None:
        self.time = NOW + 339.9 * DAY
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == 4:
            raise asyncio.CancelledError
        self.slept.append(seconds)
        self.time += seconds


class Tls:
    """Notes what it is told to use; refuses at first."""

    def __init__(self) -> None:
        self.used: list[bytes] = []

    def load_cert_chain(self, certificate: str, key: str) -> None:
        assert key.removesuffix("key") == certificate.removesuffix("crt")
        self.used.append(Path(certificate).read_bytes())


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again soon; what was made before it was full is in use then too, and nothing is made twice."""
    cluster, clock, tls = Settings("tide", tmp_path), Clock(), Tls()
    keys = pki.ensure(cluster, NOW)
    renew = pki.renew

    def failing(settings: Settings, now: float) -> list[str]:
        done = renew(settings, now)
        if len(clock.slept) == 1:
            raise OSError(28, "No space left on device")
        return done

    monkeypatch.setattr(pki, "renew", failing)
    contexts: Any = {key_files.SERVER: tls}
    with pytest.raises(asyncio.CancelledError):
        await key_renewal.run(cluster, clock, contexts)  # type: ignore[arg-type]
    look, again = key_renewal.LOOK_SECONDS, key_renewal.AGAIN_SECONDS
    assert clock.slept == [look, again, look, look]
    assert tls.used == [(keys / "apiserver.crt").read_bytes()]
