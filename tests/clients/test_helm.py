"""helm, unmodified: a chart with hooks, a definition of its own kind, a look-up and a test goes all its ways."""

import json
from pathlib import Path

import pytest

from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

CHART = str(Path(__file__).parent / "charts/shop")


def page(cluster: Cluster) -> dict[str, str]:
    """What the chart's templates saw."""
    data: dict[str, str] = cluster.get("configmap", "stand-page")["data"]
    return data


def test_a_release_from_install_to_uninstall(cluster: Cluster, ns: str) -> None:
    """Install, test, upgrade, rollback, history and uninstall, each waiting for real pods."""
    made = cluster.helm("install", "stand", CHART, "--wait", "--timeout", "60s", "-o", "json")
    assert json.loads(made)["info"]["status"] == "deployed"
    assert page(cluster)["index.html"] == "hello"
    assert page(cluster)["before"] == "nothing"
    assert page(cluster)["version"].startswith("v1.36.")
    assert cluster.get("stall", "stand")["spec"] == {"goods": ["apples", "pears"], "size": 3}
    assert cluster.get("job", "stand-before")["status"]["succeeded"] == 1
    assert "Phase:          Succeeded" in cluster.helm("test", "stand", "--timeout", "60s")
    cluster.helm("upgrade", "stand", CHART, "--set", "greeting=bye,replicas=2", "--wait", "--timeout", "60s")
    assert page(cluster)["before"] == "hello"
    assert page(cluster)["hasStalls"] == "true"
    assert cluster.get("deployment", "stand")["status"]["readyReplicas"] == 2
    assert "Phase:          Succeeded" in cluster.helm("test", "stand", "--timeout", "60s")
    cluster.helm("rollback", "stand", "1", "--wait", "--timeout", "60s")
    assert page(cluster)["index.html"] == "hello"
    history = json.loads(cluster.helm("history", "stand", "-o", "json"))
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "deployed"]
    assert json.loads(cluster.helm("list", "-o", "json"))[0]["revision"] == "3"
    cluster.helm("uninstall", "stand", "--wait", "--timeout", "60s")
    assert cluster.kubectl("get", "deploy,service,configmap,stall", "-l", "release=stand", "-o", "name") == ""
    assert cluster.kubectl("get", "stalls", "-o", "name") == ""
    cluster.kubectl("delete", "crd", "stalls.shop.example.com", "--timeout=60s")


def test_a_dry_run_on_the_server_stores_nothing(cluster: Cluster, ns: str) -> None:
    """Rendering with the server's answers leaves no object behind."""
    shown = cluster.helm("install", "dry", CHART, "--dry-run=server", "--skip-crds", "--set", "stall=false")
    assert "name: dry-page" in shown
    assert cluster.kubectl("get", "secrets,deployments", "-o", "name") == ""
