"""Envoy's ports: what users write into Services and Gateways takes none from anybody else."""

from typing import Any

import pytest

from sampan.control.plan import Create, Update
from sampan.gateway import build, gateway_status, kinds, proxy
from sampan.kinds.core.service import SERVICE
from sampan.meta import conditions
from tests.gateway import world
from tests.gateway.world import gateway, gateway_class, listener, route, service_before, to

FIRST, LAST = proxy.FIRST_PORT, proxy.LAST_PORT - 1


def entrances(*objects: Any, before: Any = None) -> list[tuple[str, int]]:
    planned = build.plan(world.view([gateway_class(), *objects]), before)
    return [(entrance.name, entrance.port) for entrance in planned.entrances]


def test_only_the_service_of_the_gateway_says_its_ports() -> None:
    """And only ports that are for Gateways: not the Ingresses', nor any other of the host."""
    door = gateway()
    for port in (FIRST, LAST):
        assert entrances(door, service_before(door, p80=port)) == [("default/main/80", port)]
    foreign = service_before(door, p80=FIRST)
    foreign["metadata"].pop("ownerReferences")
    assert entrances(door, foreign) == []
    for port in (*proxy.INGRESS_PORTS.values(), 22, FIRST - 1, LAST + 1):
        assert entrances(door, service_before(door, p80=port)) == []


def test_a_port_is_served_for_one_gateway() -> None:
    """Who has it keeps it; else the older one has it."""
    old, new = gateway(name="z"), gateway(name="a")
    new["metadata"]["creationTimestamp"] = "2026-02-02T00:00:00Z"
    services = [service_before(old, p80=FIRST), service_before(new, p80=FIRST)]
    assert entrances(old, new, *services) == [("default/z/80", FIRST)]
    before = build.plan(world.view([gateway_class(), new, services[1]]))
    assert entrances(old, new, *services, before=before) == [("default/a/80", FIRST)]
    both = gateway(listener(), listener("alt", 81), name="b")
    assert entrances(both, service_before(both, p80=FIRST, p81=FIRST)) == [("default/b/80", FIRST)]


def stranger(*ports: int) -> dict[str, Any]:
    listed = [{"name": f"p{port}", "port": port, "targetPort": port} for port in ports]
    return {"kind": "Service", "metadata": {"name": "evil", "labels": proxy.OURS}, "spec": {"ports": listed}}


def test_services_that_only_look_like_ours_take_no_port() -> None:
    """Neither one with our label nor more ports in a Gateway's own than it has listeners move another."""
    door, other = world.complete(gateway()), world.complete(gateway(name="other"))
    own = service_before(door, p80=FIRST)
    greedy = service_before(other, **{f"p{port}": port for port in range(FIRST, LAST + 1)})
    view = world.view([gateway_class(), door, other, own, greedy, stranger(FIRST)])
    assert proxy.assigned(view, door, [80]) == {80: FIRST}
    claiming = world.view([gateway_class(), door, other, own, service_before(other, p80=FIRST)])
    assert proxy.assigned(claiming, other, [80]) == {80: FIRST + 1}


def test_a_port_that_cannot_be_given_is_a_fault_of_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so; the others are served."""
    monkeypatch.setattr(proxy, "LAST_PORT", FIRST + 1)
    door = gateway(listener(), listener("alt", 81))
    plan = gateway_status.reconcile(world.view([gateway_class(), door]), ("default", "main"), 0.0)
    (made,) = [write.obj for write in plan.writes if isinstance(write, Create) and write.kind is SERVICE]
    assert proxy.ports(made) == {80: FIRST}
    assert "loadBalancerIP" not in made["spec"]
    (said,) = [write.obj for write in plan.writes if isinstance(write, Update) and write.kind is kinds.GATEWAY]
    web, alt = said["status"]["listeners"]
    assert conditions.find(web["conditions"], "Accepted")["status"] == "True"
    assert conditions.find(alt["conditions"], "Accepted")["reason"] == "PortUnavailable"
    assert conditions.find(alt["conditions"], "Programmed")["status"] == "False"


def test_an_address_that_is_no_longer_asked_for_is_given_back() -> None:
    """spec.addresses is removed: so is loadBalancerIP."""
    door = gateway()
    service = service_before(door, p80=FIRST)
    service["spec"]["loadBalancerIP"] = "10.0.0.9"
    view = world.view([gateway_class(), door, service])
    plan = gateway_status.reconcile(view, ("default", "main"), 0.0)
    (changed,) = [write.obj for write in plan.writes if isinstance(write, Update) and write.kind is SERVICE]
    assert "loadBalancerIP" not in changed["spec"]


SELECTING = {"namespaces": {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]}}}


def test_a_selector_that_makes_no_sense_stops_nothing_else() -> None:
    """Its listener is not accepted; all others are served."""
    bad = gateway(listener(allowedRoutes=SELECTING), name="bad")
    good = gateway()
    services = [service_before(bad, p80=FIRST), service_before(good, p80=LAST)]
    routes = [route({"backendRefs": [to("a")]}, parents=[{"name": name}], name=name) for name in ("bad", "main")]
    assert entrances(bad, good, *services, *routes) == [("default/main/80", LAST)]
    plan = gateway_status.reconcile(world.view([gateway_class(), bad, *routes]), ("default", "bad"), 0.0)
    (said,) = [write.obj for write in plan.writes if isinstance(write, Update) and write.kind is kinds.GATEWAY]
    accepted = conditions.find(said["status"]["listeners"][0]["conditions"], "Accepted")
    assert (accepted["reason"], "Foo" in accepted["message"]) == ("UnsupportedValue", True)


def test_what_cannot_be_planned_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A route or a Gateway that nobody foresaw; it is told in the log."""
    odd_route = route({"backendRefs": [to("a")]}, name="odd")
    odd_route["spec"]["rules"] = [{"filters": [{}]}]
    odd = gateway(name="odd")
    odd["spec"]["listeners"] = [{"name": "web", "port": 80}]
    good = gateway()
    services = [service_before(odd, p80=FIRST), service_before(good, p80=LAST)]
    given = [odd, good, *services, odd_route, route({"backendRefs": [to("a")]})]
    planned = build.plan(world.view([gateway_class(), *given]))
    (entrance,) = planned.entrances
    assert [found.name for found in entrance.doors[0].hosts[0].routes] == ["web"]
    assert "Gateway default/odd is left out" in caplog.text
    assert "HTTPRoute default/odd is left out" in caplog.text
