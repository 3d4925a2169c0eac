"""Service ranges, addresses and flow schemas in a whole cluster: what its controllers keep true."""

from collections.abc import Iterator

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.core.service import SERVICE
from sampan.kinds.flowcontrol.flow_schema import FLOWSCHEMA
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.networking.service_cidr import FINALIZER, SERVICECIDR
from sampan.meta import conditions, objects
from tests.requests import request
from tests.sim.trees import Tree


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


def service(name: str, **spec: object) -> Tree:
    metadata = {"name": name, "namespace": "default"}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}


def test_a_range_stays_until_it_is_empty(cluster: SimulatedCluster) -> None:
    """A deleted ServiceCIDR waits for the last service in it, and says so meanwhile."""
    body = {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "more"}}
    cluster.create({**body, "spec": {"cidrs": ["10.200.0.0/24"]}})
    cluster.create(service("a", clusterIP="10.200.0.9"))
    cluster.run_until(lambda: conditions.is_true(cluster.get(SERVICECIDR, "more") or {}, "Ready"), within=10)
    assert objects.finalizers(cluster.get(SERVICECIDR, "more") or {}) == [FINALIZER]
    cluster.delete(SERVICECIDR, "more")
    cluster.run_until(lambda: conditions.is_false(cluster.get(SERVICECIDR, "more") or {}, "Ready"), within=10)
    cluster.delete(SERVICE, "a", "default")
    cluster.run_until(lambda: cluster.get(SERVICECIDR, "more") is None, within=10)


def test_an_address_under_a_service_comes_back(cluster: SimulatedCluster) -> None:
    """An IPAddress that somebody deletes is made again for the service that uses it."""
    made = cluster.create(service("a"))
    address = made["spec"]["clusterIP"]
    before = objects.uid(cluster.get(IPADDRESS, address) or {})
    cluster.delete(IPADDRESS, address)
    cluster.run_until(lambda: cluster.get(IPADDRESS, address) is not None, within=10)
    again = cluster.get(IPADDRESS, address) or {}
    assert objects.uid(again) != before
    assert again["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "a"}


def test_default_schemas_find_their_levels(cluster: SimulatedCluster) -> None:
    """Each default FlowSchema says that its priority level is there."""

    def all_found() -> bool:
        return all(conditions.is_false(cluster.get(FLOWSCHEMA, n) or {}, "Dangling") for n in ("exempt", "catch-all"))

    cluster.run_until(all_found, within=10)


def test_a_nodes_request_is_approved(cluster: SimulatedCluster) -> None:
    """A bootstrapping node's request for a client certificate is approved once it has the right."""
    spec = {
        "request": request("system:node:n1", ("system:nodes",)),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "key encipherment", "client auth"],
    }
    body = {"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1", "metadata": {"name": "r"}}
    cluster.create({**body, "spec": spec})  # asked by an administrator, who may everything

    def is_approved() -> bool:
        found = (cluster.get(CERTIFICATESIGNINGREQUEST, "r") or {}).get("status") or {}
        return [c["reason"] for c in found.get("conditions") or ()] == ["AutoApproved"]

    cluster.run_until(is_approved, within=10)
