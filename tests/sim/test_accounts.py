"""Accounts, tokens, certificates and roles in virtual time: who is allowed something late, and what is mended."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.cluster.aim import CONTROLLERS, Aim
from sampan.meta import objects
from sampan.testing import Cluster
from sampan.web.message import Peer
from tests.requests import request
from tests.sim import trees
from tests.sim.trees import Tree

RBAC = "rbac.authorization.k8s.io/v1"
SIGNING = "certificates.k8s.io"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def role(name: str, *rules: Tree, labels: Tree | None = None, **fields: Any) -> Tree:
    made = trees.tree(RBAC, "ClusterRole", name, "", rules=list(rules), **fields)
    made["metadata"]["labels"] = labels or {}
    return made


def bind(cluster: Cluster, name: str, user: str) -> None:
    reference = {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": reference["apiGroup"], "kind": "User", "name": user}
    cluster.create(trees.tree(RBAC, "ClusterRoleBinding", name, "", roleRef=reference, subjects=[subject]))


def test_a_request_is_approved_when_its_maker_gets_the_right(cluster: Cluster) -> None:
    """It is asked again and again, ever later, until then."""
    rule = {"apiGroups": [SIGNING], "resources": ["certificatesigningrequests"], "verbs": ["create"]}
    cluster.create(role("may-ask", rule))
    bind(cluster, "may-ask", "jane")
    spec = {
        "request": request("system:node:n1", ("system:nodes",)),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "key encipherment", "client auth"],
    }
    kind = next(k for k in cluster.kinds if k.name == "CertificateSigningRequest")
    jane = Client(cluster.sim.doors.door(Peer("jane", ("system:authenticated",))), "jane")
    made = trees.tree(f"{SIGNING}/v1", "CertificateSigningRequest", "r", "", spec=spec)
    cluster.run(jane.create(kind, made))
    cluster.advance(60)
    assert "conditions" not in (cluster.get("csr/r") or {}).get("status", {})
    cluster.create(role("may-join", {**rule, "resources": ["certificatesigningrequests/nodeclient"]}))
    bind(cluster, "may-join", "jane")
    cluster.wait_for("csr/r", "Approved", within=120)


def test_a_token_outlives_late_news_of_its_account(cluster: Cluster) -> None:
    """Its controller, which has not heard of the account yet, looks before it deletes anything."""
    late = Aim(users=CONTROLLERS, resources=("serviceaccounts",))
    with cluster.faults.late_watches(5, late):
        cluster.create(trees.tree("v1", "ServiceAccount", "bot"))
        secret = trees.tree("v1", "Secret", "token", type="kubernetes.io/service-account-token")
        secret["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "bot"}
        uid = objects.uid(cluster.create(secret))
        cluster.advance(10)
    found = cluster.get("secret/token") or {}
    assert objects.uid(found) == uid
    assert set(found["data"]) == {"ca.crt", "namespace", "token"}
    cluster.delete("serviceaccount/bot")
    cluster.wait_for("secret/token", "deleted")


def test_rules_are_gathered_selector_by_selector(cluster: Cluster) -> None:
    """Within one, by the roles' names; each rule once. What somebody else writes there is put right, its order too."""

    def rule(what: str) -> Tree:
        return {"apiGroups": [""], "resources": [what], "verbs": ["get"]}

    for name, label, rules in (
        ("z", "first", ("pods",)),
        ("a", "second", ("secrets", "pods")),
        ("b", "first", ("nodes",)),
    ):
        cluster.create(role(name, *map(rule, rules), labels={"part": label}))
    chosen = [{"matchLabels": {"part": part}} for part in ("first", "second")]
    cluster.create(role("whole", aggregationRule={"clusterRoleSelectors": chosen}))
    wanted = [rule("nodes"), rule("pods"), rule("secrets")]
    cluster.wait_for("clusterrole/whole", lambda r: r["rules"] == wanted)
    cluster.patch("clusterrole/whole", {"rules": [*reversed(wanted), rule("configmaps")]})
    cluster.wait_for("clusterrole/whole", lambda r: r["rules"] == wanted)
    writes = len(cluster.history("clusterrole/whole"))
    cluster.advance(600)
    assert len(cluster.history("clusterrole/whole")) == writes


def test_the_authoritys_certificate_may_be_described_otherwise(cluster: Cluster) -> None:
    """Another description stays; none at all is put right."""
    what = "configmap/kube-root-ca.crt"
    for text, shown in (("ours", "ours"), (None, "Contains a CA bundle")):
        cluster.patch(what, {"metadata": {"annotations": {"kubernetes.io/description": text}}})
        cluster.advance(5)
        assert objects.annotations(cluster.get(what) or {})["kubernetes.io/description"].startswith(shown)
