"""What `sampan doctor` prints and returns."""

import pytest

from sampan.cli import main
from sampan.cluster import doctor
from sampan.cluster.doctor import Facts

GOOD = Facts(
    kernel="6.1.0",
    programs={name: f"/usr/sbin/{name}" for name in ("runc", "conmon", "nft", "ip")},
    file_systems=frozenset({"overlay", "tmpfs"}),
    capabilities=(1 << 41) - 1,
    controllers=frozenset({"cpu", "memory", "pids"}),
)
LACKING = Facts(kernel="6.1.0", uid=1000, has_elevation=True, programs={}, disk_free=1, cgroups="hybrid")


@pytest.fixture(autouse=True)
def no_runc(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own runc does not matter."""
    monkeypatch.setattr("sampan.cluster.escapes._said", str)


def test_a_good_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line is ok, and nothing is to mend."""
    monkeypatch.setattr(doctor, "gather", lambda directory: GOOD)
    assert main.run(["doctor"]) == 0
    assert {line[:6] for line in capsys.readouterr().out.splitlines()} == {"[ok  ]"}


def test_a_machine_that_lacks_things(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its mend below it; notes and warnings alone would not fail."""
    monkeypatch.setattr(doctor, "gather", lambda directory: LACKING)
    assert main.run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "[FAIL] runc is not installed\n       sudo apt-get install -y runc\n" in out
    assert "[note] not root" in out
    assert "[warn] only 0.0 GiB of disk free" in out
    assert "sampan up --runtime simulated" in out.splitlines()[-1]
