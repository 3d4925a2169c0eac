"""Kinds: those of the Gateway API, as a server makes them of their definitions, and what ours are called."""

from sampan.gateway.definitions import gateway, gateway_class, grpc_route, http_route, reference_grant
from sampan.kinds.kind import Kind, Object
from sampan.platform import definitions

GROUP = "gateway.networking.k8s.io"
CONTROLLER_NAME = "sampan.dev/gateway-controller"
CLASS = "sampan"
INGRESS_CONTROLLER = "sampan.dev/ingress-controller"

DEFINITIONS: tuple[Object, ...] = (
    gateway_class.DEFINITION,
    gateway.DEFINITION,
    http_route.DEFINITION,
    grpc_route.DEFINITION,
    reference_grant.DEFINITION,
)

GATEWAYCLASS: Kind = definitions.kind(gateway_class.DEFINITION)
GATEWAY: Kind = definitions.kind(gateway.DEFINITION)
HTTPROUTE: Kind = definitions.kind(http_route.DEFINITION)
GRPCROUTE: Kind = definitions.kind(grpc_route.DEFINITION)
REFERENCEGRANT: Kind = definitions.kind(reference_grant.DEFINITION)
ROUTES = (HTTPROUTE, GRPCROUTE)
