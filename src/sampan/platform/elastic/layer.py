"""Elastic: as many replicas as the clock and the requests ask for."""

from sampan.platform.elastic import cron_horizontal_pod_autoscaler as cron
from sampan.platform.elastic import metrics_server, scale_to_zero
from sampan.platform.layer import Layer

LAYER = Layer(
    name="elastic",
    summary="scales workloads by the clock and down to zero, and shows requests and latencies of the gateway to autoscalers",
    definitions=cron.DEFINITIONS,
    controllers=(cron.CONTROLLER, scale_to_zero.CONTROLLER),
    service=metrics_server.serve,
)
