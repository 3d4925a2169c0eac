"""Planting: one failure of the list in a simulated cluster, and what is said of it."""

import functools
from pathlib import Path
from typing import Any

import yaml

from sampan.cluster import diagnosis, naming
from sampan.platform.health import judge
from sampan.platform.health.lookup import Known
from sampan.platform.health.verdict import Verdict
from sampan.testing import Cluster

PLANTS = Path(__file__).parent / "plants.yaml"
Plant = dict[str, Any]


def load(path: Path) -> list[Plant]:
    """All of the list."""
    found: list[Plant] = yaml.safe_load(path.read_text())
    return found


def plant(cluster: Cluster, what: Plant) -> tuple[Verdict | None, Known]:
    """Makes the failure and asks about it; also all that was read."""
    for image, behaviour in what.get("behave", {}).items():
        cluster.behave(image, behaviour)
    if not what.get("patch_after"):
        _patch(cluster, what)
    cluster.apply(what["given"])
    if later := what.get("later"):
        cluster.advance(30)
        cluster.apply(later)
    if what.get("patch_after"):
        cluster.advance(5)
        _patch(cluster, what)
    if node := what.get("crash"):
        cluster.advance(10)
        cluster.crash_node(node)
    if doomed := what.get("delete"):
        cluster.advance(5)
        cluster.delete(doomed)
    cluster.advance(what.get("seconds", 60))
    return ask(cluster, what["why"])


def ask(cluster: Cluster, reference: str) -> tuple[Verdict | None, Known]:
    """What is said of an object."""
    named = naming.named(reference, cluster.kinds)

    def rule(look: Known) -> Verdict | None:
        return judge.one(named.kind, named.name, named.namespace, look)

    found: tuple[Verdict | None, Known] = cluster.run(
        diagnosis.carry_out(cluster.client, rule, cluster.now.timestamp(), cluster.kinds)
    )
    return found


def _patch(cluster: Cluster, what: Plant) -> None:
    for reference, patch in what.get("patch", {}).items():
        cluster.patch(reference, patch)


def everything(cluster: Cluster, namespace: str) -> tuple[Verdict, ...]:
    """All that is not healthy."""
    rule = functools.partial(judge.everything, namespace)
    found, _ = cluster.run(diagnosis.carry_out(cluster.client, rule, cluster.now.timestamp(), cluster.kinds))
    verdicts: tuple[Verdict, ...] = found
    return verdicts
