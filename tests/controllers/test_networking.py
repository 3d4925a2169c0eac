"""ServiceCIDRs, IPAddresses and FlowSchemas: what their controllers want, from what they see."""

from typing import Any

from sampan.control.controller import Controller
from sampan.control.plan import Ask, Create, Delete, Patch, Plan, Update
from sampan.control.view import Snapshot, View
from sampan.controllers import flow_schema, ip_address, service_cidr
from sampan.kinds.core.service import SERVICE
from sampan.kinds.flowcontrol.flow_schema import FLOWSCHEMA
from sampan.kinds.flowcontrol.priority_level_configuration import PRIORITYLEVELCONFIGURATION
from sampan.kinds.kind import Kind
from sampan.kinds.networking import ip_address as kind
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.networking.service_cidr import FINALIZER, SERVICECIDR
from sampan.kit.frozen import freeze
from sampan.meta import conditions, objects

NOW = 1_767_225_600.0
Tree = dict[str, Any]


def meta(name: str, namespace: str = "", **more: Any) -> Tree:
    found: Tree = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7"}
    return {**found, **({"namespace": namespace} if namespace else {}), **more}


def cidr(name: str, *cidrs: str, **more: Any) -> Tree:
    return {"metadata": meta(name, **more), "spec": {"cidrs": list(cidrs)}}


def deleting(name: str, *cidrs: str) -> Tree:
    return cidr(name, *cidrs, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[FINALIZER])


def address(text: str, service: str = "web") -> Tree:
    made = kind.of_service(text, "default", service)
    return {**made, "metadata": {**meta(text), **made["metadata"]}}


def service(name: str, *addresses: str) -> Tree:
    spec = {"type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": list(addresses)}
    return {"metadata": meta(name, "default"), "spec": spec}


def ask(
    controller: Controller, name: str, given: dict[Kind, list[Tree]], age: float = 0.0, answers: Any = None
) -> Plan:
    sources = {k.resource: Snapshot([freeze(o) for o in given.get(k, ())], {("", name): age}) for k in controller.kinds}
    return controller.reconcile(View(sources, answers=answers or {}), ("", name), NOW)


def test_a_range_gets_its_finalizer_then_its_condition() -> None:
    """A new range is held by the finalizer first, and then ready; a ready one is left alone."""
    (write,) = ask(service_cidr.CONTROLLER, "more", {SERVICECIDR: [cidr("more", "10.8.0.0/24")]}).writes
    assert isinstance(write, Patch) and write.patch == {"metadata": {"finalizers": [FINALIZER]}}
    assert (write.uid, write.resource_version) == ("uid-more", "7")
    held = cidr("more", "10.8.0.0/24", finalizers=[FINALIZER])
    (write,) = ask(service_cidr.CONTROLLER, "more", {SERVICECIDR: [held]}).writes
    assert isinstance(write, Update) and write.subresource == "status"
    assert conditions.is_true(write.obj, "Ready")
    assert not ask(service_cidr.CONTROLLER, "more", {SERVICECIDR: [objects.copy(write.obj)]}).writes


def test_a_range_with_addresses_stays() -> None:
    """A deleted range stays while an address is in no other range, says why, and goes when none is."""
    given = {SERVICECIDR: [deleting("more", "10.8.0.0/24")], IPADDRESS: [address("10.8.0.9")]}
    (write,) = ask(service_cidr.CONTROLLER, "more", given).writes
    assert isinstance(write, Update)
    (condition,) = write.obj["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Terminating")
    assert "still IPAddresses referencing the ServiceCIDR" in condition["message"]
    for others in (
        {IPADDRESS: [address("10.9.0.9")]},
        {SERVICECIDR: [deleting("more", "10.8.0.0/24"), cidr("wide", "10.8.0.0/16")]},
        {SERVICECIDR: [deleting("more", "10.8.0.0/24"), cidr("same", "10.8.0.0/24")]},
        {SERVICECIDR: [deleting("more", "10.8.0.0/24"), cidr("part", "10.8.0.8/29")]},
        {IPADDRESS: [{"metadata": meta("10.8.0.9"), "spec": {}}]},
    ):
        (write,) = ask(service_cidr.CONTROLLER, "more", {**given, **others}).writes
        assert isinstance(write, Patch) and write.patch == {"metadata": {"finalizers": None}}
    going = {**given, SERVICECIDR: [deleting("more", "10.8.0.0/24"), deleting("wide", "10.8.0.0/16")]}
    assert isinstance(ask(service_cidr.CONTROLLER, "more", going).writes[0], Update)


def test_a_missing_address_is_made_again() -> None:
    """An IPAddress that somebody deleted under a service comes back, with an event on the service."""
    (write,) = ask(ip_address.CONTROLLER, "10.96.0.5", {SERVICE: [service("web", "10.96.0.5")]}).writes
    assert isinstance(write, Create) and write.obj["spec"]["parentRef"]["name"] == "web"
    assert write.done is not None and write.done.reason == "ClusterIPNotAllocated"
    given = {SERVICE: [service("web", "10.96.0.5")], IPADDRESS: [address("10.96.0.5")]}
    assert not ask(ip_address.CONTROLLER, "10.96.0.5", given).writes
    external = {"metadata": meta("x", "default"), "spec": {"type": "ExternalName", "clusterIP": "10.96.0.5"}}
    assert not ask(ip_address.CONTROLLER, "10.96.0.5", {SERVICE: [external]}).writes


def test_an_address_that_nobody_uses_goes() -> None:
    """One of ours without its service goes after a minute and a live look; others' are theirs."""
    given = {IPADDRESS: [address("10.96.0.5")]}
    assert ask(ip_address.CONTROLLER, "10.96.0.5", given).again == 60.0
    question = Ask(SERVICE, ("default", "web"))
    assert ask(ip_address.CONTROLLER, "10.96.0.5", given, age=61.0).ask == (question,)
    answers: Any = {question: service("web", "10.96.0.5")}
    assert not ask(ip_address.CONTROLLER, "10.96.0.5", given, 61.0, answers).writes
    (write,) = ask(ip_address.CONTROLLER, "10.96.0.5", given, 61.0, {question: None}).writes
    assert isinstance(write, Delete) and write.uid == "uid-10.96.0.5"
    foreign: Any = {IPADDRESS: [{"metadata": meta("10.96.0.5"), "spec": {}}]}
    assert ask(ip_address.CONTROLLER, "10.96.0.5", foreign, 999.0) == Plan()


def test_a_schema_says_whether_its_level_is_there() -> None:
    """The condition Dangling follows the level that a schema names."""
    schema = {"metadata": meta("s"), "spec": {"priorityLevelConfiguration": {"name": "low"}}}
    (write,) = ask(flow_schema.CONTROLLER, "s", {FLOWSCHEMA: [schema]}).writes
    assert isinstance(write, Update) and conditions.is_true(write.obj, "Dangling")
    level = {"metadata": meta("low"), "spec": {}}
    given = {FLOWSCHEMA: [objects.copy(write.obj)], PRIORITYLEVELCONFIGURATION: [level]}
    (write,) = ask(flow_schema.CONTROLLER, "s", given).writes
    assert isinstance(write, Update) and conditions.is_false(write.obj, "Dangling")
    assert not ask(flow_schema.CONTROLLER, "s", {**given, FLOWSCHEMA: [objects.copy(write.obj)]}).writes
