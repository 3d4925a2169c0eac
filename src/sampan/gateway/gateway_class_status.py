"""A GatewayClass of ours is accepted, and says what its Gateways can do. The class `sampan` has the proxy's metrics.

https://gateway-api.sigs.k8s.io/api-types/gatewayclass/
"""

from sampan.control import decorate
from sampan.control.controller import Controller
from sampan.control.plan import Key, Plan, plan
from sampan.control.view import View
from sampan.gateway import kinds, proxy, status
from sampan.gateway.listeners import Fault
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.meta import objects

PORT = 9464

FEATURES = (
    "GRPCRoute",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
)


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Its status; and the Service of the metrics, where this is the class that knows the proxy."""
    found = view.get(kinds.GATEWAYCLASS, key)
    if found is None or objects.is_deleting(found) or found["spec"].get("controllerName") != kinds.CONTROLLER_NAME:
        return Plan()
    fault = Fault("InvalidParameters", "parametersRef is not supported") if found["spec"].get("parametersRef") else None
    verdicts = [
        ("Accepted", status.verdict(fault, "Accepted", "the class is accepted")),
        ("SupportedVersion", (True, "SupportedVersion", "the definitions are of a supported version")),
    ]
    old = (found.get("status") or {}).get("conditions")
    wanted = {
        "conditions": status.listed(found, old, verdicts, now),
        "supportedFeatures": [{"name": name} for name in FEATURES],
    }
    writes = decorate.status(kinds.GATEWAYCLASS, found, wanted)
    port = objects.annotations(found).get(proxy.METRICS_PORT, "")
    if key[1] == kinds.CLASS and proxy.address(view) and port.isdigit():
        service = proxy.service(proxy.METRICS_KEY, {PORT: int(port)}, {})
        return plan(writes, proxy.writes(view, service, proxy.address(view)))
    return plan(writes)


CONTROLLER = Controller("gateway-class", kinds.GATEWAYCLASS, reconcile, reads=(SERVICE, ENDPOINTSLICE))
