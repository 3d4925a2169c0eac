"""Ingress, IngressClass, NetworkPolicy and EndpointSlice over HTTP: their whole life, and what is refused."""

from typing import Any

import pytest

from tests.server.conftest import Api, Tree

ROOT = "/apis/networking.k8s.io/v1"
INGRESSES = f"{ROOT}/namespaces/default/ingresses"
CLASSES = f"{ROOT}/ingressclasses"
POLICIES = f"{ROOT}/namespaces/default/networkpolicies"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def ingress(name: str, **spec: Any) -> Tree:
    backend = {"service": {"name": "test-backend", "port": {"number": 80}}}
    return {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name, "labels": {"special-label": name}},
        "spec": {"defaultBackend": backend, **spec},
    }


def ingress_class(name: str, *, default: bool = False, **spec: Any) -> Tree:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "kind": "IngressClass",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name, "annotations": annotations, "labels": {"special-label": "a"}},
        "spec": {"controller": "example.com/controller", **spec},
    }


def policy(name: str, **spec: Any) -> Tree:
    metadata = {"name": name}
    return {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec}


def endpoint_slice(name: str, *addresses: str, **more: Any) -> Tree:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": list(addresses)}],
        "ports": [{"name": "http", "port": 80}],
        **more,
    }


async def life(api: Api, path: str, body: Tree) -> None:
    """Create, read, list, watch, patch, replace, delete, delete a collection: what every API test does."""
    name, label = body["metadata"]["name"], "special-label"
    body["metadata"]["labels"] = {label: "life"}
    made = await api.create(path, body)
    assert await api.get(f"{path}/{name}") == made
    listed = await api.get(f"{path}?labelSelector={label}=life")
    assert [i["metadata"]["uid"] for i in listed["items"]] == [made["metadata"]["uid"]]
    patched = (await api.patch(f"{path}/{name}", {"metadata": {"annotations": {"patched": "true"}}})).tree
    assert patched["metadata"]["annotations"]["patched"] == "true"
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    patched["metadata"]["annotations"]["updated"] = "true"
    updated = await api.put(f"{path}/{name}", patched)
    assert updated["metadata"]["annotations"]["updated"] == "true"
    assert updated["metadata"].get("generation") == made["metadata"].get("generation")
    assert (await api.delete(f"{path}/{name}")).status == 200
    assert (await api.send("GET", f"{path}/{name}")).status == 404
    await api.create(path, body)
    assert (await api.send("DELETE", f"{path}?labelSelector={label}=life")).status == 200
    assert (await api.get(f"{path}?labelSelector={label}=life"))["items"] == []


