"""Endpoints over slices: each once, none too full, and nothing changed without need; bounds of Endpoints and mirrors."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.control import endpoint_slices, topology_hints
from sampan.control.endpoint_slices import Slices
from sampan.control.plan import Create, Plan
from sampan.control.view import Snapshot, View
from sampan.controllers import endpoint_slice_mirroring, endpoints

Tree = dict[str, Any]
LARGEST = 4
BLANK: Tree = {"metadata": {"generateName": "web-", "labels": {}}, "addressType": "IPv4", "endpoints": [], "ports": []}


def endpoint(number: int, *, ready: bool = True, zone: str = "") -> Tree:
    made: Tree = {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": ready}}
    return made | ({"zone": zone} if zone else {})


def slice_(name: str, *numbers: int) -> Tree:
    return {**BLANK, "metadata": {"name": name, "labels": {}}, "endpoints": [endpoint(n) for n in numbers]}


def numbers(slices: list[Tree]) -> list[int]:
    return [int(e["addresses"][0].rpartition(".")[2]) for s in slices for e in s["endpoints"]]


def arranged(present: list[Tree], wanted: set[int]) -> Slices:
    by_identity = endpoint_slices.by_identity(endpoint(n) for n in sorted(wanted))
    return endpoint_slices.arranged(present, by_identity, BLANK, LARGEST)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sets(st.integers(1, 40), max_size=LARGEST), max_size=6), st.sets(st.integers(1, 40)))
def test_each_endpoint_is_in_one_slice(present: list[set[int]], wanted: set[int]) -> None:
    """Whatever was there before; a second look changes nothing."""
    before = [slice_(f"s{index}", *sorted(content)) for index, content in enumerate(present)]
    found = arranged(before, wanted)
    after = [*found.new, *found.changed, *found.kept]
    assert sorted(numbers(after)) == sorted(wanted)
    assert all(len(s["endpoints"]) <= LARGEST for s in after)
    there = [s["metadata"]["name"] for s in (*found.changed, *found.kept, *found.gone)]
    assert sorted(there) == sorted(s["metadata"]["name"] for s in before)
    assert all(s in before for s in found.kept)
    named = [{**s, "metadata": {"name": f"n{index}", "labels": {}}} for index, s in enumerate(after)]
    again = arranged([s for s in named if s["endpoints"]], wanted)
    assert (again.new, again.changed, again.gone) == ([], [], [])


def test_what_changes_anyway_is_filled_first_the_fullest_before_others() -> None:
    """A slice that need not change is left alone though it has room."""
    found = arranged([slice_("a", 1), slice_("b", 2, 3, 4), slice_("c", 5, 6, 7)], {1, 2, 3, 5, 8, 9})
    assert {s["metadata"]["name"]: numbers([s]) for s in found.changed} == {"b": [2, 3, 8, 9], "c": [5]}
    assert [numbers([s]) for s in found.kept] == [[1]]


def test_new_ones_go_together_or_into_a_new_slice() -> None:
    """Into the fullest that has room for all of them."""
    there = [slice_("a", 1), slice_("b", 2, 3)]
    assert [numbers([s]) for s in arranged(there, {1, 2, 3, 4}).changed] == [[2, 3, 4]]
    found = arranged(there, {1, 2, 3, 4, 5, 6, 7})
    assert ([numbers([s]) for s in found.new], found.changed) == ([[4, 5, 6, 7]], [])


# Topology


def node(zone: str, cpu: str, **labels: str) -> Tree:
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": zone, "labels": {topology_hints.ZONE: zone, **labels}}, "status": status}


def test_nodes_of_the_control_plane_and_unready_ones_have_no_share() -> None:
    """Zones share by the CPUs of the others."""
    control = node("c", "8", **{"node-role.kubernetes.io/control-plane": ""})
    unready = {**node("d", "8"), "status": {"allocatable": {"cpu": "8"}}}
    assert topology_hints.shares([node("a", "1"), node("b", "3"), control, unready]) == {"a": 0.25, "b": 0.75}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=2, max_size=4), st.lists(st.integers(0, 3), max_size=24))
def test_no_zone_gets_less_than_its_share_but_a_fifth(cpus: list[int], zones: list[int]) -> None:
    """Or there are no hints at all, and it is told why."""
    listed = [endpoint(i, zone=f"z{zone % len(cpus)}") for i, zone in enumerate(zones)]
    slices = Slices(new=[{**BLANK, "endpoints": listed}])
    nodes = [node(f"z{index}", str(cpu)) for index, cpu in enumerate(cpus)]
    (told,) = topology_hints.distribute(slices, nodes, "IPv4")
    hints = [e["hints"]["forZones"][0]["name"] for e in slices.new[0]["endpoints"] if "hints" in e]
    if told.reason == "TopologyAwareHintsDisabled":
        assert not hints
        return
    assert len(hints) == len(listed)
    given_to = Counter(hints)
    for zone, share in topology_hints.shares(nodes).items():
        assert given_to[zone] + 1 > share * len(listed) / 1.2


def test_an_endpoint_without_a_zone_ends_it() -> None:
    """As nobody knows for whom it is."""
    slices = Slices(new=[{**BLANK, "endpoints": [endpoint(1, zone="a"), endpoint(2)]}])
    (told,) = topology_hints.distribute(slices, [node("a", "1"), node("b", "1")], "IPv6")
    assert told.message == "One or more endpoints do not have a zone specified, addressType: IPv6"
    assert not any("hints" in e for e in slices.new[0]["endpoints"])


# Bounds


def view(*objects: Tree) -> View:
    kinds = {"Service": "services", "Pod": "pods", "Endpoints": "endpoints"}
    sources = {plural: Snapshot([o for o in objects if o["kind"] == kind]) for kind, plural in kinds.items()}
    return View({**sources, "endpointslices.discovery.k8s.io": Snapshot([])})


def service(**spec: Any) -> Tree:
    metadata = {"name": "web", "namespace": "default", "uid": "s", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.1", **spec}}


def pod(number: int, ready: bool) -> Tree:
    metadata = {"name": f"p{number:04}", "namespace": "default", "uid": str(number), "labels": {"app": "web"}}
    status = {"podIP": f"10.1.{number // 256}.{number % 256}", "phase": "Running"}
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "n"},
        "status": status | {"conditions": conditions},
    }


def made(plan: Plan) -> Tree:
    (write,) = plan.writes
    assert isinstance(write, Create)
    return write.obj


@pytest.mark.parametrize(
    ("ready", "others", "left"), [(600, 600, (600, 400)), (1200, 5, (1000, 0)), (900, 100, (900, 100))]
)
def test_endpoints_hold_a_thousand_addresses(ready: int, others: int, left: tuple[int, int]) -> None:
    """Ready ones first; an annotation tells that there are more."""
    pods = [pod(number, number < ready) for number in range(ready + others)]
    found = made(endpoints.reconcile(view(service(selector={"app": "web"}), *pods), ("default", "web"), 0.0))
    (subset,) = found["subsets"]
    assert (len(subset.get("addresses", ())), len(subset.get("notReadyAddresses", ()))) == left
    is_told = found["metadata"]["annotations"].get("endpoints.kubernetes.io/over-capacity") == "truncated"
    assert is_told == (ready + others > 1000)
    again = {**found, "metadata": {**found["metadata"], "uid": "e", "resourceVersion": "1"}}
    everything = view(service(selector={"app": "web"}), *pods, again)
    assert endpoints.reconcile(everything, ("default", "web"), 0.0).writes == ()


def test_a_mirror_holds_a_thousand_addresses_of_a_subset() -> None:
    """What is left out is told."""
    addresses = [{"ip": f"10.1.{number // 256}.{number % 256}"} for number in range(1003)]
    subsets = [{"addresses": addresses, "ports": [{"port": 80, "protocol": "TCP"}]}]
    metadata = {"name": "web", "namespace": "default", "uid": "e"}
    seen = view(service(), {"kind": "Endpoints", "metadata": metadata, "subsets": subsets})
    plan = endpoint_slice_mirroring.reconcile(seen, ("default", "web"), 0.0)
    assert len(made(plan)["endpoints"]) == 1000
    text = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped"
    assert [(e.reason, e.message) for e in plan.events] == [("TooManyAddressesToMirror", text)]
