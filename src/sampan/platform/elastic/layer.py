"""Elastic: as many replicas as the clock and the requests ask for."""

from sampan.platform.elastic import cron_horizontal_pod_autoscaler as cron
from sampan.platform.elastic import metrics_server
from sampan.platform.layer import Layer

LAYER = Layer(
    name="elastic",
    summary="scales workloads by the clock, and shows requests and latencies of the gateway to autoscalers",
    definitions=cron.DEFINITIONS,
    controllers=(cron.CONTROLLER,),
    service=metrics_server.serve,
)
