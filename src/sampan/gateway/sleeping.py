"""Sleeping: which Services lead to workloads that an autoscaler may take to zero."""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.control.plan import AskTarget
from sampan.control.view import View
from sampan.gateway.traffic import Cluster
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform import zero


@dataclass(frozen=True, slots=True)
class Sleeper:
    """An autoscaler whose workload may be at zero, and the labels of its pods."""

    hpa: Object
    labels: dict[str, str]

    @property
    def target(self) -> AskTarget:
        reference = self.hpa["spec"]["scaleTargetRef"]
        namespace = objects.namespace(self.hpa)
        return AskTarget(reference.get("apiVersion") or "v1", reference["kind"], (namespace, reference["name"]))


def of(view: View, cluster: Cluster, sleepers: Sequence[Sleeper]) -> Sleeper | None:
    """The one that the cluster's Service leads to."""
    known = [sleeper for sleeper in sleepers if objects.namespace(sleeper.hpa) == cluster.namespace]
    service = view.get(SERVICE, (cluster.namespace, cluster.service)) if known else None
    if service is None:
        return None
    return next((sleeper for sleeper in known if zero.leads_to(service, sleeper.labels)), None)
