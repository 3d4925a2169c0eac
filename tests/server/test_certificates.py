"""Certificate requests over HTTP: who asks, who approves, who signs, and what each may write."""

import base64
from typing import Any

import pytest

from sampan.web import certificates
from sampan.web.message import Peer
from tests.requests import request
from tests.server.conftest import Api, Tree

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENT = "kubernetes.io/kube-apiserver-client"
USAGES = ["digital signature", "key encipherment", "client auth"]
JANE = Peer("jane", ("devs",))
NODE = Peer("system:node:n1", ("system:nodes",))


def csr(name: str, signer: str = "example.com/e2e", **spec: Any) -> Tree:
    spec = {"request": request("e2e"), "signerName": signer, "usages": USAGES, **spec}
    return {
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"name": name},
        "spec": spec,
    }


def condition(kind: str, **more: str) -> Tree:
    return {"type": kind, "status": "True", "reason": "E2E", "message": "Set from an e2e test", **more}


async def allow(api: Api, user: str, *rules: Tree) -> None:
    """Lets a user create, read and write requests, and whatever else is given."""
    group = "certificates.k8s.io"
    resources = ["", "/approval", "/status"]
    names = [f"certificatesigningrequests{sub}" for sub in resources]
    every = {"apiGroups": [group], "resources": names, "verbs": ["create", "get", "update", "patch"]}
    api_version, metadata = "rbac.authorization.k8s.io/v1", {"name": f"csr-{user}"}
    role = {"kind": "ClusterRole", "apiVersion": api_version, "metadata": metadata, "rules": [every, *rules]}
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "kind": "ClusterRoleBinding",
        "apiVersion": api_version,
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"csr-{user}"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)


def signer_rule(verb: str, name: str) -> Tree:
    return {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": [verb], "resourceNames": [name]}


async def test_api_operations(api: Api) -> None:
    """Requests are made, read, patched, approved, given a status and deleted (conformance 160)."""
    body = csr("r", expirationSeconds=3600)
    body["metadata"]["labels"] = {"e2e": "a"}
    made = await api.create(REQUESTS, body)
    assert made["spec"]["signerName"] == "example.com/e2e" and made["status"] == {}
    listed = await api.get(f"{REQUESTS}?fieldSelector=spec.signerName=example.com/e2e&labelSelector=e2e=a")
    assert [i["metadata"]["name"] for i in listed["items"]] == ["r"]
    patched = (await api.patch(f"{REQUESTS}/r", {"metadata": {"annotations": {"patched": "true"}}})).tree
    assert patched["metadata"]["annotations"] == {"patched": "true"}
    patched["metadata"]["annotations"]["updated"] = "true"
    patched["spec"]["usages"] = ["server auth"]
    updated = await api.put(f"{REQUESTS}/r", patched)
    assert updated["metadata"]["annotations"]["updated"] == "true" and updated["spec"]["usages"] == USAGES
    approval = f"{REQUESTS}/r/approval"
    assert (await api.get(approval))["metadata"]["uid"] == made["metadata"]["uid"]
    patch = {
        "metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [condition("Approved")]},
    }
    answer = await api.patch(approval, patch)
    assert answer.status == 200, answer.body
    (approved,) = answer.tree["status"]["conditions"]
    assert approved["lastUpdateTime"] and approved["lastTransitionTime"] and approved["status"] == "True"
    live = answer.tree
    live["status"]["conditions"].append(condition("ApprovalUpdate"))
    assert len((await api.put(approval, live))["status"]["conditions"]) == 2
    status = f"{REQUESTS}/r/status"
    authority = certificates.new_authority("ca", api.clock.now())
    encoded = base64.b64encode(authority.certificate).decode()
    answer = await api.patch(status, {"metadata": {"annotations": {"s": "t"}}, "status": {"certificate": encoded}})
    assert answer.status == 200 and answer.tree["status"]["certificate"] == encoded, answer.body
    assert answer.tree["metadata"]["annotations"]["s"] == "t"
    live = answer.tree
    live["status"]["conditions"].append(condition("StatusUpdate"))
    assert len((await api.put(status, live))["status"]["conditions"]) == 3
    table = await api.get(REQUESTS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    names = ["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"]
    assert [c["name"] for c in table["columnDefinitions"]] == names
    cells = table["rows"][0]["cells"]
    assert cells[2:] == ["example.com/e2e", "kubernetes-admin", "60m", "Approved,Issued"]
    assert (await api.send("DELETE", f"{REQUESTS}/r")).status == 200
    await api.create(REQUESTS, body)
    assert (await api.send("DELETE", f"{REQUESTS}?labelSelector=e2e=a")).status == 200
    assert (await api.get(REQUESTS))["items"] == []


async def test_the_server_says_who_asks(api: Api) -> None:
    """Username and groups are the caller's own, whatever the body says (B18)."""
    await allow(api, "jane")
    forged = csr("r", username="system:admin", groups=["system:masters"], uid="0", extra={"a": ["b"]})
    made = (await api.send("POST", REQUESTS, forged, JANE)).tree
    assert made["spec"]["username"] == "jane"
    assert made["spec"]["groups"] == ["devs", "system:authenticated"]
    assert "uid" not in made["spec"]
    assert "a" not in made["spec"].get("extra", {})
    status = {"conditions": [condition("Approved")], "certificate": "eA=="}
    made = (await api.send("POST", REQUESTS, {**csr("s"), "status": status}, JANE)).tree
    assert made["status"] == {}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"request": "eA=="}, "PEM block type must be CERTIFICATE REQUEST"),
        ({"request": None}, "spec.request: "),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["being cool"]}, 'spec.usages[0]: Unsupported value: "being cool"'),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        ({"signerName": "plain"}, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        ({"signerName": "example/x"}, "should be a domain with at least two segments separated by dots"),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "the legacy signerName is not allowed via this API version"),
        ({"expirationSeconds": 599}, "may not specify a duration less than 600 seconds (10 minutes)"),
    ],
)
async def test_bad_requests(api: Api, spec: Tree, why: str) -> None:
    """Each field is checked, in upstream's words."""
    body = csr("r", **spec)
    if spec.get("request", "") is None:
        del body["spec"]["request"]
    answer = await api.send("POST", REQUESTS, body)
    assert answer.status == 422 and why in answer.tree["message"], answer.body


