"""Serving certificates of nodes: a node's request is approved, if it is for itself and for names that are its alone.

No other component of Kubernetes approves these, since a node could ask for somebody else's address. So the
names must be those of the node's object, which must not be anybody else's: not the API's, no Service's, no older
node's, not the machine's own loopback. A node of the API's own machine has the addresses that it was given there,
whoever else claims them. Who wants to approve by himself deletes the binding of the role `system:sampan:node-serving`.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sampan.control import csr_approval, load_balancing
from sampan.control.controller import Controller
from sampan.control.plan import Key, Plan, Update, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.certificates import certificate_signing_request as kind
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.node import NODE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.kinds.parts import csr, service_shape
from sampan.meta import objects

SUBRESOURCE = "selfnodeserving"

_TOLD = "Auto approving kubelet serving certificate: every name in it is of the node's object, and nobody else's."
_API = ("default", "kubernetes")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Terms:
    """What is not to be had: `api_hosts` are the names and addresses in the API's certificate, `service_cidrs` Services'.

    `local` has the addresses of the nodes on the API's own machine, which may be the API's too. Where load balancers'
    addresses are the nodes' own (`shares_addresses`), those are no obstacle.
    """

    api_hosts: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    local: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shares_addresses: bool = False


def reconcile(terms: Terms, view: View, key: Key, now: float) -> Plan:
    """A request whose names are not (yet) its node's is looked at again, ever later. Memory: how often it was."""
    request = view.get(CERTIFICATESIGNINGREQUEST, key)
    if request is None or objects.is_deleting(request) or csr_approval.is_decided(request):
        return Plan(memory={}) if view.memory else Plan()
    asked = _recognized(request)
    if asked is None:
        return Plan()
    if is_its_own(terms, view, asked):
        question = csr_approval.question(request, SUBRESOURCE)
        answer = view.answer(question)
        if answer is UNANSWERED:
            return Plan(ask=(question,))
        if answer:
            return plan([Update(CERTIFICATESIGNINGREQUEST, csr_approval.approved(request, _TOLD, now), kind.APPROVAL)])
    tries = view.memory.get("tries", 0)
    memory = {"tries": min(tries + 1, csr_approval.MOST_TRIES)}
    return Plan(again=csr_approval.wait_seconds(tries), memory=memory)


def is_its_own(terms: Terms, view: View, asked: csr.Request) -> bool:
    """Whether the node that asks has all the names, and nobody else has one of them."""
    name = asked.common_name.removeprefix(csr.NODE_PREFIX)
    node = view.get(NODE, ("", name))
    if node is None or _has_foreign_names(terms, asked, name):
        return False
    texts = [*asked.addresses, *(dns for dns in asked.dns_names if _address(dns) is not None)]
    if any(_is_disguised(text) for text in texts):
        return False
    wanted = _canonical(texts)
    if not wanted <= _addresses(node):
        return False
    wanted -= _canonical(terms.local.get(name, ()))
    if any(_is_local(address) or _is_in(address, terms.service_cidrs) for address in wanted):
        return False
    return wanted.isdisjoint(_canonical(_taken(terms, view))) and wanted.isdisjoint(_others(view, node))


def _taken(terms: Terms, view: View) -> Iterator[str]:
    """The addresses of the API, of Services, and of the nodes of the API's machine."""
    yield from terms.api_hosts
    for addresses in terms.local.values():
        yield from addresses
    for service in view.each(SERVICE):
        spec = service.get("spec") or {}
        yield from service_shape.cluster_ips(spec)
        yield from spec.get("externalIPs") or ()
        if not terms.shares_addresses:
            yield from (entry.get("ip") or "" for entry in load_balancing.ingress(service))
    for piece in view.each(ENDPOINTSLICE):
        if (objects.namespace(piece), objects.labels(piece).get(SERVICE_NAME_LABEL)) == _API:
            for endpoint in piece.get("endpoints") or ():
                yield from endpoint.get("addresses") or ()
    for subset in (view.get(ENDPOINTS, _API) or {}).get("subsets") or ():
        for state in ("addresses", "notReadyAddresses"):
            yield from (address.get("ip") or "" for address in subset.get(state) or ())


def _others(view: View, node: Object) -> set[Address]:
    """The addresses of nodes that were there before this one: who comes later does not take what somebody has."""
    own, found = _age(node), set[Address]()
    for other in view.each(NODE):
        if objects.name(other) != objects.name(node) and _age(other) < own:
            found |= _addresses(other) | _canonical((objects.name(other),))
    return found


def _age(node: Object) -> tuple[str, str]:
    return node["metadata"].get("creationTimestamp") or "", objects.uid(node)


def _has_foreign_names(terms: Terms, asked: csr.Request, name: str) -> bool:
    """Names other than the node's, and such as mean something else to everybody."""
    if any(dns != name or dns.split(".")[0] in ("localhost", "kubernetes") for dns in asked.dns_names):
        return True
    return name not in terms.local and any(dns in terms.api_hosts for dns in asked.dns_names)


def _is_in(address: Address, networks: Iterable[str]) -> bool:
    return any(address in ipaddress.ip_network(network) for network in networks)


def _is_local(address: Address) -> bool:
    return address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local


def _is_disguised(text: str) -> bool:
    """An IPv4 address in IPv6's form is the same one to who compares certificates; nobody needs it so."""
    address = _address(text)
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def _address(text: str) -> Address | None:
    """One with a scope is none: it means something on one machine only."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if "%" in text else address


def _canonical(texts: Iterable[str]) -> set[Address]:
    """The addresses among these texts, each in the one form that can be compared."""
    found = (_address(text) for text in texts)
    return {getattr(address, "ipv4_mapped", None) or address for address in found if address is not None}


def _addresses(node: Object) -> set[Address]:
    found = (node.get("status") or {}).get("addresses") or ()
    return _canonical(address.get("address") or "" for address in found)


def _recognized(request: Object) -> csr.Request | None:
    """What a node asks for itself, as the signer would sign it."""
    spec = request["spec"]
    if spec.get("signerName") != csr.KUBELET_SERVING or csr.NODES_GROUP not in (spec.get("groups") or ()):
        return None
    try:
        asked = kind.request_of(request)
    except csr.Malformed:
        return None
    if csr.refusal(asked, spec.get("usages") or (), csr.KUBELET_SERVING):
        return None
    return asked if spec.get("username") == asked.common_name else None


def controller(terms: Terms) -> Controller:
    """The one that knows what is the API's."""

    def look(view: View, key: Key, now: float) -> Plan:
        return reconcile(terms, view, key, now)

    reads = (NODE, SERVICE, ENDPOINTSLICE, ENDPOINTS)
    return Controller("node-serving-approving-controller", CERTIFICATESIGNINGREQUEST, look, reads=reads)


CONTROLLER = controller(Terms())
