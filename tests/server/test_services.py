"""Services over HTTP: types and their transitions, addresses as IPAddress objects, node ports, families, status."""

import asyncio
from typing import Any

import pytest

from tests.server.conftest import Answer, Api, Tree

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
RANGES = "/apis/networking.k8s.io/v1/servicecidrs"


def service(name: str, *ports: Tree, **spec: Any) -> Tree:
    """A service of one port 80, unless others are given."""
    spec = {"selector": {"app": name}, "ports": list(ports) or [{"port": 80}], **spec}
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


async def refused(api: Api, body: Tree, code: int = 422) -> str:
    answer = await api.send("POST", SERVICES, body)
    assert answer.status == code, answer.body
    return str(answer.tree["message"])


async def change(api: Api, name: str, patch: Tree) -> Tree:
    answer = await api.patch(f"{SERVICES}/{name}", patch)
    assert answer.status == 200, answer.body
    return answer.tree


async def held(api: Api) -> dict[str, str]:
    """The addresses that are taken, and by which service."""
    items = (await api.get(ADDRESSES))["items"]
    return {i["metadata"]["name"]: i["spec"]["parentRef"]["name"] for i in items}


async def test_an_address_is_an_object(api: Api) -> None:
    """A service's address is an IPAddress that names it, and goes with it (conformance 221)."""
    made = await api.create(SERVICES, service("a"))
    address = made["spec"]["clusterIP"]
    found = await api.get(f"{ADDRESSES}/{address}")
    assert found["spec"] == {"parentRef": {"resource": "services", "namespace": "default", "name": "a"}}
    assert found["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert found["metadata"]["uid"] and found["metadata"]["creationTimestamp"]
    assert "10.96.0.1" in await held(api)
    await api.delete(f"{SERVICES}/a")
    assert address not in await held(api)
    table = await api.get(ADDRESSES, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "ParentRef"]
    assert ["10.96.0.1", "services/default/kubernetes"] in [row["cells"] for row in table["rows"]]


async def test_addresses_by_hand(api: Api) -> None:
    """An IPAddress may be made by hand, if its name is one, and then no service gets it (conformance 221)."""
    body: Tree = {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "10.96.0.77", "labels": {"a": "b"}},
        "spec": {"parentRef": {"group": "example.com", "resource": "things", "name": "t"}},
    }
    made = await api.create(ADDRESSES, body)
    text = await refused(api, service("a", clusterIP="10.96.0.77"))
    assert text.endswith("failed to allocate IP 10.96.0.77: provided IP is already allocated")
    made["spec"]["parentRef"]["name"] = "u"
    answer = await api.send("PUT", f"{ADDRESSES}/10.96.0.77", made)
    assert answer.status == 422 and "spec.parentRef: Invalid value" in answer.tree["message"]
    assert "field is immutable" in answer.tree["message"]
    for name, why in (
        ("no", "must be a valid IP address"),
        ("010.1.1.1", "must not have leading 0s"),
        ("fd00::0:1", 'must be in canonical form (\\"fd00::1\\")'),
        ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
    ):
        answer = await api.send("POST", ADDRESSES, {**body, "metadata": {"name": name}})
        assert answer.status == 422 and why in answer.body.decode(), answer.body
    answer = await api.send("POST", ADDRESSES, {**body, "metadata": {"name": "1.2.3.4"}, "spec": {}})
    assert answer.tree["message"].endswith("spec.parentRef: Required value")
    assert (await api.send("DELETE", f"{ADDRESSES}?labelSelector=a=b")).status == 200
    assert (await api.create(SERVICES, service("a", clusterIP="10.96.0.77")))["spec"]["clusterIP"] == "10.96.0.77"


async def test_addresses_are_unique_under_pressure(api: Api) -> None:
    """Fifty services at once get fifty addresses and fifty node ports (conformance 220's load)."""
    sends = (api.send("POST", SERVICES, service(f"s{i}", type="NodePort")) for i in range(50))
    answers: list[Answer] = await asyncio.gather(*sends)
    assert {a.status for a in answers} == {201}
    specs = [a.tree["spec"] for a in answers]
    assert len({s["clusterIP"] for s in specs}) == 50
    assert len({s["ports"][0]["nodePort"] for s in specs}) == 50


