"""Failures planted in a simulated cluster are explained: the object, the reason, the evidence, the next step."""

from collections.abc import Iterator

import pytest

from sampan.platform.health import text
from sampan.testing import Cluster
from tests.platform.health import planting
from tests.platform.health.planting import Plant

PLANTED = planting.load(planting.PLANTS)
WORKS = """
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web, ports: [{containerPort: 80}]}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick}, spec: {schedule: "* * * * *", jobTemplate:
  {spec: {template: {spec: {restartPolicy: Never, containers: [{name: tick, image: tick}]}}}}}}
"""
UNREADY = """
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web, readinessProbe: {httpGet: {port: 80}}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Cluster]:
    with Cluster(nodes=2) as cluster:
        yield cluster


@pytest.mark.parametrize("plant", PLANTED, ids=[plant["name"] for plant in PLANTED])
def test_planted(ground: Cluster, plant: Plant) -> None:
    """Rightly, in words that tell what to do."""
    with ground.fork() as cluster:
        verdict, _ = planting.plant(cluster, plant)
    assert verdict is not None
    then, shown = plant["then"], text.one(verdict)
    assert (verdict.state, verdict.root.reason, verdict.root.subject) == (then["state"], then["reason"], then["at"]), (
        shown
    )
    assert [words for words in then.get("says", ()) if words not in shown] == [], shown
    steps = "\n".join(verdict.steps)
    assert [words for words in then.get("next", ()) if words not in steps] == [], shown


def test_the_list_is_long_enough() -> None:
    """Each of the failures that an application meets is planted."""
    assert len({plant["then"]["reason"] for plant in PLANTED}) >= 26


def test_what_works_is_healthy(ground: Cluster) -> None:
    """Nothing is found where nothing is wrong, and what is only on its way isn't stuck."""
    with ground.fork() as cluster:
        cluster.behave("web", {"start": "3s"})
        cluster.behave("tick", {"run": 5, "exit": 0})
        cluster.apply(WORKS)
        starting, _ = planting.ask(cluster, "deployment/web")
        assert starting is not None
        assert starting.state == "Progressing"
        cluster.advance(150)
        assert planting.everything(cluster, "default") == ()


def test_all_of_a_namespace(ground: Cluster) -> None:
    """What others own is told with its owner; one cause behind several objects is told once."""
    with ground.fork() as cluster:
        cluster.behave("web", {"readiness": "HTTP probe failed with statuscode: 503"})
        cluster.apply(UNREADY)
        cluster.advance(60)
        found = planting.everything(cluster, "default")
    assert [each.subject for each in found] == ["deployment/web", "service/web"]
    assert "service/web is stuck because of the same as deployment/web" in text.several(found, "default")
