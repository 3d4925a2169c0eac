"""Protection at work in a cluster: who is refused, who is not, and that everything still goes its way."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from sampan.client.api import Client
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.meta.status import ApiError
from sampan.platform.protection.budget import PODUNAVAILABLEBUDGET
from sampan.testing.cluster import Cluster
from sampan.web.message import Peer

Tree = dict[str, Any]
LABEL = "policy.kruise.io/delete-protection"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(layers=["protection"]) as made:
        yield made


def deployment(name: str = "web", replicas: int = 3, labels: Tree | None = None) -> Tree:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "web:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
    }


def budget(**spec: Any) -> Tree:
    given = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    metadata = {"name": "web", "namespace": "default"}
    return {
        "apiVersion": "policy.kruise.io/v1alpha1",
        "kind": "PodUnavailableBudget",
        "metadata": metadata,
        "spec": given,
    }


def allows(count: int) -> Callable[[Tree], bool]:
    return lambda found: bool((found.get("status") or {}).get("unavailableAllowed") == count)


def settled(cluster: Cluster, count: int = 3) -> list[str]:
    cluster.wait_for("deployment/web", lambda found: (found.get("status") or {}).get("availableReplicas") == count)
    pods = cluster.run(cluster.client.list(POD, "default", labels="app=web")).items
    return sorted(p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"])


def noted(cluster: Cluster) -> list[str]:
    """Pods whose disruption was ever noted in the budget's status."""
    found = [orjson.loads(change.stored) for change in cluster.history("podunavailablebudget/web")]
    return sorted({name for each in found for name in (each.get("status") or {}).get("disruptedPods") or ()})


def test_a_namespace_is_protected_until_its_label_is_gone(cluster: Cluster) -> None:
    """A deletion is refused with the reason, also as a dry run; without the label the namespace goes with all in it."""
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {LABEL: "Always"}}})
    cluster.apply(deployment(), namespace="shop")
    with pytest.raises(ApiError, match="forbidden by ResourcesProtectionDeletion for policy"):
        cluster.delete("namespace/shop")
    cluster.run(cluster.client.patch(NAMESPACE, ("", "shop"), {"metadata": {"labels": {LABEL: "Cascading"}}}))
    cluster.wait_for("deployment/web", lambda d: d["status"].get("availableReplicas") == 3, namespace="shop")
    with pytest.raises(ApiError, match="active pods 3>0"):
        cluster.delete("namespace/shop")
    cluster.run(cluster.client.patch(NAMESPACE, ("", "shop"), {"metadata": {"labels": {LABEL: None}}}))
    cluster.delete("namespace/shop")
    cluster.wait_for("namespace/shop", "deleted")


def test_a_definition_with_objects_is_protected(cluster: Cluster) -> None:
    """Its objects are counted by asking for them."""
    cluster.apply(budget(maxUnavailable=1))
    name = "podunavailablebudgets.policy.kruise.io"
    definition = cluster.get(f"customresourcedefinition/{name}")
    assert definition is not None
    cluster.apply({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name, "labels": {LABEL: "Cascading"}}, "spec": definition["spec"]})  # fmt: skip
    with pytest.raises(ApiError, match="active CRs 1>0"):
        cluster.delete(f"customresourcedefinition/{name}")


