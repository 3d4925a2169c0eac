"""Elastic: as many replicas as the clock and the requests ask for."""

from sampan.meta import objects
from sampan.platform.elastic import cron_horizontal_pod_autoscaler as cron
from sampan.platform.elastic import metrics_registration, metrics_server, scale_to_zero
from sampan.platform.layer import Layer
from sampan.platform.rights import APPLY, Rights, rule, scaling

_PLACE = metrics_registration.place("192.0.2.1", 443), metrics_registration.place("2001:db8::1", 443)
_RIGHTS = Rights(
    everywhere=(
        rule("autoscaling", ("horizontalpodautoscalers",), ("patch",)),
        rule(cron.CRONHORIZONTALPODAUTOSCALER.group, (cron.CRONHORIZONTALPODAUTOSCALER.plural,), ("patch",)),
        *scaling(),
        rule("custom.metrics.k8s.io", (f"services/{scale_to_zero.METRIC}",), ("get",)),
        rule("gateway.networking.k8s.io", ("gatewayclasses",), ("get",), (metrics_server.CLASS,)),
        rule("", ("nodes",), ("list",)),
        rule(
            "apiregistration.k8s.io",
            ("apiservices",),
            ("get", *APPLY, "delete"),
            [objects.name(each) for each in metrics_registration.api_services(b"")],
        ),
    ),
    at_home=(
        rule("", ("configmaps",), ("get",), (metrics_server.AUTHENTICATION,)),
        rule("", ("services",), APPLY, (metrics_registration.NAME,)),
        rule("discovery.k8s.io", ("endpointslices",), APPLY, [objects.name(slice_) for _, slice_ in _PLACE]),
    ),
)

LAYER = Layer(
    name="elastic",
    summary="scales workloads by the clock and down to zero, and shows requests and latencies of the gateway to autoscalers",
    definitions=cron.DEFINITIONS,
    controllers=(cron.CONTROLLER, scale_to_zero.CONTROLLER),
    service=metrics_server.serve,
    rights=_RIGHTS,
)
