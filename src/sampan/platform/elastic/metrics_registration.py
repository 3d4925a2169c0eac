"""Objects that lead the API server to the metrics: a Service with our address, and APIServices of both groups.

https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

import base64
import ipaddress

from sampan.kinds.discovery.endpoint_slice import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.platform.elastic import metrics_api

NAMESPACE, NAME = "kube-system", "sampan-elastic-metrics"
HOST = f"{NAME}.{NAMESPACE}.svc"
MANAGER = "sampan-elastic"


def place(address: str, port: int) -> tuple[Object, Object]:
    """The Service, without selector, and its EndpointSlice."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    labels = {SERVICE_NAME_LABEL: NAME, MANAGED_BY_LABEL: f"{MANAGER}.sampan.dev"}
    listed = [{"name": "https", "port": 443, "targetPort": port, "protocol": "TCP"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": listed}}
    endpoint = {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
    family = f"IPv{ipaddress.ip_address(address).version}"
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "name": f"{NAME}-{family.lower()}", "labels": labels},
        "addressType": family,
        "endpoints": [endpoint],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    return service, slice_


def api_services(authority: bytes) -> list[Object]:
    """One for each group and version; `authority` (PEM) signed our certificate, b"" where there is none."""
    trust: Object = {"caBundle": base64.b64encode(authority).decode()} if authority else {"insecureSkipTLSVerify": True}
    return [
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 200 - 100 * number,
                "service": {"namespace": NAMESPACE, "name": NAME, "port": 443},
                **trust,
            },
        }
        for group, versions in metrics_api.VERSIONS.items()
        for number, version in enumerate(versions)
    ]


def is_ours(api_service: Object) -> bool:
    """Whether it leads to us, and not to another server that somebody has chosen."""
    where = (api_service.get("spec") or {}).get("service") or {}
    return (where.get("namespace"), where.get("name")) == (NAMESPACE, NAME)
