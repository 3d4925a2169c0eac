"""What the controllers of a cluster are told of its settings."""

from pathlib import Path
from typing import Any

import pytest

from sampan.cluster import pki, wiring
from sampan.cluster.settings import Settings
from sampan.control.view import Snapshot, View
from sampan.controllers import registry
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.node import NODE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.parts import csr
from sampan.kit.frozen import freeze
from tests.requests import request


def is_approved(cluster: Settings, name: str, hosts: tuple[str, ...]) -> bool:
    """Whether a node with these addresses would get its serving certificate, as far as its names go."""
    found = {made.name: made for made in registry.controllers("", options=wiring.options(cluster))}
    controller: Any = found["node-serving-approving-controller"]
    node = {"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": h} for h in hosts]}}
    spec = {
        "request": request(f"system:node:{name}", ("system:nodes",), (name, *hosts)),
        "signerName": csr.KUBELET_SERVING,
        "usages": ["digital signature", "server auth"],
        "username": f"system:node:{name}",
        "groups": ["system:nodes"],
    }
    asked = {"metadata": {"name": "r", "uid": "u"}, "spec": spec, "status": {}}
    slice = {
        "metadata": {
            "namespace": "default",
            "name": "kubernetes",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "endpoints": [{"addresses": [cluster.api_address]}],
    }
    sources: Any = {kind.resource: Snapshot([]) for kind in (SERVICE, ENDPOINTS)}
    sources |= {
        CERTIFICATESIGNINGREQUEST.resource: Snapshot([freeze(asked)]),
        NODE.resource: Snapshot([freeze(node)]),
        ENDPOINTSLICE.resource: Snapshot([freeze(slice)]),
    }
    return bool(controller.reconcile(View(sources), ("", "r"), 0.0).ask)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"listen": "192.0.2.7", "node_ip": "192.0.2.7", "overlay": "vxlan"},
        {"listen": "0.0.0.0"},
        {"nodes": 3},
        {"ip_families": "IPv4,IPv6"},
    ],
    ids=["usual", "listen", "everywhere", "lan", "both families"],
)
def test_nodes_are_renewed_and_the_api_is_nobodys(fields: dict[str, Any]) -> None:
    """Nodes of the API's machine get certificates for what they were given, be it the API's; nobody else does."""
    cluster = Settings("tide", Path("/nowhere"), **fields)
    for number, name in enumerate(cluster.node_names()):
        own = (cluster.internal_ip(number), *filter(None, (cluster.gateway6(number),)))
        assert is_approved(cluster, name, own)
        for address in own:
            assert not is_approved(cluster, "other", (address,))
    assert is_approved(cluster, "other", ("198.51.100.7",))
    for host in pki.server_hosts(cluster):
        if host.replace(".", "").isdigit():
            assert not is_approved(cluster, "other", (host,))
    if cluster.has_lan:
        assert not is_approved(cluster, cluster.node_names()[0], (cluster.api_address,))