async def table(api: Api, path: str) -> tuple[list[str], list[list[Any]]]:
    found = await api.get(path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    return [c["name"] for c in found["columnDefinitions"]], [row["cells"] for row in found["rows"]]


async def test_ingress_operations(api: Api) -> None:
    """An Ingress has its whole life, and a status by its own door (conformance 211)."""
    await life(api, INGRESSES, ingress("i"))
    everywhere = await api.get(f"{ROOT}/ingresses")
    assert everywhere["kind"] == "IngressList"
    made = await api.create(INGRESSES, ingress("i"))
    assert made["status"] == {"loadBalancer": {}} and made["metadata"]["generation"] == 1
    state = {"metadata": {"annotations": {"s": "t"}}, "status": {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}}
    answer = await api.patch(f"{INGRESSES}/i/status", state)
    assert answer.tree["status"]["loadBalancer"]["ingress"] == [{"ip": "169.1.1.1"}]
    live = answer.tree
    live["status"]["loadBalancer"]["ingress"] = [{"ip": "169.1.1.2", "hostname": "a.b"}]
    replaced = await api.put(f"{INGRESSES}/i/status", live)
    assert replaced["metadata"]["generation"] == 1
    answer = await api.patch(f"{INGRESSES}/i", {"spec": {"rules": [{"host": "*.example.com"}], "tls": [{}]}})
    assert answer.tree["metadata"]["generation"] == 2
    assert answer.tree["status"] == replaced["status"]
    names, rows = await table(api, INGRESSES)
    assert names == ["Name", "Class", "Hosts", "Address", "Ports", "Age"]
    assert rows[0][:5] == ["i", "<none>", "*.example.com", "169.1.1.2", "80, 443"]
    answer = await api.patch(f"{INGRESSES}/i/status", {"status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}})
    assert answer.status == 422 and "must be a valid IP address" in answer.tree["message"]


def rule(path: str = "/", path_type: str | None = "Prefix", host: str = "a.example", **backend: Any) -> Tree:
    entry: Tree = {"path": path, "backend": backend or {"service": {"name": "s", "port": {"number": 80}}}}
    if path_type is not None:
        entry["pathType"] = path_type
    return {"rules": [{"host": host, "http": {"paths": [entry]}}]}


def backend(**service: Any) -> Tree:
    return rule(service={"name": "s", **service})


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"defaultBackend": None}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (rule(path="x"), 'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'),
        (rule(path="/a//b"), "must not contain '//'"),
        (rule(path="/a/.."), "cannot end with '/..'"),
        (rule(path="/%2Fa", path_type="Exact"), "must not contain '%2F'"),
        (rule(path_type=None), "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"),
        (rule(path_type="Regex"), 'Unsupported value: "Regex"'),
        (rule(host="10.0.0.1"), "must be a DNS name, not an IP address"),
        (rule(host="*.*.com"), "a wildcard DNS-1123 subdomain must start with '*.'"),
        (rule(host="A"), "a lowercase RFC 1123 subdomain must consist of"),
        (backend(), "port name or number is required"),
        (backend(port={"name": "http", "number": 80}), "cannot set both port name & port number"),
        (backend(port={"number": 70000}), "must be between 1 and 65535, inclusive"),
        (backend(name="", port={"number": 80}), "backend.service.name: Required value"),
        (rule(resource={"kind": "", "name": "a/b"}), "backend.resource.kind: Required value"),
        ({"defaultBackend": {}}, "resource or service backend is required"),
        ({"rules": [{"http": {"paths": []}}]}, "spec.rules[0].http.paths: Required value"),
        ({"tls": [{"hosts": ["-"], "secretName": "Bad"}]}, 'spec.tls[0].secretName: Invalid value: "Bad"'),
        ({"ingressClassName": "Bad"}, 'spec.ingressClassName: Invalid value: "Bad"'),
    ],
)
async def test_bad_ingresses(api: Api, spec: Tree, why: str) -> None:
    """Hosts, paths and backends are checked, in upstream's words."""
    body = ingress("i", **spec)
    if body["spec"]["defaultBackend"] is None:
        del body["spec"]["defaultBackend"]
    answer = await api.send("POST", INGRESSES, body)
    assert answer.status == 422 and why in answer.tree["message"], answer.body


