"""What lets machines join: networks for nodes, cluster-info that tokens sign, approvals that nobody can misuse."""

import base64
import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from sampan.control import detached
from sampan.control.plan import AskAccess, Patch, Plan, Update
from sampan.control.view import Snapshot, View
from sampan.controllers import bootstrap_signer, csr_approving, node_ipam, node_serving_approving
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.node import NODE
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.parts import csr
from sampan.kit.frozen import freeze
from sampan.meta import timestamps
from tests.requests import request

NOW = 1_767_225_600.0
POOLS = (node_ipam.Pool("10.244.0.0/16", 24, 1), node_ipam.Pool("fd44::/56", 64, 1))
Tree = dict[str, Any]


def node(name: str, *networks: str, addresses: tuple[str, ...] = (), days: int = 0) -> Tree:
    spec = {"podCIDR": networks[0], "podCIDRs": list(networks)} if networks else {}
    found = [{"type": "InternalIP", "address": address} for address in addresses]
    metadata = {"name": name, "uid": name, "creationTimestamp": timestamps.format(NOW + days * 86400)}
    return {"metadata": metadata, "spec": spec, "status": {"addresses": found}}


def given(pools: tuple[node_ipam.Pool, ...], *nodes: Tree, memory: Any = None) -> Plan:
    """What the first of the nodes gets."""
    view = View({NODE.resource: Snapshot(map(freeze, nodes))}, memory=memory or {})
    return node_ipam.controller(pools).reconcile(view, ("", nodes[0]["metadata"]["name"]), NOW)


def networks(plan: Plan) -> list[str]:
    (write,) = plan.writes
    assert isinstance(write, Patch) and write.uid
    assert write.patch["spec"]["podCIDR"] == write.patch["spec"]["podCIDRs"][0]
    found: list[str] = write.patch["spec"]["podCIDRs"]
    return found


def test_a_node_gets_the_first_free_networks() -> None:
    """One of each family; not the first ones, which are the cluster's own node's."""
    assert networks(given(POOLS, node("a"))) == ["10.244.1.0/24", "fd44:0:0:1::/64"]
    others = (node("b", "10.244.1.0/24", "fd44:0:0:1::/64"), node("c", "10.244.2.128/25"), node("d", "10.9.0.0/16"))
    assert networks(given(POOLS, node("a"), *others)) == ["10.244.3.0/24", "fd44:0:0:2::/64"]


def test_networks_stay() -> None:
    """Those that a node came with are its own."""
    assert given(POOLS, node("a", "192.168.0.0/20")) == Plan()


def test_all_are_given_out() -> None:
    """The node is told, as upstream tells it, and looked at again ever later."""
    small = (node_ipam.Pool("10.244.0.0/23", 24, 1),)
    plan = given(small, node("a"), node("b", "10.244.1.0/24"))
    (event,) = plan.events
    assert (event.type, event.reason, event.message) == (
        "Normal", "CIDRNotAvailable", "Node a status is now: CIDRNotAvailable",
    )  # fmt: skip
    assert (plan.again, plan.memory) == (1.0, {"tries": 1})
    assert given(small, node("a"), node("b", "10.244.1.0/24"), memory={"tries": 6}).again == 60.0
    assert networks(given(small, node("a"), node("b", "10.244.0.0/24"))) == ["10.244.1.0/24"]


