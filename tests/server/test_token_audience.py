"""For which audiences a node agent gets tokens of its pods; and what a TokenRequest may say of its account."""

import json
from typing import Any

import pytest

from sampan.web.message import Peer
from tests.server.configured import Lines, configured
from tests.server.conftest import ADMIN, Api, pod

NODE_1 = Peer("system:node:n1", ("system:nodes",))
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DRIVER = "com.example.csi"
UNNAMED = "not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"
Tree = dict[str, Any]


def projected(*audiences: str) -> Tree:
    """A volume with tokens of these audiences; "" is the API."""
    tokens = [{"path": f"t{i}", **({"audience": a} if a else {})} for i, a in enumerate(audiences)]
    return {"name": "tokens", "projected": {"sources": [{"serviceAccountToken": token} for token in tokens]}}


async def add_pod(api: Api, *volumes: Tree) -> Tree:
    """A pod of n1's; what binds a token to it."""
    made = await api.create(PODS, pod("p", nodeName="n1", volumes=list(volumes)))
    return {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}


async def add_driver(api: Api, name: str, *audiences: str) -> None:
    requests = [{"audience": audience} for audience in audiences]
    body = {"kind": "CSIDriver", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": name}}
    await api.create("/apis/storage.k8s.io/v1/csidrivers", {**body, "spec": {"tokenRequests": requests}})


async def add_claim(api: Api, name: str, **source: Tree) -> None:
    """A claim with a volume of this source."""
    common: Tree = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = {**common, "capacity": {"storage": "1Gi"}, **source}
    body: Tree = {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": f"pv-{name}"}, "spec": volume}
    await api.create("/api/v1/persistentvolumes", body)
    spec = {**common, "volumeName": f"pv-{name}", "resources": {"requests": {"storage": "1Gi"}}}
    body = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
    await api.create(CLAIMS, body)


async def ask(api: Api, reference: Tree | None, *audiences: str, peer: Peer = NODE_1, **metadata: str) -> Any:
    spec: Tree = {"boundObjectRef": reference} if reference else {}
    if audiences:
        spec["audiences"] = list(audiences)
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    return await api.send("POST", TOKEN, {**body, **({"metadata": metadata} if metadata else {})}, peer)


async def refused(api: Api, reference: Tree, *audiences: str) -> str:
    answer = await ask(api, reference, *audiences)
    assert answer.status == 403, answer.body
    return str(answer.tree["message"])


async def test_an_agent_gets_the_audiences_that_a_volume_names(api: Api) -> None:
    """One at a time; others are not restricted."""
    reference = await add_pod(api, projected("vault", ""))
    assert (await ask(api, reference)).status == 201
    answer = await ask(api, reference, "vault")
    assert answer.tree["spec"]["audiences"] == ["vault"]
    message = await refused(api, reference, "other")
    assert message == f'serviceaccounts "default" is forbidden: audience "other" {UNNAMED}'
    message = await refused(api, reference, "vault", "other")
    assert message == 'serviceaccounts "default" is forbidden: node may only request 0 or 1 audiences'
    assert (await ask(api, reference, "any", "other", peer=ADMIN)).status == 201


async def test_a_pod_without_tokens_gives_its_agent_none(api: Api) -> None:
    """Not even for the API."""
    reference = await add_pod(api)
    assert f'audience "" {UNNAMED}' in await refused(api, reference)


@pytest.mark.parametrize("way", ["inline", "claim", "ephemeral"])
async def test_an_agent_gets_what_a_csi_driver_requests(api: Api, way: str) -> None:
    """By the driver's own volumes, claims and claims made for the pod; without the driver nobody can tell."""
    volumes: dict[str, Tree] = {
        "inline": {"csi": {"driver": DRIVER}},
        "claim": {"persistentVolumeClaim": {"claimName": "data"}},
        "ephemeral": {"ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1"}},
        }}}},
    }  # fmt: skip
    for name in ("data", "p-v"):
        await add_claim(api, name, csi={"driver": DRIVER, "volumeHandle": name})
    reference = await add_pod(api, {"name": "v", **volumes[way]})
    missing = f'error validating audience "vault": csidriver.storage.k8s.io "{DRIVER}" not found'
    assert (await refused(api, reference, "vault")).endswith(missing)
    await add_driver(api, DRIVER, "vault")
    assert (await ask(api, reference, "vault")).status == 201
    assert f'audience "other" {UNNAMED}' in await refused(api, reference, "other")


async def test_a_claim_has_to_be_there(api: Api) -> None:
    """With its volume; each missing thing is told."""
    names = ("one", "two")
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    reference = await add_pod(api, *volumes)
    lost = 'persistentvolumeclaim "{}" not found'
    message = await refused(api, reference, "vault")
    assert message.endswith(f'error validating audience "vault": [{lost.format("one")}, {lost.format("two")}]')


async def test_volumes_that_are_older_than_drivers_count_as_theirs(api: Api) -> None:
    """In the pod, and behind a claim."""
    await add_driver(api, "file.csi.azure.com", "vault")
    source = {"shareName": "s", "secretName": "x"}
    reference = await add_pod(api, {"name": "v", "azureFile": source})
    assert (await ask(api, reference, "vault")).status == 201


