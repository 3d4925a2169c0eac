"""What the guides of protection and elasticity show works as they say."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from sampan.platform.elastic import metrics_api
from sampan.platform.elastic.cron_merge import Bounds, merged
from sampan.platform.protection import fuse
from sampan.testing.cluster import Cluster

GUIDES = Path(__file__).parents[2] / "docs" / "guide"


def _manifests(name: str) -> list[Any]:
    blocks = re.findall(r"(?m)^    apiVersion: .*\n(?:    .*\n)+", (GUIDES / name).read_text())
    return [yaml.safe_load(dedent(block)) for block in blocks]


def test_the_manifests_are_accepted() -> None:
    """Each manifest of both guides, and its jobs are submitted."""
    with Cluster(layers=["protection", "elastic"]) as cluster:
        cluster.apply(*_manifests("protection.md"), *_manifests("elastic.md"))
        cluster.advance(1)
        assert cluster.get("podunavailablebudget/web") is not None
        found = cluster.get("cronhorizontalpodautoscaler/market") or {}
        assert {each["state"] for each in found["status"]["conditions"]} == {"Submitted"}


def test_the_table_is_true() -> None:
    """What becomes of an autoscaler."""
    text = (GUIDES / "elastic.md").read_text()
    rows = re.findall(r"\| (\d+)/(\d+) \| (\d+) \| (\d+) \| (\d+)/(\d+) \| (\d+) \|", text)
    assert len(rows) == 5
    for row in rows:
        least, most, current, target, *then, replicas = map(int, row)
        made = merged(Bounds(least, most), current, target)
        assert [made.bounds.least, made.bounds.most, current if made.replicas is None else made.replicas] == [
            *then,
            replicas,
        ]


def test_the_names_are_true() -> None:
    """Metrics, and what the fuse is set to."""
    text = (GUIDES / "elastic.md").read_text()
    for name in ("gateway_requests_per_second", "gateway_request_duration_p99"):
        assert name in metrics_api.GATEWAY_METRICS
        assert name in text
    usual = fuse.Terms()
    said = (GUIDES / "protection.md").read_text()
    assert f"more than {usual.limit} different objects within {usual.window_seconds} seconds" in said
    assert f"for {usual.pause_seconds // 60} minutes" in said
