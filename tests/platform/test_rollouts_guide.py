"""What docs/guide/rollouts.md shows, works."""

import re
from pathlib import Path

import pytest

from sampan.testing.cluster import Cluster
from tests.platform.test_rollout_traffic import ROUTE_DEFINITION
from tests.platform.test_rollouts import base, cluster, measured, patch_status, phase, service

pytestmark = pytest.mark.slow

__all__ = ["base", "cluster"]

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "rollouts.md").read_text()
CANARY, TEMPLATE, ROUTED = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {rules: [{backendRefs: [{name: shop, port: 80}, {name: shop-canary, port: 80}]}]}
"""


def test_the_canary(cluster: Cluster) -> None:
    """It waits where the guide says."""
    cluster.apply(CANARY)
    cluster.wait_for("rollout/web", phase("Healthy"))
    cluster.apply(CANARY.replace("web:1", "web:2"))
    cluster.wait_for("rollout/web", phase("Paused", "CanaryPauseStep"))
    patch_status(cluster, pauseConditions=None)
    cluster.wait_for("rollout/web", phase("Healthy"), within=700)


def test_the_analysis_and_the_route(cluster: Cluster) -> None:
    """A bad version is aborted by its Service's figures."""
    cluster.apply(ROUTE_DEFINITION)
    cluster.wait_for("customresourcedefinition/httproutes.gateway.networking.k8s.io", "Established")
    measured(cluster, lambda: [0.5])
    cluster.apply(TEMPLATE, ROUTE, service("shop"), service("shop-canary"), ROUTED)
    cluster.wait_for("rollout/shop", phase("Healthy"))
    cluster.apply(ROUTED.replace("shop:1", "shop:2"))
    cluster.wait_for("rollout/shop", lambda found: found["status"]["phase"] == "Degraded", within=200)
