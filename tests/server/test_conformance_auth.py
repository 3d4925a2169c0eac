"""The conformance tests of SIG auth whose steps are not elsewhere: opting out of tokens, and reviews that come true.

A number is the test's position in upstream's list of conformance tests.
"""

from typing import Any

import pytest

from tests.server.conftest import Api, config_map

BASE = "/api/v1/namespaces/default"
AUTHZ = "/apis/authorization.k8s.io/v1"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

Tree = dict[str, Any]


@pytest.mark.parametrize("account", [None, True, False])
@pytest.mark.parametrize("wish", [None, True, False])
async def test_opting_out_of_the_token(api: Api, account: bool | None, wish: bool | None) -> None:
    """162: what the pod says holds, else what its account says, else the token is mounted into every container."""
    body: Tree = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "mount"}}
    await api.create(f"{BASE}/serviceaccounts", body | _said(account))
    containers = [{"name": name, "image": "x"} for name in ("a", "b")]
    spec = {"containers": containers, "initContainers": [{"name": "i", "image": "x"}], "serviceAccountName": "mount"}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec | _said(wish)}
    made = (await api.create(f"{BASE}/pods", pod))["spec"]
    mounted = wish if wish is not None else account is not False
    for container in (*made["containers"], *made["initContainers"]):
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        assert paths == ([MOUNT] if mounted else [])
    volumes = [source for volume in made.get("volumes", []) for source in volume["projected"]["sources"]]
    assert [next(iter(source)) for source in volumes] == (
        ["serviceAccountToken", "configMap", "downwardAPI"] if mounted else []
    )


def _said(automount: bool | None) -> Tree:
    return {} if automount is None else {"automountServiceAccountToken": automount}


async def test_a_service_account_is_updated(api: Api) -> None:
    """168: automounting switched on by an update, from a get to a get."""
    body = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "e2e-sa"}}
    await api.create(f"{BASE}/serviceaccounts", {**body, "automountServiceAccountToken": False})
    live = await api.get(f"{BASE}/serviceaccounts/e2e-sa")
    live["automountServiceAccountToken"] = True
    await api.put(f"{BASE}/serviceaccounts/e2e-sa", live)
    assert (await api.get(f"{BASE}/serviceaccounts/e2e-sa"))["automountServiceAccountToken"] is True


@pytest.mark.parametrize("is_bound", [False, True])
async def test_a_review_tells_what_happens(api: Api, is_bound: bool) -> None:
    """169: SubjectAccessReview and LocalSubjectAccessReview say of an account what its impersonator then meets."""
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "e2e"}}
    uid = (await api.create(f"{BASE}/serviceaccounts", account))["metadata"]["uid"]
    user = "system:serviceaccount:default:e2e"
    groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]
    if is_bound:
        binding = {
            "kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "v"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "e2e", "namespace": "default"}],
        }  # fmt: skip
        await api.create("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding)
    attributes = {"verb": "list", "resource": "configmaps", "namespace": "default", "version": "v1"}
    spec = {"resourceAttributes": attributes, "user": user, "groups": groups, "uid": uid}
    head = {"apiVersion": "authorization.k8s.io/v1", "spec": spec}
    wide = await api.create(f"{AUTHZ}/subjectaccessreviews", {**head, "kind": "SubjectAccessReview"})
    local = {**head, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": "default"}}
    narrow = await api.create(f"{AUTHZ}/namespaces/default/localsubjectaccessreviews", local)
    await api.create(f"{BASE}/configmaps", config_map("a"))
    said = {"impersonate_user": user, "impersonate_uid": uid, "impersonate_group": ",".join(groups)}
    listed = await api.send(
        "GET", f"{BASE}/configmaps", **{key: value for key, value in said.items() if "group" not in key}
    )
    assert (wide["status"]["allowed"], narrow["status"]["allowed"], listed.status == 200) == (is_bound,) * 3
    assert listed.status == 200 or listed.tree["reason"] == "Forbidden"


async def test_the_issuer_says_how_its_tokens_are_verified(api: Api) -> None:
    """161: a configuration and a key set, each of its own type, which anybody may keep for an hour."""
    told = await api.send("GET", "/.well-known/openid-configuration")
    keys = await api.send("GET", "/openid/v1/jwks")
    assert told.headers["content-type"] == "application/json"
    assert keys.headers["content-type"] == "application/jwk-set+json"
    assert {answer.headers["cache-control"] for answer in (told, keys)} == {"public, max-age=3600"}
    assert told.tree["jwks_uri"] == f"{told.tree['issuer']}/openid/v1/jwks"
    assert {key["alg"] for key in keys.tree["keys"]} == set(told.tree["id_token_signing_alg_values_supported"])
    assert {key["use"] for key in keys.tree["keys"]} == {"sig"}
