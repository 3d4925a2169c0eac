"""kopf, unmodified, through KopfRunner: its retries, timers, daemons and finalizers in virtual time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from kopf.testing import KopfRunner

from sampan.testing.virtual_time import VirtualTime
from tests.testing.bridged import Bridged, bridged

pytestmark = pytest.mark.slow

OPERATOR = Path(__file__).parent / "kopf_operator.py"
DEFINITION = yaml.safe_load("""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: booths.kopf.example.com}
spec:
  group: kopf.example.com
  scope: Namespaced
  names: {plural: booths, singular: booth, kind: Booth}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
""")
BOOTH = {
    "apiVersion": "kopf.example.com/v1",
    "kind": "Booth",
    "metadata": {"name": "one", "namespace": "default"},
    "spec": {"size": 1},
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridged]:
    with bridged(tmp_path) as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
        made.sim.create(DEFINITION)
        made.sim.run_until(lambda: made.kind("kopf.example.com/v1", "Booth") is not None, within=10)
        yield made


@pytest.fixture
def virtual(cluster: Bridged) -> Iterator[VirtualTime]:
    with cluster.virtual_time() as virtual, runner():
        yield virtual


def runner() -> KopfRunner:
    """The operator, as its users test it."""
    return KopfRunner(["run", "-A", "--standalone", str(OPERATOR)], registry=kopf.OperatorRegistry())


def booth(cluster: Bridged) -> Any:
    return cluster.get("kopf.example.com/v1", "Booth", "one")


def test_a_day_passes(cluster: Bridged, virtual: VirtualTime) -> None:
    """Retries after minutes, daemons by the hour, a timer by the day: each at its virtual time."""
    cluster.sim.create(BOOTH)
    virtual.advance(1790)
    assert "made" not in booth(cluster).get("status", {})
    virtual.advance(20)
    assert booth(cluster)["status"]["made"] == {"retries": 3}
    virtual.advance(6 * 3600 - 1500)
    assert booth(cluster)["status"]["told"] == {"hours": 6, "halves": 12}
    virtual.advance(86400 - 6 * 3600 - 400)
    assert "ticks" not in booth(cluster)["status"]
    virtual.advance(120)
    assert booth(cluster)["status"]["ticks"] == 1


def test_handlers_take_their_time(cluster: Bridged, virtual: VirtualTime) -> None:
    """time.sleep in a sync handler and asyncio.sleep before a finalizer goes pass in virtual time."""
    cluster.sim.create(BOOTH)
    virtual.run_until(lambda: "made" in booth(cluster).get("status", {}), within=3600)
    kind = cluster.kind("kopf.example.com/v1", "Booth")
    began = virtual.time()
    cluster.sim.patch(kind, "one", "default", {"spec": {"size": 2}})
    virtual.run_until(lambda: booth(cluster)["status"].get("grown") == "1 to 2", within=3600)
    assert virtual.time() - began == pytest.approx(300, abs=5)
    began = virtual.time()
    cluster.sim.delete(kind, "one", "default")
    assert booth(cluster)["metadata"]["finalizers"]
    virtual.run_until(lambda: booth(cluster) is None, within=3600)
    assert virtual.time() - began == pytest.approx(900, abs=30)


def test_the_runner_ends(cluster: Bridged) -> None:
    """The operator stops while time is virtual, and tells what it did with virtual dates."""
    with cluster.virtual_time() as virtual:
        with runner() as operator:
            cluster.sim.create(BOOTH)
            virtual.advance(3600)
        assert virtual.time() < 3700
    assert operator.exit_code == 0
    assert operator.exception is None
    assert "Handler 'made' succeeded" in operator.output
    assert "2026-01-01 00:30" in operator.output
