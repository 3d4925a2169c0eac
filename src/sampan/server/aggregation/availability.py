"""Whether each extension API server can be used: its APIService's Available condition.

Looked at whenever the APIService, its Service or the endpoints behind it change, and every half minute.

https://kubernetes.io/docs/tasks/extend-kubernetes/setup-extension-api-server/
"""

from typing import Any

from sampan.kinds.apiregistration import api_service
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.meta import conditions, objects
from sampan.server import service_target
from sampan.server.service_target import Objects

Tree = dict[str, Any]
Verdict = tuple[str, str, str]

PASSED: Verdict = ("True", "Passed", "all checks passed")


def verdict(lookup: Objects, service: Tree) -> Verdict:
    """(status, reason, message) as far as the objects tell: a server that passes must still answer."""
    where = api_service.spec(service).get("service")
    if not where:
        return api_service.LOCAL
    namespace, name, number = where["namespace"], where["name"], where.get("port", api_service.DEFAULT_PORT)
    item = lookup.get(SERVICE, namespace, name)
    if item is None:
        return "False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
    if (item.tree.get("spec") or {}).get("type") != "ClusterIP":
        return PASSED
    ports = (item.tree.get("spec") or {}).get("ports") or ()
    port = next((p for p in ports if p.get("port") == number), None)
    if port is None:
        return "False", "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {number}'
    if not any(s.labels.get(SERVICE_NAME_LABEL) == name for s in lookup.all(ENDPOINTSLICE, namespace)):
        return "False", "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"'
    port_name = port.get("name") or ""
    if next(service_target.endpoints(lookup, namespace, name, port_name), None) is None:
        text = f'endpointslices for service/{name} in "{namespace}" have no addresses with port name "{port_name}"'
        return "False", "MissingEndpoints", text
    return PASSED


def failed(message: str) -> Verdict:
    """The server is there, and does not answer as it must."""
    return "False", "FailedDiscoveryCheck", message


def with_verdict(service: Tree, said: Verdict, now: float) -> Tree | None:
    """The APIService with the condition; None when it says so already."""
    before = (service.get("status") or {}).get("conditions")
    after = conditions.set(before, api_service.AVAILABLE, *said, now)
    if after == before:
        return None
    changed = objects.copy(service)
    changed["status"] = {**(service.get("status") or {}), "conditions": after}
    return dict(changed)