async def test_ingress_class_operations(api: Api) -> None:
    """An IngressClass has its whole life; its controller stays (conformance 212)."""
    await life(api, CLASSES, ingress_class("c"))
    parameters = {"apiGroup": "example.com", "kind": "Config", "name": "p"}
    made = await api.create(CLASSES, ingress_class("c", parameters=parameters))
    assert made["spec"]["parameters"]["scope"] == "Cluster" and made["metadata"]["generation"] == 1
    names, rows = await table(api, CLASSES)
    assert names == ["Name", "Controller", "Parameters", "Age"]
    assert rows[0][:3] == ["c", "example.com/controller", "Config.example.com/p"]
    answer = await api.patch(f"{CLASSES}/c", {"spec": {"controller": "example.com/other"}})
    assert "spec.controller: Invalid value" in answer.tree["message"] and "immutable" in answer.tree["message"]
    for spec, why in (
        ({"controller": ""}, "spec.controller: Required value"),
        ({"controller": "plain"}, 'must be a domain-prefixed path (such as "acme.io/foo")'),
        ({"controller": "example.com/a b"}, "Invalid path (regex used for validation is"),
        ({"controller": "example.com/" + "x" * 250}, "may not be more than 250 bytes"),
        ({"parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}, "`parameters.scope` is set to 'Namespace'"),
        ({"parameters": {"kind": "K", "name": "n", "namespace": "a"}}, "`parameters.scope` is set to 'Cluster'"),
        ({"parameters": {"name": "n", "scope": "Galaxy"}}, 'supported values: "Cluster", "Namespace"'),
    ):
        answer = await api.send("POST", CLASSES, ingress_class("d", **spec))
        assert answer.status == 422 and why in answer.tree["message"], answer.body


async def test_the_newest_default_class(api: Api) -> None:
    """An Ingress without a class gets the newest default one; a named class, or the old annotation, stays."""
    assert "ingressClassName" not in (await api.create(INGRESSES, ingress("a")))["spec"]
    await api.create(CLASSES, ingress_class("plain"))
    await api.create(CLASSES, ingress_class("old", default=True))
    assert (await api.create(INGRESSES, ingress("b")))["spec"]["ingressClassName"] == "old"
    api.clock.time += 10
    await api.create(CLASSES, ingress_class("new", default=True))
    assert (await api.create(INGRESSES, ingress("c")))["spec"]["ingressClassName"] == "new"
    assert (await api.create(INGRESSES, ingress("d", ingressClassName="x")))["spec"]["ingressClassName"] == "x"
    annotated = ingress("e")
    annotated["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "nginx"}
    assert "ingressClassName" not in (await api.create(INGRESSES, annotated))["spec"]
    annotated = ingress("f", ingressClassName="x")
    annotated["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "y"}
    answer = await api.send("POST", INGRESSES, annotated)
    assert "must match `ingressClassName` when both are specified" in answer.tree["message"]


async def test_network_policies(api: Api) -> None:
    """A NetworkPolicy has its whole life, and the types that its rules mean."""
    await life(api, POLICIES, policy("p", podSelector={}))
    spec = {"podSelector": {"matchLabels": {"a": "b"}}, "egress": [{"ports": [{"port": 53, "endPort": 60}]}]}
    made = await api.create(POLICIES, policy("p", **spec))
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"] and made["metadata"]["generation"] == 1
    assert made["spec"]["egress"][0]["ports"][0]["protocol"] == "TCP"
    names, rows = await table(api, POLICIES)
    assert (names, rows[0][:2]) == (["Name", "Pod-Selector", "Age"], ["p", "a=b"])
    assert (await api.create(POLICIES, policy("q", podSelector={})))["spec"]["policyTypes"] == ["Ingress"]


def peer(**given: Any) -> Tree:
    return {"ingress": [{"from": [given]}]}


def port(**given: Any) -> Tree:
    return {"egress": [{"ports": [given]}]}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (peer(), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}), "may not specify both ipBlock and another peer"),
        (peer(ipBlock={"cidr": ""}), "spec.ingress[0].from[0].ipBlock.cidr: Required value"),
        (peer(ipBlock={"cidr": "10.0.0.1/8"}), "must not have bits set beyond the prefix length"),
        (peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}), "must be a strict subset of `cidr`"),
        (peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}), "must be a strict subset of `cidr`"),
        (peer(podSelector={"matchExpressions": [{"key": "a", "operator": "Is"}]}), "not a valid selector operator"),
        (port(protocol="ICMP"), 'supported values: "SCTP", "TCP", "UDP"'),
        (port(port=80, endPort=79), "must be greater than or equal to `port`"),
        (port(port="http", endPort=79), "may not be specified when `port` is non-numeric"),
        (port(endPort=79), "may not be specified when `port` is not specified"),
        ({"policyTypes": ["Sideways"]}, 'spec.policyTypes[0]: Unsupported value: "Sideways"'),
        ({"policyTypes": ["Ingress", "Egress", "Ingress"]}, "may not specify more than two policyTypes"),
    ],
)
async def test_bad_policies(api: Api, spec: Tree, why: str) -> None:
    """Peers, blocks and ports are checked, in upstream's words."""
    answer = await api.send("POST", POLICIES, policy("p", **{"podSelector": {}, **spec}))
    assert answer.status == 422 and why in answer.tree["message"], answer.body