async def test_one_wish_is_granted_once(api: Api) -> None:
    """Of many services that ask for one address and port at once, one gets them."""
    for asked in ({"clusterIP": "10.96.3.3"}, {"type": "NodePort", "ports": [{"port": 1, "nodePort": 31000}]}):
        name = "p" if "type" in asked else "a"
        sends = (api.send("POST", SERVICES, service(f"{name}{i}", **asked)) for i in range(8))
        answers: list[Answer] = await asyncio.gather(*sends)
        assert sorted(a.status for a in answers) == [201] + [422] * 7
        assert all("already allocated" in a.tree["message"] for a in answers if a.status == 422)


async def test_ranges(api: Api) -> None:
    """The default ServiceCIDR is ready from the start; another one is used at once (conformance 222)."""
    default = await api.get(f"{RANGES}/kubernetes")
    assert default["spec"] == {"cidrs": ["10.96.0.0/16"]}
    (condition,) = default["status"]["conditions"]
    assert condition["type"] == "Ready" and condition["status"] == "True"
    assert "does not match the current range" in await refused(api, service("a", clusterIP="10.200.0.5"))
    body: Tree = {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "more", "labels": {"a": "b"}},
        "spec": {"cidrs": ["10.200.0.0/29"]},
    }
    made = await api.create(RANGES, body)
    assert "status" not in made or made["status"] == {}
    assert (await api.create(SERVICES, service("a", clusterIP="10.200.0.5")))["spec"]["clusterIP"] == "10.200.0.5"
    assert "is not in the valid range" in await refused(api, service("b", clusterIP="10.200.0.7"))
    state = {"status": {"conditions": [dict(condition, status="False", reason="Tired")]}}
    answer = await api.patch(f"{RANGES}/more/status", state)
    assert answer.status == 200 and answer.tree["status"]["conditions"][0]["reason"] == "Tired"
    assert "does not match the current range" in await refused(api, service("b", clusterIP="10.200.0.6"))
    made = await api.get(f"{RANGES}/more")
    for cidrs, why in (
        (["10.201.0.0/29"], "spec.cidrs[0]: Invalid value"),
        (["10.200.0.0/29", "10.9.0.0/24"], "no more than one IP for each IP family"),
        ([], "field is immutable"),
    ):
        answer = await api.send("PUT", f"{RANGES}/more", {**made, "spec": {"cidrs": cidrs}})
        assert answer.status == 422 and why in answer.tree["message"], answer.body
    assert (await api.put(f"{RANGES}/more", {**made, "spec": {"cidrs": ["10.200.0.0/29", "fd00::/112"]}}))["spec"]
    for cidrs, why in (
        ([], "spec.cidrs: Required value: at least one CIDR required"),
        (["10.200.0.1/29"], "must not have bits set beyond the prefix length"),
        (["x"], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        (["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"], "may only hold up to 2 values"),
    ):
        answer = await api.send("POST", RANGES, {**body, "metadata": {"name": "x"}, "spec": {"cidrs": cidrs}})
        assert answer.status == 422 and why in answer.tree["message"], answer.body
    assert (await api.send("DELETE", f"{RANGES}?labelSelector=a=b")).status == 200


async def test_cluster_ip_to_external_name_and_back(api: Api) -> None:
    """A service that becomes an external name gives its address back; turned again it gets one (223, 224)."""
    made = await api.create(SERVICES, service("a"))
    address = made["spec"]["clusterIP"]
    spec = (await change(api, "a", {"spec": {"type": "ExternalName", "externalName": "example.com"}}))["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & spec.keys()
    assert address not in await held(api)
    back = {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}}
    spec = (await change(api, "a", back))["spec"]
    assert spec["clusterIP"] in await held(api) and spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ipFamilies"] == ["IPv4"] and spec["ipFamilyPolicy"] == "SingleStack"


async def test_external_name_to_node_port_and_back(api: Api) -> None:
    """An external name turned node port gets address and port; turned back it has neither (225, 226)."""
    made = await api.create(SERVICES, service("a", type="ExternalName", externalName="example.com", ports=[]))
    assert "clusterIP" not in made["spec"]
    spec = (await change(api, "a", {"spec": {"type": "NodePort", "externalName": None, "ports": [{"port": 80}]}}))[
        "spec"
    ]
    port = spec["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767 and spec["clusterIP"] in await held(api)
    assert spec["externalTrafficPolicy"] == "Cluster"
    spec = (await change(api, "a", {"spec": {"type": "ExternalName", "externalName": "e.org"}}))["spec"]
    assert "clusterIP" not in spec and "nodePort" not in spec["ports"][0] and "externalTrafficPolicy" not in spec
    again = service("b", {"port": 80, "nodePort": port}, type="NodePort")
    assert (await api.create(SERVICES, again))["spec"]["ports"][0]["nodePort"] == port


async def test_node_ports(api: Api) -> None:
    """Node ports: given or asked for, shared by protocols of one port, kept by updates, given back (227)."""
    both = ({"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"})
    made = await api.create(SERVICES, service("dns", *both, type="NodePort"))
    first, second = (p["nodePort"] for p in made["spec"]["ports"])
    assert first == second
    asked = service("web", {"port": 80, "nodePort": 30080}, type="NodePort")
    assert (await api.create(SERVICES, asked))["spec"]["ports"][0]["nodePort"] == 30080
    text = await refused(api, service("other", {"port": 80, "nodePort": 30080}, type="NodePort"))
    assert "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated" in text
    text = await refused(api, service("other", {"port": 80, "nodePort": 80}, type="NodePort"))
    assert text.endswith("provided port is not in the valid range. The range of valid ports is 30000-32767")
    text = await refused(api, service("other", {"port": 80, "nodePort": 30081}))
    assert "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'" in text
    live = await api.get(f"{SERVICES}/web")
    del live["spec"]["ports"][0]["nodePort"]
    assert (await api.put(f"{SERVICES}/web", live))["spec"]["ports"][0]["nodePort"] == 30080
    moved = await change(api, "web", {"spec": {"ports": [{"port": 80, "nodePort": 30090}]}})
    assert moved["spec"]["ports"][0]["nodePort"] == 30090
    await api.create(SERVICES, service("other", {"port": 80, "nodePort": 30080}, type="NodePort"))
    spec = (await change(api, "web", {"spec": {"type": "ClusterIP"}}))["spec"]
    assert "nodePort" not in spec["ports"][0] and "externalTrafficPolicy" not in spec
    await api.delete(f"{SERVICES}/other")
    await api.create(SERVICES, service("third", {"port": 80, "nodePort": 30080}, type="NodePort"))
    ports = [{"name": n, "port": p, "nodePort": 31111} for n, p in (("a", 1), ("b", 2))]
    assert "nodePort: Invalid value: 31111" in await refused(api, service("twice", *ports, type="NodePort"))


async def test_load_balancers(api: Api) -> None:
    """Load balancers: node ports or none, a health check port, a class that stays, source ranges; all cleared after."""
    made = await api.create(SERVICES, service("a", type="LoadBalancer", externalTrafficPolicy="Local"))
    spec = made["spec"]
    assert spec["allocateLoadBalancerNodePorts"] is True and spec["ports"][0]["nodePort"]
    assert 30000 <= spec["healthCheckNodePort"] <= 32767
    none = service("b", type="LoadBalancer", allocateLoadBalancerNodePorts=False, loadBalancerClass="example.com/lb")
    none["spec"]["loadBalancerSourceRanges"] = ["10.0.0.0/8"]
    spec = (await api.create(SERVICES, none))["spec"]
    assert "nodePort" not in spec["ports"][0] and "healthCheckNodePort" not in spec
    answer = await api.patch(f"{SERVICES}/b", {"spec": {"loadBalancerClass": "example.com/other"}})
    assert answer.status == 422 and "spec.loadBalancerClass" in answer.tree["message"]
    assert "may not change once set" in answer.tree["message"]
    answer = await api.patch(f"{SERVICES}/a", {"spec": {"healthCheckNodePort": 32000}})
    assert "spec.healthCheckNodePort: Forbidden: field is immutable" in answer.tree["message"]
    state = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    answer = await api.patch(f"{SERVICES}/a/status", state)
    assert answer.tree["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    gone = {"spec": {"type": "ClusterIP", "loadBalancerSourceRanges": None}}
    after = await change(api, "a", gone)
    left = {"allocateLoadBalancerNodePorts", "healthCheckNodePort", "externalTrafficPolicy"} & after["spec"].keys()
    assert not left and after["status"] == {"loadBalancer": {}}
    for field, value, where in (
        ("allocateLoadBalancerNodePorts", True, "spec.allocateLoadBalancerNodePorts"),
        ("loadBalancerClass", "a/b", "spec.loadBalancerClass"),
        ("loadBalancerSourceRanges", ["1.0.0.0/8"], "spec.LoadBalancerSourceRanges"),
    ):
        text = await refused(api, service("c", **{field: value}))
        assert f"{where}: Forbidden: may only be used when `type` is 'LoadBalancer'" in text
    text = await refused(api, service("c", healthCheckNodePort=31000))
    assert "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'" in text
    text = await refused(api, service("c", externalTrafficPolicy="Local"))
    assert "may only be set for externally-accessible services" in text
    lone = service("c", externalTrafficPolicy="Local", externalIPs=["203.0.113.9"])
    assert (await api.create(SERVICES, lone))["spec"]["externalTrafficPolicy"] == "Local"


async def test_families_on_a_single_stack(api: Api) -> None:
    """Two families are preferred in vain, demanded with a refusal, and named where nothing is allocated."""
    spec = (await api.create(SERVICES, service("a", ipFamilyPolicy="PreferDualStack")))["spec"]
    assert spec["ipFamilies"] == ["IPv4"] and len(spec["clusterIPs"]) == 1
    text = await refused(api, service("b", ipFamilyPolicy="RequireDualStack"))
    assert text == (
        'Service "b" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
        "this cluster is not configured for dual-stack services"
    )
    text = await refused(api, service("b", ipFamilies=["IPv6"]))
    assert 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster' in text
    text = await refused(api, service("b", clusterIP="fd00::1", clusterIPs=["fd00::1"]))
    assert "IPv6 is not configured on this cluster" in text
    text = await refused(api, service("b", ipFamilies=["IPv4", "IPv6"]))
    assert "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified" in text
    text = await refused(api, service("b", clusterIPs=["10.96.4.4"]))
    assert "must be empty when `clusterIP` is not specified" in text
    text = await refused(api, service("b", clusterIP="10.96.4.4", clusterIPs=["10.96.4.5"]))
    assert "first value must match `clusterIP`" in text
    text = await refused(api, service("b", clusterIP="10.96.4.4", clusterIPs=["10.96.4.4", "10.96.4.5"]))
    assert "may specify no more than one IP for each IP family" in text
    bare = service("c", clusterIP="None", selector=None)
    spec = (await api.create(SERVICES, bare))["spec"]
    assert spec["ipFamilyPolicy"] == "RequireDualStack" and spec["ipFamilies"] == ["IPv4", "IPv6"]
    spec = (await api.create(SERVICES, service("d", clusterIP="None")))["spec"]
    assert spec["clusterIPs"] == ["None"] and spec["ipFamilies"] == ["IPv4"]
    text = await refused(api, service("e", type="NodePort", clusterIP="None"))
    assert "may not be set to 'None' for NodePort services" in text


async def test_an_address_stays(api: Api) -> None:
    """Updates that leave the address out keep it, others are refused; old clients know clusterIP alone."""
    made = await api.create(SERVICES, service("a"))
    address = made["spec"]["clusterIP"]
    for field in ("clusterIP", "clusterIPs"):
        del made["spec"][field]
    kept = await api.put(f"{SERVICES}/a", made)
    assert kept["spec"]["clusterIP"] == address and kept["spec"]["clusterIPs"] == [address]
    answer = await api.patch(f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.7.7"}})
    assert answer.status == 422
    text = 'spec.clusterIPs[0]: Invalid value: ["10.96.7.7"]: may not change once set'
    assert text in answer.tree["message"] and "10.96.7.7" not in await held(api)
    answer = await api.patch(f"{SERVICES}/a", {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})
    assert answer.status == 422 and "may not change once set" in answer.tree["message"]


async def test_affinity_and_policies(api: Api) -> None:
    """Session affinity has a timeout while it lasts; policies and distributions have their values."""
    spec = (await api.create(SERVICES, service("a", sessionAffinity="ClientIP")))["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    spec = (await change(api, "a", {"spec": {"sessionAffinity": "None"}}))["spec"]
    assert "sessionAffinityConfig" not in spec
    config = {"clientIP": {"timeoutSeconds": 90000}}
    text = await refused(api, service("b", sessionAffinity="ClientIP", sessionAffinityConfig=config))
    assert "must be greater than 0 and less than 86400" in text
    for field, value in (
        ("sessionAffinity", "Cookie"),
        ("internalTrafficPolicy", "Near"),
        ("trafficDistribution", "Far"),
        ("type", "Magic"),
        ("ipFamilyPolicy", "Triple"),
    ):
        text = await refused(api, service("b", **{field: value}))
        assert f'spec.{field}: Unsupported value: "{value}": supported values: ' in text, text
    answer = await api.send("POST", SERVICES, service("c", trafficDistribution="PreferClose", externalName="x.y"))
    assert 'use \\"PreferSameZone\\"' in answer.headers["warning"]
    assert "spec.externalName is ignored" in answer.headers["warning"]


async def test_external_names_and_outside_addresses(api: Api) -> None:
    """Names with wildcards or dots in a row, and outside addresses of this host or link, are refused (B15)."""
    for name in ("*.example.com", "a..b", "-a", "a_b", "x" * 254):
        await refused(api, service("a", type="ExternalName", externalName=name))
    text = await refused(api, service("a", type="ExternalName"))
    assert "spec.externalName: Required value" in text
    text = await refused(api, service("a", type="ExternalName", externalName="a.b", clusterIP="10.96.0.9"))
    assert "spec.clusterIPs: Forbidden: may not be set for ExternalName services" in text
    loop = service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local.")
    assert (await api.send("POST", SERVICES, loop)).status == 201
    for address, why in (
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("::1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.169.254", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("::ffff:127.0.0.1", "must not be an IPv4-mapped IPv6 address"),
        ("010.0.0.1", "must not have leading 0s"),
    ):
        assert why in await refused(api, service("a", externalIPs=[address]))


async def test_ten_thousand_ports(api: Api) -> None:
    """A service of very many ports is taken or refused, and does not disturb the others (B15)."""
    ports = [{"name": f"p{n}", "port": n} for n in range(1, 10001)]
    assert (await api.send("POST", SERVICES, service("many", *ports))).status == 201
    assert "range is full" in await refused(api, service("more", *ports, type="NodePort"), 500)
    spec = (await api.create(SERVICES, service("one", type="NodePort")))["spec"]
    assert spec["ports"][0]["nodePort"]


async def test_status_lifecycle(api: Api) -> None:
    """A service's status is patched and replaced by itself, conditions too (conformance 230)."""
    made = await api.create(SERVICES, service("a", type="LoadBalancer"))
    assert made["status"] == {"loadBalancer": {}}
    state = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}, "metadata": {"annotations": {"p": "y"}}}
    patched = (await api.patch(f"{SERVICES}/a/status", state)).tree
    assert patched["metadata"]["annotations"] == {"p": "y"}
    condition = {
        "type": "StatusUpdate",
        "status": "True",
        "reason": "E2E",
        "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patched["status"]["conditions"] = [condition]
    patched["spec"]["sessionAffinity"] = "ClientIP"
    replaced = await api.put(f"{SERVICES}/a/status", patched)
    assert replaced["status"]["conditions"] == [condition] and replaced["spec"]["sessionAffinity"] == "None"
    assert (await api.get(f"{SERVICES}/a/status"))["status"] == replaced["status"]
    for ingress, why in (
        ({"ip": "x"}, "must be a valid IP address"),
        ({"hostname": "10.0.0.1"}, "must be a DNS name, not an IP address"),
        ({"hostname": "a", "ipMode": "VIP"}, "may not be specified when `ip` is not set"),
    ):
        answer = await api.patch(f"{SERVICES}/a/status", {"status": {"loadBalancer": {"ingress": [ingress]}}})
        assert answer.status == 422 and why in answer.tree["message"]
    await api.create(SERVICES, service("b"))
    answer = await api.patch(f"{SERVICES}/b/status", {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}})
    assert "may only be used when `spec.type` is 'LoadBalancer'" in answer.tree["message"]
    await api.delete(f"{SERVICES}/a")
    assert (await api.send("GET", f"{SERVICES}/a")).status == 404


async def test_collections(api: Api) -> None:
    """Services are found over all namespaces and deleted by label, with what they hold (231, 232)."""
    for name in ("a", "b", "c"):
        body = service(name, type="NodePort")
        body["metadata"]["labels"] = {"e2e": "yes" if name != "c" else "no"}
        await api.create(SERVICES, body)
    everywhere = (await api.get("/api/v1/services"))["items"]
    assert {"kubernetes", "a", "b", "c"} <= {s["metadata"]["name"] for s in everywhere}
    assert (await api.send("DELETE", f"{SERVICES}?labelSelector=e2e=yes")).status == 200
    left = {s["metadata"]["name"] for s in (await api.get(SERVICES))["items"]}
    assert left == {"kubernetes", "c"} and set((await held(api)).values()) == {"kubernetes", "c"}
    found = (await api.get("/api/v1/services?fieldSelector=spec.type=NodePort"))["items"]
    assert [s["metadata"]["name"] for s in found] == ["c"]


async def test_a_held_service_keeps_its_address(api: Api) -> None:
    """While a finalizer holds a deleted service its address is taken; with the last finalizer it is free."""
    body = service("a", type="NodePort")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    made = await api.create(SERVICES, body)
    await api.delete(f"{SERVICES}/a")
    address = made["spec"]["clusterIP"]
    assert address in await held(api)
    await api.patch(f"{SERVICES}/a", {"metadata": {"finalizers": None}})
    assert address not in await held(api)
    port = made["spec"]["ports"][0]["nodePort"]
    await api.create(SERVICES, service("b", {"port": 80, "nodePort": port}, type="NodePort", clusterIP=address))


async def test_a_dry_run_takes_nothing(api: Api) -> None:
    """A dry run shows an address and a port, and keeps neither."""
    answer = await api.send("POST", f"{SERVICES}?dryRun=All", service("a", type="NodePort"))
    spec = answer.tree["spec"]
    assert answer.status == 201 and spec["ports"][0]["nodePort"]
    assert spec["clusterIP"] not in await held(api)
    port = {"port": 80, "nodePort": spec["ports"][0]["nodePort"]}
    await api.create(SERVICES, service("b", port, type="NodePort", clusterIP=spec["clusterIP"]))


@pytest.mark.parametrize("strategy", ["merge", "strategic", "apply"])
async def test_types_change_by_every_patch(api: Api, strategy: str) -> None:
    """Each kind of patch turns a ClusterIP service into a node port."""
    await api.create(SERVICES, service("a"))
    body: Tree = {"spec": {"type": "NodePort"}}
    query = ""
    if strategy == "apply":
        body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "a"}, **body}
        query = "?fieldManager=t&force=true"
    answer = await api.patch(f"{SERVICES}/a{query}", body, strategy)
    assert answer.status == 200 and answer.tree["spec"]["ports"][0]["nodePort"], answer.body
