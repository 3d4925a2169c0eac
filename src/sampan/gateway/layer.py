"""The layer `gateway`: Ingress and the Gateway API on Envoy.

https://gateway-api.sigs.k8s.io/
"""

from sampan.gateway import build, gateway_class_status, gateway_status, ingress_status, kinds, route_status, service
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.kind import Object
from sampan.platform.layer import Layer
from sampan.platform.rights import Rights, rule, scaling

_CLASS: Object = {
    "apiVersion": kinds.GATEWAYCLASS.api_version,
    "kind": "GatewayClass",
    "metadata": {"name": kinds.CLASS},
    "spec": {"controllerName": kinds.CONTROLLER_NAME, "description": "Envoy, run by Sampan"},
}
_INGRESS_CLASS: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": kinds.CLASS},
    "spec": {"controller": kinds.INGRESS_CONTROLLER},
}

_STATUSES = [f"{kind.plural}/status" for kind in (kinds.GATEWAYCLASS, kinds.GATEWAY, *kinds.ROUTES)]
_WRITTEN = ("create", "delete", "update")
_RIGHTS = Rights(
    everywhere=(
        rule(kinds.GATEWAY.group, _STATUSES, ("update",)),
        rule(kinds.GATEWAY.group, (kinds.GATEWAY.plural,), ("patch",)),
        rule(kinds.GATEWAYCLASS.group, (kinds.GATEWAYCLASS.plural,), ("get",), (kinds.CLASS,)),
        rule("networking.k8s.io", ("ingresses/status",), ("update",)),
        rule("", ("services",), _WRITTEN),
        rule("discovery.k8s.io", ("endpointslices",), _WRITTEN),
        rule("", ("nodes",), ("list",)),
        *scaling(),
    ),
    follows=(*build.READS, HORIZONTALPODAUTOSCALER),
)

LAYER = Layer(
    name="gateway",
    summary="Ingress and the Gateway API on Envoy, with TLS, weights and metrics of each route",
    definitions=kinds.DEFINITIONS,
    controllers=(
        gateway_class_status.CONTROLLER,
        gateway_status.CONTROLLER,
        *map(route_status.controller, kinds.ROUTES),
        ingress_status.CONTROLLER,
    ),
    objects=(_CLASS, _INGRESS_CLASS),
    service=service.serve,
    rights=_RIGHTS,
)