def test_a_budget_counts_deletions_evictions_and_updates(cluster: Cluster) -> None:
    """One pod may go; the next is refused in each way until the first one is replaced."""
    slow = deployment()
    probe = {"httpGet": {"path": "/", "port": 80}, "initialDelaySeconds": 5}
    slow["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe
    cluster.apply(slow, budget(maxUnavailable=1))
    names = settled(cluster)
    cluster.wait_for("podunavailablebudget/web", allows(1))
    client = cluster.client
    cluster.run(client.delete(POD, ("default", names[0])))
    assert noted(cluster) == [names[0]]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": names[1], "namespace": "default"}}
    image = {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}
    tries = (
        (client.delete(POD, ("default", names[1])), 403),
        (client.create_subresource(POD, ("default", names[1]), "eviction", eviction), 429),
        (client.patch(POD, ("default", names[1]), image, type="strategic"), 403),
    )
    for tried, code in tries:
        with pytest.raises(ApiError, match="pub unavailable allowed is negative") as refused:
            cluster.run(tried)
        assert refused.value.code == code
    cluster.wait_for("podunavailablebudget/web", allows(1))
    cluster.run(client.create_subresource(POD, ("default", names[1]), "eviction", eviction))
    assert noted(cluster) == names[:2]
    assert allows(0)(cluster.get("podunavailablebudget/web") or {})


def test_of_deletions_at_once_as_many_pass_as_are_allowed(cluster: Cluster) -> None:
    """Whoever is slower sees what the faster one took."""
    import asyncio

    cluster.apply(deployment(replicas=6), budget(maxUnavailable=2))
    names = settled(cluster, 6)
    cluster.wait_for("podunavailablebudget/web", allows(2))

    async def all_at_once() -> list[Any]:
        tries = (cluster.client.delete(POD, ("default", name)) for name in names)
        return await asyncio.gather(*tries, return_exceptions=True)

    answers = cluster.run(all_at_once())
    assert sum(isinstance(answer, ApiError) for answer in answers) == 4


def test_workloads_shrink_update_and_go_under_a_budget(cluster: Cluster) -> None:
    """The budget follows the workload, so that nobody hangs on it."""
    cluster.apply(deployment(), budget(minAvailable=2))
    settled(cluster)
    changed = deployment()
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    cluster.apply(changed)
    cluster.wait_for("deployment/web", lambda d: d["status"].get("updatedReplicas") == d["status"].get("replicas") == 3)
    cluster.apply(deployment(replicas=0))
    cluster.wait_for("deployment/web", lambda d: not d["status"].get("replicas"))
    cluster.apply(deployment())
    settled(cluster)
    cluster.delete("deployment/web")
    cluster.run_until(lambda: not cluster.list("pods", "default"))


def test_a_namespace_with_a_budget_goes(cluster: Cluster) -> None:
    """Its pods go when their workload is gone."""
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    cluster.apply(deployment(), namespace="shop")
    wanted = budget(minAvailable=3)
    cluster.apply({**wanted, "metadata": {"name": "web", "namespace": "shop"}})
    cluster.wait_for(
        "podunavailablebudget/web", lambda b: allows(0)(b) and b["status"]["currentAvailable"] == 3, namespace="shop"
    )
    cluster.delete("namespace/shop")
    cluster.wait_for("namespace/shop", "deleted")


def test_a_looping_deleter_is_stopped_and_recovers(cluster: Cluster) -> None:
    """It destroys thirty objects at most; others work on, and so does it after five minutes of peace."""

    def service(number: int) -> Tree:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{number}"},
            "spec": {"ports": [{"port": 80}]},
        }

    def client(user: str) -> Client:
        return Client(cluster.sim.doors.door(Peer(user, ("system:masters",))), user)

    for number in range(40):
        cluster.create(service(number))
    script = client("script")
    refused = 0
    for number in range(40):
        try:
            cluster.run(script.delete(SERVICE, ("default", f"s{number}")))
        except ApiError as error:
            refused += 'the fuse of user "script" has blown' in error.message
    assert refused == 10
    assert len(cluster.run(cluster.client.list(SERVICE, "default", labels="")).items) == 11
    cluster.run(client("operator").delete(SERVICE, ("default", "s39")))
    cluster.advance(301)
    cluster.run(script.delete(SERVICE, ("default", "s38")))


def test_the_fuse_is_set_by_its_config_map(cluster: Cluster) -> None:
    """From one deletion to the next."""
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sampan-fuse", "namespace": "kube-system"}, "data": {"limit": "1"}})  # fmt: skip
    names = [f"n{number}" for number in range(4)]
    for name in names:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    cluster.delete(f"namespace/{names[0]}")
    with pytest.raises(ApiError, match="more than 1 different objects"):
        cluster.delete(f"namespace/{names[1]}")
    more = {"data": {"exempt": "kubernetes-*"}}
    cluster.run(cluster.client.patch(CONFIGMAP, ("kube-system", "sampan-fuse"), more))
    for name in names[1:]:
        cluster.delete(f"namespace/{name}")


def test_a_budget_that_says_nothing_is_refused(cluster: Cluster) -> None:
    """With all that is wrong with it."""
    with pytest.raises(ApiError, match="no maxUnavailable or minAvailable defined") as refused:
        cluster.apply(budget())
    assert refused.value.code == 400
    cluster.apply(budget(maxUnavailable=1))
    other = {**budget(maxUnavailable=1), "metadata": {"name": "other", "namespace": "default"}}
    with pytest.raises(ApiError, match="in conflict with other PodUnavailableBudget web"):
        cluster.create(other)
    assert [PODUNAVAILABLEBUDGET.plural] == ["podunavailablebudgets"]


@pytest.mark.parametrize("by", ["targetRef", "selector"])
def test_a_custom_workload_that_goes_holds_no_pods(by: str) -> None:
    """It is there until somebody takes its finalizer away, and its pods may go at once all the same."""
    spec = {**deployment()["spec"], "strategy": {"canary": {}}}
    api, metadata = "argoproj.io/v1alpha1", {"name": "web", "finalizers": ["example.com/held"]}
    target = {"targetRef": {"apiVersion": api, "kind": "Rollout", "name": "web"}}
    which = target if by == "targetRef" else {"selector": {"matchLabels": {"app": "web"}}}
    with Cluster(layers=["protection", "rollouts"]) as cluster:
        cluster.apply({"apiVersion": api, "kind": "Rollout", "metadata": metadata, "spec": spec})
        cluster.apply(
            {
                "apiVersion": PODUNAVAILABLEBUDGET.api_version,
                "kind": "PodUnavailableBudget",
                "metadata": {"name": "web"},
                "spec": {**which, "maxUnavailable": 0},
            }  # fmt: skip
        )
        cluster.wait_for("podunavailablebudget/web", lambda b: b.get("status", {}).get("currentAvailable") == 3)
        name = cluster.list("pods")[0]["metadata"]["name"]
        with pytest.raises(ApiError, match="pub unavailable allowed is negative"):
            cluster.delete(f"pod/{name}")
        cluster.delete("rollout/web")
        cluster.wait_for("podunavailablebudget/web", lambda b: b["status"]["desiredAvailable"] == 0)
        cluster.delete(f"pod/{name}")