async def test_a_right_to_an_audience_is_enough(api: Api) -> None:
    """A rule names it as a resource, and the account as its name."""
    reference = await add_pod(api)
    rule = {"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["registry"]}
    role: Tree = {
        "kind": "ClusterRole",
        "metadata": {"name": "pull"},
        "rules": [{**rule, "resourceNames": ["default"]}],
    }
    api_version = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    await api.create(f"{RBAC}/clusterroles", {**role, **api_version})
    binding = {
        "kind": "RoleBinding", "metadata": {"name": "pull"},
        "subjects": [{"kind": "User", "name": "system:node:n1", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "pull", "apiGroup": "rbac.authorization.k8s.io"},
    }  # fmt: skip
    assert UNNAMED in await refused(api, reference, "registry")
    await api.create(f"{RBAC}/namespaces/default/rolebindings", {**binding, **api_version})
    assert (await ask(api, reference, "registry")).status == 201
    assert UNNAMED in await refused(api, reference, "other")


async def test_a_token_request_is_for_the_account_that_it_means(api: Api) -> None:
    """Its name, namespace and uid may be said, and then have to be right; the answer tells the uid."""
    uid = (await api.get(TOKEN.removesuffix("/token")))["metadata"]["uid"]
    right = await ask(api, None, peer=ADMIN, name="default", namespace="default", uid=uid)
    assert (right.status, right.tree["metadata"]["uid"]) == (201, uid)
    stale = await ask(api, None, peer=ADMIN, uid="old")
    assert stale.status == 409
    assert stale.tree["message"] == (
        'Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "default": the UID in the token request '
        f"(old) does not match the UID of the service account ({uid})"
    )
    other = await ask(api, None, peer=ADMIN, name="other")
    assert other.status == 422
    assert 'metadata.name: Invalid value: "other": must match the service account name' in other.tree["message"]


async def test_an_issued_token_is_on_the_record() -> None:
    """By the id that its own uses are recorded with."""
    lines = Lines()
    policy = "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: Metadata}], omitStages: [RequestReceived]}"
    async with configured(policy, audit=lines) as api:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        await api.create(TOKEN.removesuffix("/default/token"), account)
        token = (await ask(api, None, peer=ADMIN)).tree["status"]["token"]
        issued = json.loads(lines.lines[-1])["annotations"]["authentication.kubernetes.io/issued-credential-id"]
        await api.send("GET", "/api/v1/nodes", b"", Peer(), authorization=f"Bearer {token}")
        used = json.loads(lines.lines[-1])["user"]["extra"]["authentication.kubernetes.io/credential-id"]
        assert used == [issued]


async def test_a_token_that_should_have_been_renewed_is_told_of() -> None:
    """A pod's token for the API holds longer than it says; its later uses are on the record, and counted."""
    lines = Lines()
    policy = "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: Metadata}], omitStages: [RequestReceived]}"
    async with configured(policy, audit=lines) as api:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        await api.create(TOKEN.removesuffix("/default/token"), account)
        reference = await add_pod(api)
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
        asked = {**body, "spec": {"boundObjectRef": reference, "expirationSeconds": 3607}}
        token = (await api.create(TOKEN, asked))["status"]["token"]

        async def note() -> str | None:
            await api.send("GET", "/api/v1/nodes", b"", Peer(), authorization=f"Bearer {token}")
            found: str | None = json.loads(lines.lines[-1])["annotations"].get("authentication.k8s.io/stale-token")
            return found

        assert await note() is None
        api.clock.time += 3607 + 5
        user = "system:serviceaccount:default:default"
        assert await note() == f"subject: {user}, seconds after warning threshold: 5"
        text = (await api.send("GET", "/metrics")).body.decode()
        assert "serviceaccount_stale_tokens_total 1" in text
        assert "serviceaccount_valid_tokens_total 1" in text


async def test_a_token_is_bound_to_what_it_can_be_bound_to(api: Api) -> None:
    """Pods of the same account, Secrets and Nodes; the refusals in the reference server's words."""
    await api.create("/api/v1/namespaces/default/serviceaccounts", {
        "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "another"},
    })  # fmt: skip
    await api.create(PODS, pod("theirs", serviceAccountName="another"))
    await api.create(PODS, pod("p"))
    wrong = [
        ({"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"}, 400, "object of type apps/v1, Kind=Deployment"),
        ({"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}, 400, "object of type /v1, Kind=ConfigMap"),
        (
            {"kind": "Pod", "apiVersion": "v1", "name": "theirs"}, 400,
            'cannot bind token for serviceaccount "default" to pod running with different serviceaccount name.',
        ),
        ({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "old"}, 409, 'Operation cannot be fulfilled on Pod "p"'),
        ({"kind": "Secret", "apiVersion": "v1", "name": "x"}, 404, 'secrets "x" not found'),
    ]  # fmt: skip
    for reference, code, text in wrong:
        answer = await ask(api, reference, peer=ADMIN)
        assert answer.status == code
        assert text in answer.tree["message"]
