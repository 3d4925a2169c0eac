"""kubectl with Services: create, expose, get, describe, change of type, delete; load balancers among them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.simulated_kubectl import Kubectl, simulated

pytestmark = pytest.mark.slow

DESCRIBED = """\
Type:                     LoadBalancer
IP Family Policy:         SingleStack
IP Families:              IPv4
IP:                       10.96.0.77
IPs:                      10.96.0.77
LoadBalancer Ingress:     10.32.0.1 (VIP)
Port:                     <unset>  80/TCP
TargetPort:               8080/TCP
NodePort:                 <unset>  30080/TCP
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with simulated(tmp_path, nodes=1) as run:
        yield run


def test_services(kubectl: Kubectl) -> None:
    """One of each type, as they are listed and described; a load balancer has an address at once, and gives it back."""
    kubectl("create", "deployment", "web", "--image=web:1", "--port=8080", "--replicas=2")
    cluster_ip = (
        '--overrides={"spec":{"clusterIP":"10.96.0.77","ports":[{"port":80,"targetPort":8080,"nodePort":30080}]}}'
    )
    made = kubectl("expose", "deployment", "web", "--type=LoadBalancer", "--port=80", "--target-port=8080", cluster_ip)
    assert made == "service/web exposed\n"
    for words in (
        ("clusterip", "inner", "--tcp=80:8080"),
        ("clusterip", "headless", "--clusterip=None"),
        ("nodeport", "outer", "--tcp=443:8443", "--node-port=30443"),
        ("loadbalancer", "second", "--tcp=53:5353"),
        ("externalname", "else", "--external-name=example.com"),
    ):
        assert kubectl("create", "service", *words) == f"service/{words[1]} created\n"
    kubectl("wait", "service", "web", "second", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=60s")
    listed = [line.split()[:5] for line in kubectl("get", "services", "--no-headers").splitlines()]
    shown = {name: (kind, outside, ports) for name, kind, _, outside, ports in listed}
    second = shown.pop("second")
    assert second[:2] == ("LoadBalancer", "10.32.0.2")
    assert shown == {
        "else": ("ExternalName", "example.com", "<none>"),
        "headless": ("ClusterIP", "<none>", "<none>"),
        "inner": ("ClusterIP", "<none>", "80/TCP"),
        "kubernetes": ("ClusterIP", "<none>", "443/TCP"),
        "outer": ("NodePort", "<none>", "443:30443/TCP"),
        "web": ("LoadBalancer", "10.32.0.1", "80:30080/TCP"),
    }
    kubectl("wait", "deployment", "web", "--for=condition=Available", "--timeout=60s")
    told = kubectl("describe", "service", "web")
    assert DESCRIBED in told
    assert (
        "Session Affinity:         None\nExternal Traffic Policy:  Cluster\nInternal Traffic Policy:  Cluster\n" in told
    )
    assert "service-controller  Ensured load balancer" in told
    kubectl("patch", "service", "web", "-p", '{"spec":{"type":"ClusterIP"}}')
    kubectl("wait", "ipaddress/10.32.0.1", "--for=delete", "--timeout=60s")
    assert "LoadBalancer Ingress" not in kubectl("describe", "service", "web")
    assert kubectl("delete", "service", "second") == 'service "second" deleted from default namespace\n'
    kubectl("wait", "ipaddress/10.32.0.2", "--for=delete", "--timeout=60s")
