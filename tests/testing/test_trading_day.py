"""The trading day in virtual time keeps what was promised, whatever the seed; and each part of it is needed for that."""

from pathlib import Path

import pytest

from sampan.cluster.trading_day import figures, report
from sampan.cluster.trading_day.figures import Record
from sampan.testing.trading_day import virtual_day

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "trading-day"
SQUEEZED = 480.0


def unmet(record: Record) -> list[str]:
    return [check.title for check in figures.checks(record) if not check.is_met]


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The example with some words of its manifests in the place of others."""
    files = sorted(EXAMPLE.glob("*.yaml"))
    assert any(old in file.read_text() for file in files)
    for file in files:
        (tmp_path / file.name).write_text(file.read_text().replace(old, new))
    return tmp_path


def test_a_whole_day() -> None:
    """Six and a half hours by the manifests as they are: no failed order, and well under half of the fixed pod-hours."""
    record = virtual_day(EXAMPLE)
    assert unmet(record) == [], report.text(record)
    assert record.day.is_genuine
    assert figures.pod_seconds(record) < 0.4 * figures.fixed_pod_seconds(record)
    found = figures.orders(record.samples)
    assert found.answered > 700_000
    assert (found.failed, found.late) == (0, 0)
    assert 0 < found.bad < 60
    assert found.answered + found.bad == pytest.approx(found.offered, rel=0.01)
    assert max(sample.weight for sample in record.samples) == 50


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_squeezed_day(seed: int) -> None:
    """The same in eight minutes, as with real containers."""
    record = virtual_day(EXAMPLE, seconds=SQUEEZED, seed=seed)
    assert unmet(record) == [], report.text(record)
    assert figures.orders(figures.at_peak(record)).late == 0


def test_the_same_seed_is_the_same_day() -> None:
    """To the last figure."""
    one, other = (virtual_day(EXAMPLE, seconds=180.0, seed=7) for _ in range(2))
    assert report.tree(one) == report.tree(other)


def test_the_autoscaler_alone_is_late() -> None:
    """Without the schedule the rush is there before the pods: orders wait for seconds."""
    record = virtual_day(EXAMPLE, seconds=SQUEEZED, is_scheduled=False)
    assert figures.orders(record.samples).late > 500
    assert figures.orders(figures.at_peak(record)).worst > 1.0


def test_a_namespace_without_the_label_is_lost(tmp_path: Path) -> None:
    """And the day says so: orders fail, and the promises are not kept."""
    record = virtual_day(changed(tmp_path, "policy.kruise.io/delete-protection", "protected"), seconds=180.0)
    broken = unmet(record)
    assert "the namespace can't be deleted" in broken
    assert "no order fails all day" in broken
    assert {outcome.came for outcome in record.outcomes} == {"deleted"}


def test_a_bad_release_with_a_blind_analysis_goes_through(tmp_path: Path) -> None:
    """Nobody stops it, its share of orders is answered badly by half, and the day says so."""
    record = virtual_day(changed(tmp_path, "result[0] >= 0.95", "result[0] >= 0.05"), seconds=SQUEEZED)
    assert "v2, which is bad, goes back by itself" in unmet(record)
    assert figures.orders(record.samples).bad > 300
