"""IPv6 addresses and CIDRs in another form than RFC 5952's: taken as they are, with a warning that shows the usual one."""

from typing import Any

import pytest

from sampan.kinds.parts import ip_rules
from tests.server.conftest import Answer, Api, pod

Tree = dict[str, Any]
ODD, USUAL = "2001:DB8:0::1", "2001:db8::1"
HERE = "/api/v1/namespaces/default"


def told(path: str, value: str = ODD, usual: str = USUAL) -> str:
    what = "IPv6 CIDR value" if "/" in value else "IPv6 address"
    return f'299 - "{path}: {what} \\"{value}\\" should be in RFC 5952 canonical format (\\"{usual}\\")"'


def warnings(answer: Answer) -> str:
    assert answer.status in (200, 201), answer.body
    return answer.headers.get("warning", "")


def test_addresses_that_stand_for_others() -> None:
    """An IPv4-mapped IPv6 address has no such form, in whatever way it is written."""
    for value in ("::ffff:1.2.3.4", "::FFFF:1.2.3.4", "::ffff:102:304", "0:0:0:0:0:ffff:102:304", "1.2.3.4"):
        assert ip_rules.address_warnings("ip", value) == []
        assert ip_rules.cidr_warnings("cidr", f"{value}/120") == []
    assert len(ip_rules.address_warnings("ip", ODD)) == len(ip_rules.cidr_warnings("cidr", f"{ODD}/64")) == 1


async def test_of_a_pods_status(api: Api) -> None:
    """Its addresses and its node's; not with a write to anything else of the pod."""
    await api.create(f"{HERE}/pods", pod("p"))
    status = {"podIPs": [{"ip": ODD}], "podIP": ODD, "hostIPs": [{"ip": USUAL}], "hostIP": USUAL}
    answer = await api.patch(f"{HERE}/pods/p/status", {"status": status})
    assert warnings(answer) == told("status.podIPs[0].ip")
    status = {"podIPs": [{"ip": USUAL}], "podIP": USUAL, "hostIPs": [{"ip": ODD}], "hostIP": ODD}
    answer = await api.patch(f"{HERE}/pods/p/status", {"status": status})
    assert warnings(answer) == told("status.hostIPs[0].ip")
    assert warnings(await api.patch(f"{HERE}/pods/p", {"metadata": {"labels": {"a": "b"}}})) == ""


async def test_of_a_service(api: Api) -> None:
    """Its status warns of addresses that it was given there, its spec of those in the spec, and neither of the other's."""
    ports = [{"port": 80}]
    spec = {
        "type": "LoadBalancer",
        "ports": ports,
        "loadBalancerIP": ODD,
        "loadBalancerSourceRanges": ["2001:DB8::/32"],
    }
    answer = await api.send(
        "POST", f"{HERE}/services", {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": spec}
    )
    of_spec = (told("spec.loadBalancerIP"), told("spec.loadBalancerSourceRanges[0]", "2001:DB8::/32", "2001:db8::/32"))
    assert warnings(answer) == ", ".join(of_spec)
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.example"}, {"ip": ODD}]}}
    answer = await api.patch(f"{HERE}/services/s/status", {"status": status})
    assert warnings(answer) == told("status.loadBalancer.ingress[2]")
    answer = await api.patch(f"{HERE}/services/s", {"metadata": {"labels": {"a": "b"}}})
    assert warnings(answer) == ", ".join(of_spec)


@pytest.mark.parametrize("manager", ["somebody", "endpoint-controller"])
async def test_of_endpoints(api: Api, manager: str) -> None:
    """Written by anybody but the controller that makes them of Services."""
    meta = {"name": "e", "labels": {"endpoints.kubernetes.io/managed-by": manager}}
    subset = {"addresses": [{"ip": USUAL}], "notReadyAddresses": [{"ip": ODD}], "ports": [{"port": 80}]}
    body = {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta, "subsets": [subset]}
    given = warnings(await api.send("POST", f"{HERE}/endpoints", body))
    assert (told("subsets[0].notReadyAddresses[0].ip") in given) is (manager == "somebody")


@pytest.mark.parametrize("manager", ["somebody", "endpointslice-controller.k8s.io"])
async def test_of_endpoint_slices(api: Api, manager: str) -> None:
    """The same."""
    meta = {"name": "e", "labels": {"endpointslice.kubernetes.io/managed-by": manager}}
    body = {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": meta, "addressType": "IPv6"}
    body |= {"endpoints": [{"addresses": [ODD]}]}
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    given = warnings(await api.send("POST", path, body))
    assert given == (told("endpoints[0].addresses[0]") if manager == "somebody" else "")


async def test_of_a_network_policy(api: Api) -> None:
    """CIDRs of both directions, and those without."""
    block = {"cidr": "2001:DB8::/32", "except": ["2001:db8:1::/48", "2001:DB8:2::/48"]}
    spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": block}]}]}
    body = {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "n"}, "spec": spec}
    answer = await api.send("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", body)
    assert warnings(answer) == ", ".join(
        (
            told("spec.egress[0].to[0].ipBlock.cidr", "2001:DB8::/32", "2001:db8::/32"),
            told("spec.egress[0].to[0].ipBlock.except[1]", "2001:DB8:2::/48", "2001:db8:2::/48"),
        )
    )
