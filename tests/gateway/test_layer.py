"""The layer in a simulated cluster: definitions, addresses and conditions as clients see them."""

from typing import Any

import pytest

from sampan.gateway import kinds, proxy
from sampan.meta import conditions
from sampan.meta.status import ApiError
from sampan.testing.cluster import Cluster
from tests.gateway.world import gateway, listener, route, service, to


def typed(obj: dict[str, Any]) -> dict[str, Any]:
    known = {kind.name: kind.api_version for kind in (kinds.GATEWAY, *kinds.ROUTES, kinds.REFERENCEGRANT)}
    known |= {"Service": "v1", "Ingress": "networking.k8s.io/v1"}
    return {"apiVersion": known[obj["kind"]], **obj}


def test_gateways_and_routes_get_addresses_and_conditions() -> None:
    """A Gateway is programmed once its Service has an address; the route that is attached is counted and accepted."""
    with Cluster(layers=["gateway"]) as cluster:
        cluster.wait_for("gatewayclass/sampan", "Accepted")
        cluster.create(
            typed(gateway(listener(), listener("tls", 443, "HTTPS", tls={"certificateRefs": [{"name": "none"}]})))
        )
        cluster.create(typed(service("web")))
        cluster.create(typed(route({"backendRefs": [to("web")]})))
        cluster.wait_for("gateway/main", "Programmed")
        cluster.wait_for("httproute/web", lambda found: bool((found.get("status") or {}).get("parents")))
        found = cluster.get("gateway/main")["status"]
        assert [a["type"] for a in found["addresses"]] == ["IPAddress"]
        by_name = {entry["name"]: entry for entry in found["listeners"]}
        assert by_name["web"]["attachedRoutes"] == 1
        assert conditions.is_true(by_name["web"], "Programmed")
        assert conditions.find(by_name["tls"]["conditions"], "ResolvedRefs")["reason"] == "InvalidCertificateRef"
        assert conditions.find(found["conditions"], "Accepted")["reason"] == "ListenersNotValid"
        (parent,) = cluster.get("httproute/web")["status"]["parents"]
        assert [conditions.status_of(parent, type_) for type_ in ("Accepted", "ResolvedRefs")] == ["True", "True"]
        before = cluster.get("service/main-sampan")
        assert proxy.ports(before) == {80: proxy.FIRST_PORT}
        cluster.delete("service/web")
        cluster.wait_for(
            "httproute/web", lambda found: conditions.is_false(found["status"]["parents"][0], "ResolvedRefs")
        )
        cluster.delete("gateway/main")
        cluster.advance(60)
        assert cluster.get("service/main-sampan") is None


def test_an_ingress_is_reached_through_the_service_that_all_share() -> None:
    """It is there as long as there is any."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    ingress = {
        "kind": "Ingress",
        "metadata": {"name": "web"},
        "spec": {"ingressClassName": "sampan", "defaultBackend": backend},
    }
    with Cluster(layers=["gateway"]) as cluster:
        cluster.create(typed(ingress))
        cluster.wait_for("ingress/web", lambda found: bool(found["status"]["loadBalancer"].get("ingress")))
        told = [e for e in cluster.list("events") if e["reason"] == "BackendNotFound"]
        assert [e["message"] for e in told] == ["backend Service default/web is not found"]
        cluster.delete("ingress/web")
        cluster.advance(60)
        assert cluster.get("service/sampan-ingress", namespace="kube-system") is None


SELECTOR = {"matchExpressions": [{"key": "a", "operator": "Foo"}]}
REFUSED = [
    (
        gateway(listener(allowedRoutes={"namespaces": {"from": "Selector", "selector": SELECTOR}})),
        'Unsupported value: "Foo"',
    ),
    (gateway(listener(tls={"certificateRefs": [{"name": "a"}]})), "tls must not be specified for protocols"),
    (gateway(listener("a"), listener("b")), "Combination of port, protocol and hostname must be unique"),
    (route(parents=[{"name": "a"}, {"name": "a", "sectionName": "x"}]), "sectionName or port must be specified"),
    (route({"matches": [{"path": {"value": "a"}}]}), "value must be an absolute path"),
    (
        route({"filters": [{"type": "RequestRedirect", "requestRedirect": {}}], "backendRefs": [to("a")]}),
        "RequestRedirect filter must not be used together with backendRefs",
    ),
    (route({"backendRefs": [{"name": "a"}]}), "Must have port for Service reference"),
    (route({"timeouts": {"request": "1s", "backendRequest": "2s"}}), "backendRequest timeout cannot be longer"),
    (route({"filters": [{"type": "URLRewrite"}]}), "filter.urlRewrite must be specified for URLRewrite filter.type"),
    (
        route({"matches": [{"method": {"service": "a b"}}]}, kind="GRPCRoute"),
        "service must only contain valid characters",
    ),
]


def test_what_makes_no_sense_is_refused() -> None:
    """As the definitions' rules say."""
    with Cluster(layers=["gateway"]) as cluster:
        cluster.wait_for("gatewayclass/sampan", "Accepted")
        for obj, text in REFUSED:
            with pytest.raises(ApiError, match=text):
                cluster.create(typed(obj))
