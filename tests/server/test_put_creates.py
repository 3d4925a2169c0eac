"""A PUT of what is not there: made for a few kinds, by whoever may create it, and not found for all others."""

from typing import Any

import pytest

from sampan.web.message import Peer
from tests.server.conftest import Api
from tests.server.test_impersonation import grant

CORE, RBAC = "/api/v1/namespaces/default", "/apis/rbac.authorization.k8s.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
LEASE = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "a"}}

Tree = dict[str, Any]


def named(path: str, made: Tree, **metadata: str) -> Tree:
    parts = path.split("/")
    version = "v1" if parts[1] == "api" else "/".join(parts[2:4])
    return {**made, "apiVersion": version, "metadata": {"name": "a", **metadata}}


@pytest.mark.parametrize("version", ["", "0", "7"])
@pytest.mark.parametrize(
    ("path", "made"),
    [
        (LEASES, {"kind": "Lease"}),
        (f"{CORE}/services", {"kind": "Service", "spec": {"ports": [{"port": 80}]}}),
        (f"{CORE}/endpoints", {"kind": "Endpoints"}),
        (f"{CORE}/limitranges", {"kind": "LimitRange", "spec": {"limits": []}}),
        ("/apis/node.k8s.io/v1/runtimeclasses", {"kind": "RuntimeClass", "handler": "x"}),
        (f"{RBAC}/clusterroles", {"kind": "ClusterRole", "rules": []}),
        (f"{RBAC}/namespaces/default/roles", {"kind": "Role", "rules": []}),
    ],
)
async def test_a_replacement_makes_it(api: Api, path: str, made: Tree, version: str) -> None:
    """Whichever version is said; one that means a certain object, by its uid, is a conflict."""
    body = named(path, made, resourceVersion=version)
    refused = await api.send("PUT", f"{path}/a", named(path, made, uid="u"))
    assert (refused.status, refused.tree["reason"]) == (409, "Conflict")
    assert (
        "/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, UID in object meta: "
        in (refused.tree["message"])
    )
    assert (await api.send("PUT", f"{path}/b", body)).status == 400
    assert (await api.send("PUT", f"{path}/a?dryRun=All", body)).status == 201
    answer = await api.send("PUT", f"{path}/a", body)
    assert answer.status == 201, answer.body
    assert (await api.get(f"{path}/a"))["metadata"]["uid"] == answer.tree["metadata"]["uid"]


async def test_only_who_may_create_it_makes_it(api: Api) -> None:
    """The right to update is not enough."""
    await grant(api, "updater", "bot", ("update", "coordination.k8s.io", "leases"))
    refused = await api.send("PUT", f"{LEASES}/a", LEASE, Peer("bot"))
    assert (refused.status, (await api.send("GET", f"{LEASES}/a")).status) == (403, 404)
    await grant(api, "creator", "bot", ("create", "coordination.k8s.io", "leases"))
    assert (await api.send("PUT", f"{LEASES}/a", LEASE, Peer("bot"))).status == 201


@pytest.mark.parametrize("version", ["", "0", "7"])
@pytest.mark.parametrize(
    ("path", "made"),
    [(BUDGETS, {"kind": "PodDisruptionBudget"}), (f"{CORE}/configmaps", {"kind": "ConfigMap"})],
)
async def test_any_other_is_not_found(api: Api, path: str, made: Tree, version: str) -> None:
    """Also of a kind whose replacements must say which version they replace, and whichever object is meant."""
    assert (await api.send("PUT", f"{path}/a", named(path, made, resourceVersion=version))).status == 404
    assert (await api.send("PUT", f"{path}/a", named(path, made, uid="u"))).status == 404
