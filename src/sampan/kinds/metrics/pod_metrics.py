"""PodMetrics: what a pod's containers use, as asked of their node's agent when somebody reads.

https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

from sampan.kinds.kind import Column, Kind
from sampan.kinds.parts import usage_columns

PODMETRICS = Kind(
    group="metrics.k8s.io",
    versions=("v1beta1",),
    name="PodMetrics",
    plural="pods",
    schema="io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    verbs=("get", "list"),
    not_stored=True,
    columns=(
        Column("cpu", lambda o, now: usage_columns.total(o["containers"], "cpu"), kind="quantity"),
        Column("memory", lambda o, now: usage_columns.total(o["containers"], "memory"), kind="quantity"),
        Column("window", "window", kind="duration"),
    ),
)