async def test_endpoint_slice_operations(api: Api) -> None:
    """An EndpointSlice has its whole life; changed labels and endpoints count, its address type stays (205)."""
    await life(api, SLICES, endpoint_slice("e", "10.0.0.1"))
    made = await api.create(SLICES, endpoint_slice("e", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"))
    assert made["ports"][0]["protocol"] == "TCP" and made["metadata"]["generation"] == 1
    names, rows = await table(api, SLICES)
    assert names == ["Name", "AddressType", "Ports", "Endpoints", "Age"]
    row = next(row for row in rows if row[0] == "e")
    assert row[1:4] == ["IPv4", "80", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."]
    labelled = await api.patch(f"{SLICES}/e", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.tree["metadata"]["generation"] == 2
    moved = await api.patch(f"{SLICES}/e", {"endpoints": [{"addresses": ["10.0.0.9"]}]})
    assert moved.tree["metadata"]["generation"] == 3
    answer = await api.patch(f"{SLICES}/e", {"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]})
    assert answer.status == 422 and "addressType: Invalid value" in answer.tree["message"]
    answer = await api.send("POST", SLICES, endpoint_slice("f", "a.example", addressType="FQDN"))
    assert answer.status == 201 and "FQDN endpoints are deprecated" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.169.254", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.9", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("::1", "must be an IPv4 address"),
        ("::ffff:127.0.0.1", "must not be an IPv4-mapped IPv6 address"),
        ("0x7f.1", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("010.0.0.1", "must not have leading 0s"),
    ],
)
async def test_endpoints_that_lead_home(api: Api, address: str, why: str) -> None:
    """No slice leads to this host, or this link, in any spelling (B15)."""
    answer = await api.send("POST", SLICES, endpoint_slice("e", address))
    assert answer.status == 422 and why in answer.tree["message"], answer.body
    made = await api.create(SLICES, endpoint_slice("e", "10.0.0.1"))
    made["endpoints"][0]["addresses"] = [address]
    assert (await api.send("PUT", f"{SLICES}/e", made)).status == 422


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"addressType": "IPX"}, 'addressType: Unsupported value: "IPX"'),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses: Required value: must contain at least 1 address"),
        ({"endpoints": [{"addresses": ["10.0.0.1"] * 101}]}, "must have at most 100 items"),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
            "endpoints: Too many: 1001: must have at most 1000 items",
        ),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "hostname": "a.b"}]}, "endpoints[0].hostname: Invalid value"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "A"}]}, "endpoints[0].nodeName: Invalid value"),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}]},
            'endpoints[0].hints.forZones[1].name: Duplicate value: "a"',
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forNodes": [{"name": "n"}] * 9}}]},
            "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
        ),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, 'ports[1].name: Duplicate value: "a"'),
        ({"ports": [{"name": "A_"}]}, "ports[0].name: Invalid value"),
        ({"ports": [{"protocol": "ICMP"}]}, 'ports[0].protocol: Unsupported value: "ICMP"'),
        ({"ports": [{"appProtocol": "a b"}]}, "ports[0].appProtocol: Invalid value"),
    ],
)
async def test_bad_slices(api: Api, more: Tree, why: str) -> None:
    """Counts, hints, names and ports are checked, in upstream's words."""
    answer = await api.send("POST", SLICES, {**endpoint_slice("e", "10.0.0.1"), **more})
    assert answer.status == 422 and why in answer.tree["message"], answer.body
