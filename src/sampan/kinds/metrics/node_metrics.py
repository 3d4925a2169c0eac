"""NodeMetrics: what a node uses, as asked of its agent when somebody reads.

https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

from sampan.kinds.kind import CLUSTER, Column, Kind
from sampan.kinds.parts import usage_columns

NODEMETRICS = Kind(
    group="metrics.k8s.io",
    versions=("v1beta1",),
    name="NodeMetrics",
    plural="nodes",
    scope=CLUSTER,
    schema="io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    verbs=("get", "list"),
    not_stored=True,
    columns=(
        Column("cpu", lambda o, now: usage_columns.total([o], "cpu"), kind="quantity"),
        Column("memory", lambda o, now: usage_columns.total([o], "memory"), kind="quantity"),
        Column("window", "window", kind="duration"),
    ),
)