async def test_a_broken_signature_is_refused(api: Api) -> None:
    """A request that its own key did not sign is no request."""
    pem = base64.b64decode(request("e2e")).decode().splitlines()
    der = bytearray(base64.b64decode("".join(pem[1:-1])))
    der[-1] ^= 1
    broken = "\n".join([pem[0], base64.b64encode(bytes(der)).decode(), pem[-1], ""])
    answer = await api.send("POST", REQUESTS, csr("r", request=base64.b64encode(broken.encode()).decode()))
    assert answer.status == 422 and "spec.request: Invalid value" in answer.tree["message"]


async def test_each_door_has_its_own_work(api: Api) -> None:
    """Approval sets no certificate, status approves nothing; neither takes back, nor changes, what was said."""
    await api.create(REQUESTS, csr("r"))
    answer = await api.patch(f"{REQUESTS}/r/status", {"status": {"conditions": [condition("Approved")]}})
    assert 'updates may not add a condition of type "Approved"' in answer.tree["message"]
    answer = await api.patch(f"{REQUESTS}/r/approval", {"status": {"certificate": "eA=="}})
    assert answer.status == 200 and "certificate" not in answer.tree["status"]
    answer = await api.patch(f"{REQUESTS}/r/status", {"status": {"certificate": "eA=="}})
    assert "must contain at least one CERTIFICATE PEM block" in answer.tree["message"]
    await api.patch(f"{REQUESTS}/r/approval", {"status": {"conditions": [condition("Denied")]}})
    answer = await api.patch(f"{REQUESTS}/r/approval", {"status": {"conditions": []}})
    assert 'updates may not remove a condition of type "Denied"' in answer.tree["message"]
    both = {"status": {"conditions": [condition("Denied"), condition("Approved")]}}
    answer = await api.patch(f"{REQUESTS}/r/approval", both)
    assert "Approved and Denied conditions are mutually exclusive" in answer.tree["message"]
    odd = {"status": {"conditions": [condition("Denied", status="False")]}}
    answer = await api.patch(f"{REQUESTS}/r/approval", odd)
    assert 'status.conditions[0].status: Unsupported value: "False": supported values: "True"' in answer.tree["message"]
    assert (await api.put(f"{REQUESTS}/r", csr("r")))["status"]["conditions"][0]["type"] == "Denied"


async def test_approving_and_signing_need_rights_on_the_signer(api: Api) -> None:
    """The right to write the subresource is not enough: the signer, or its whole domain, must be granted."""
    await allow(api, "jane")
    await allow(api, "joan", signer_rule("approve", "example.com/e2e"))
    await allow(api, "jack", signer_rule("sign", "example.com/*"))
    await api.create(REQUESTS, csr("r"))
    live = await api.get(f"{REQUESTS}/r")
    live["status"] = {"conditions": [condition("Approved")]}
    answer = await api.send("PUT", f"{REQUESTS}/r/approval", live, JANE)
    assert answer.status == 403
    assert answer.tree["message"] == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: '
        'user not permitted to approve requests with signerName "example.com/e2e"'
    )
    answer = await api.send("PUT", f"{REQUESTS}/r/approval", live, Peer("joan"))
    assert answer.status == 200
    pem = certificates.new_authority("ca", api.clock.now()).certificate
    live = answer.tree
    live["status"]["certificate"] = base64.b64encode(pem).decode()
    answer = await api.send("PUT", f"{REQUESTS}/r/status", live, Peer("joan"))
    assert answer.status == 403 and "user not permitted to sign requests with signerName" in answer.tree["message"]
    answer = await api.send("PUT", f"{REQUESTS}/r/status", live, Peer("jack"))
    assert answer.status == 200, answer.body
    live = answer.tree
    live["status"]["certificate"] = base64.b64encode(pem + pem).decode()
    answer = await api.send("PUT", f"{REQUESTS}/r/status", live, Peer("jack"))
    assert answer.status == 422 and "may not modify existing certificate content" in answer.tree["message"]


async def test_masters_and_other_nodes_are_refused(api: Api) -> None:
    """Nobody asks for system:masters, and a node asks in its own name only (B18)."""
    body = csr("r", CLIENT, request=request("evil", ("system:masters",)))
    answer = await api.send("POST", REQUESTS, body)
    assert answer.status == 403
    assert (
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        in (answer.tree["message"])
    )
    for signer in ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"):
        other = csr("r", signer, request=request("system:node:n2", ("system:nodes",)))
        answer = await api.send("POST", REQUESTS, other, NODE)
        assert answer.status == 403, answer.body
        assert "can only create a node CSR with CN=system:node:n1" in answer.tree["message"]
        own = csr(f"own-{signer[-7:]}", signer, request=request("system:node:n1", ("system:nodes",)))
        assert (await api.send("POST", REQUESTS, own, NODE)).status == 201