def token(id: str = "abcdef", **fields: str) -> Tree:
    data = {"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **fields}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    metadata = {"namespace": "kube-system", "name": f"bootstrap-token-{id}", "uid": id}
    return {"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": encoded}


def signed(data: Tree, *tokens: Tree) -> Plan:
    info = {"metadata": {"namespace": "kube-public", "name": "cluster-info", "uid": "i"}, "data": data}
    sources = {CONFIGMAP.resource: Snapshot([freeze(info)]), SECRET.resource: Snapshot(map(freeze, tokens))}
    return bootstrap_signer.reconcile(View(sources), ("kube-public", "cluster-info"), NOW)


def test_tokens_sign_cluster_info() -> None:
    """Each that is in force and for that; signatures of others go; it is looked at again when the next one ends."""
    later, past = timestamps.format(NOW + 60), timestamps.format(NOW - 1)
    tokens = (
        token(expiration=later),
        token("late00", expiration=past),
        token("other0", **{"usage-bootstrap-signing": "false"}),
    )
    plan = signed({"kubeconfig": "x", "jws-kubeconfig-gone00": "y", "note": "z"}, *tokens)
    (write,) = plan.writes
    assert isinstance(write, Update)
    signature = detached.signature("x", "abcdef", "0123456789abcdef")
    assert write.obj["data"] == {"kubeconfig": "x", "note": "z", "jws-kubeconfig-abcdef": signature}
    assert plan.again == 60.0
    assert signed(write.obj["data"], *tokens) == Plan(again=60.0)
    assert signed({"kubeconfig": "x"}) == Plan()


def test_a_signature_as_others_make_it() -> None:
    """A detached JWS by HS256 with the token's id as key id; this one was computed with openssl."""
    header = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9"
    signature = "0TaMGHmkUmrmJzX2IZH40z8KPjHdxhjPikTkoySmxlA"
    assert detached.signature("x", "abcdef", "0123456789abcdef") == f"{header}..{signature}"


SERVING = ["digital signature", "server auth"]


def serving(hosts: tuple[str, ...], user: str = "system:node:n1", name: str = "n1", **spec: Any) -> Tree:
    text = request(f"system:node:{name}", ("system:nodes",), hosts)
    asked = {"request": text, "signerName": csr.KUBELET_SERVING, "usages": SERVING, "username": user}
    metadata = {"name": "r", "uid": "u", "creationTimestamp": timestamps.format(NOW)}
    return {"metadata": metadata, "spec": {**asked, "groups": ["system:nodes"], **spec}, "status": {}}


NODES = (node("n1", addresses=("192.168.7.2",)), node("n2", addresses=("192.168.7.3",), days=-1))
TERMS = node_serving_approving.Terms(
    ("localhost", "kubernetes", "apihost", "127.0.0.1", "10.96.0.1", "192.0.2.7", "192.0.2.10"),
    ("10.96.0.0/16",),
    {"first": ("192.0.2.7", "fd00:10:244::1")},
)


def service(spec: Tree, *ingress: str) -> Tree:
    status = {"loadBalancer": {"ingress": [{"ip": address} for address in ingress]}}
    return {"metadata": {"namespace": "default", "name": "web", "uid": "w"}, "spec": spec, "status": status}


SERVICES = (
    service({"clusterIP": "10.97.0.1", "clusterIPs": ["10.97.0.1"], "externalIPs": ["198.51.100.1"]}, "10.32.0.1"),
)
SLICES = (
    {"metadata": {"namespace": "default", "name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
     "endpoints": [{"addresses": ["192.0.2.8"]}]},
    {"metadata": {"namespace": "default", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
     "endpoints": [{"addresses": ["192.168.7.2"]}]},
)  # fmt: skip
ENDPOINTS_OF_API = {
    "metadata": {"namespace": "default", "name": "kubernetes"},
    "subsets": [{"addresses": [{"ip": "192.0.2.9"}]}],
}


def judged(
    obj: Tree, nodes: tuple[Tree, ...] = NODES, answers: Any = None, terms: node_serving_approving.Terms = TERMS
) -> Plan:
    sources = {
        CERTIFICATESIGNINGREQUEST.resource: Snapshot([freeze(obj)]),
        NODE.resource: Snapshot(map(freeze, nodes)),
        SERVICE.resource: Snapshot(map(freeze, SERVICES)),
        ENDPOINTSLICE.resource: Snapshot(map(freeze, SLICES)),
        ENDPOINTS.resource: Snapshot([freeze(ENDPOINTS_OF_API)]),
    }
    controller = node_serving_approving.controller(terms)
    return controller.reconcile(View(sources, answers=answers or {}), ("", "r"), NOW)


def test_a_node_gets_its_serving_certificate() -> None:
    """For its own name and addresses, if it has the right to be approved by itself."""
    obj = serving(("n1", "192.168.7.2"))
    (question,) = judged(obj).ask
    assert isinstance(question, AskAccess)
    assert (question.user, question.subresource) == ("system:node:n1", "selfnodeserving")
    (write,) = judged(obj, answers={question: True}).writes
    assert isinstance(write, Update) and write.subresource == "approval"
    assert write.obj["status"]["conditions"][0]["type"] == "Approved"
    assert judged(obj, answers={question: False}) == Plan(again=0.2, memory={"tries": 1})


@pytest.mark.parametrize(
    ("obj", "nodes"),
    [
        (serving(("n1", "192.168.7.3")), NODES),
        (serving(("n2", "192.168.7.2")), NODES),
        (serving(("192.168.7.9",)), NODES),
        (serving(("n1",)), ()),
        (serving(("kubernetes.default.svc",)), (node("n1", addresses=("kubernetes.default.svc",)),)),
        (serving(("apihost",), "system:node:apihost", name="apihost"), (node("apihost"),)),
    ],
)
def test_names_that_are_not_its_own(obj: Tree, nodes: tuple[Tree, ...]) -> None:
    """Another node's, everybody's, or none of its object: nobody approves that by himself (B18)."""
    plan = judged(obj, nodes)
    assert not plan.ask and not plan.writes and plan.again


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "0.0.0.0", "169.254.1.1", "fe80::1",
        "192.0.2.7", "fd00:10:244::1", "10.96.0.1", "10.96.44.5", "192.0.2.8", "192.0.2.9", "192.0.2.10",
        "10.97.0.1", "198.51.100.1", "10.32.0.1", "192.168.7.3",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "::ffff:{}"])
def test_addresses_that_are_somebody_elses(address: str, form: str) -> None:
    """This machine's, the API's, a Service's, an older node's, in either form: a node may say of itself that it has
    them, and gets no certificate (B18)."""
    if ":" in address and form != "{}":
        return
    claimed = str(ipaddress.ip_address(form.format(address)))
    for told in {address, claimed}:
        plan = judged(serving((claimed,)), (node("n1", addresses=(told,)), NODES[1]))
        assert not plan.ask and not plan.writes and plan.again


def test_an_older_node_keeps_its_address() -> None:
    """Whoever claims it later, in whatever form, neither gets it nor stands in the way; nor does a name like it."""
    claims = ("192.168.7.2", "::ffff:192.168.7.2", "fe80::1%eth0", "nonsense")
    rivals = (node("n2", addresses=claims, days=1), node("192.168.7.2", days=1))
    assert judged(serving(("n1", "192.168.7.2")), (NODES[0], *rivals)).ask
    assert not judged(serving(("n1", "::ffff:192.168.7.2")), NODES).ask  # its own, but nobody needs it in that form
    older = node("n2", addresses=("::ffff:192.168.7.2",), days=-1)
    assert not judged(serving(("n1", "192.168.7.2")), (NODES[0], older)).ask


def test_a_node_of_the_apis_own_machine() -> None:
    """Its address is the API's, and it is renewed whoever claims it; what else is the API's it doesn't get."""
    claimed = node("n0", addresses=("192.0.2.7",), days=-1)
    first = node("first", addresses=("192.0.2.7", "fd00:10:244::1", "192.0.2.8"))

    def asked(*hosts: str) -> Plan:
        return judged(serving(hosts, "system:node:first", name="first"), (first, claimed))

    assert asked("first", "192.0.2.7", "fd00:10:244::1").ask
    assert not asked("first", "192.0.2.7", "192.0.2.8").ask


def test_load_balancers_at_nodes_addresses() -> None:
    """Where nodes' own addresses are the load balancers', they stay the nodes'."""
    nodes = (node("n1", addresses=("10.32.0.1",)),)
    assert not judged(serving(("10.32.0.1",)), nodes).ask
    assert judged(serving(("10.32.0.1",)), nodes, terms=replace(TERMS, shares_addresses=True)).ask


@pytest.mark.parametrize(
    "obj",
    [
        serving(("n1",), "system:node:n2"),
        serving(("n1",), groups=["system:authenticated"]),
        serving(("n1",), usages=["digital signature", "client auth"]),
        serving(("n1",), signerName=csr.KUBELET_CLIENT),
        serving(("n1", "*.n1")),
        serving(()),
    ],
)
def test_requests_of_others(obj: Tree) -> None:
    """Whoever is not the node, or asks for something else, is left to others (B18)."""
    assert judged(obj) == Plan()


def test_a_token_is_not_enough_for_a_name_that_is_taken() -> None:
    """Who has a bootstrap token gets a certificate for a new node, not for one that is there."""
    text = request("system:node:n1", ("system:nodes",))
    usages = ["digital signature", "client auth"]
    spec = {"request": text, "signerName": csr.KUBELET_CLIENT, "usages": usages, "username": "system:bootstrap:abcdef"}
    obj = {"metadata": {"name": "r", "uid": "u"}, "spec": {**spec, "groups": ["system:bootstrappers"]}, "status": {}}

    def plan(*nodes: Tree) -> Plan:
        sources = {
            CERTIFICATESIGNINGREQUEST.resource: Snapshot([freeze(obj)]),
            NODE.resource: Snapshot(map(freeze, nodes)),
        }
        return csr_approving.reconcile(View(sources), ("", "r"), NOW)

    assert plan(*NODES) == Plan()
    (question,) = plan(NODES[1]).ask
    assert isinstance(question, AskAccess) and question.subresource == "nodeclient"
