"""kubectl on objects: create, apply, prune, patch, edit, labels, deletes, roles, nodes, events."""

import json

import pytest

from tests.clients.conftest import IDLE, Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]


SLEEPER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, labels: {app: d}}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: busybox, image: "busybox:1.36", command: [sleep, "1000"]}]
"""


def maps(**data: str) -> str:
    """A list of labelled config maps with one key each."""
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n, "labels": {"set": "p"}}, "data": {"x": v}}
        for n, v in data.items()
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def test_apply_prunes_and_dry_runs(cluster: Cluster, ns: str) -> None:
    """By label and list of kinds, and as an ApplySet; a dry run on the server writes nothing."""
    prune = ("apply", "-f", "-", "--prune", "-l", "set=p", "--prune-allowlist=core/v1/ConfigMap")
    assert cluster.kubectl(*prune, stdin=maps(a="1", b="1")) == "configmap/a created\nconfigmap/b created\n"
    assert "configmap/b pruned" in cluster.kubectl(*prune, stdin=maps(a="1"))
    dry = cluster.kubectl("apply", "-f", "-", "--dry-run=server", stdin=maps(a="2"))
    assert dry == "configmap/a configured (server dry run)\n"
    assert cluster.get("configmap", "a")["data"] == {"x": "1"}
    shown = cluster.run("kubectl", "diff", "-f", "-", stdin=maps(a="2"), check=False)
    assert shown.returncode == 1
    assert '-  x: "1"\n+  x: "2"' in shown.stdout
    made = cluster.kubectl("create", "configmap", "new", "--dry-run=server", "-o", "yaml")
    assert "uid:" in made
    assert "resourceVersion" not in made


def test_applying_with_two_managers(cluster: Cluster, ns: str) -> None:
    """Conflicts name the other manager; force takes over."""
    server_side = ("apply", "--server-side", "-f", "-")
    cluster.kubectl(*server_side, "--field-manager=one", stdin=maps(a="1"))
    told = cluster.refused(*server_side, "--field-manager=two", stdin=maps(a="2"))
    assert 'Apply failed with 1 conflict: conflict with "one": .data.x' in told
    cluster.kubectl(*server_side, "--field-manager=two", "--force-conflicts", stdin=maps(a="2"))
    assert cluster.get("configmap", "a")["data"] == {"x": "2"}


def test_labels_and_annotations_come_and_go(cluster: Cluster, ns: str) -> None:
    """Overwriting needs to be asked for; what is empty is not kept."""
    cluster.kubectl("create", "configmap", "c")
    assert cluster.kubectl("label", "cm", "c", "k=v") == "configmap/c labeled\n"
    assert cluster.kubectl("label", "cm", "c", "k=v") == "configmap/c not labeled\n"
    assert "'k' already has a value (v), and --overwrite is false" in cluster.refused("label", "cm", "c", "k=w")
    cluster.kubectl("label", "cm", "c", "k=w", "--overwrite")
    assert cluster.kubectl("label", "cm", "c", "k-") == "configmap/c unlabeled\n"
    cluster.kubectl("annotate", "cm", "c", "k=v")
    cluster.kubectl("annotate", "cm", "c", "k-")
    assert not {"labels", "annotations"} & set(cluster.get("cm", "c")["metadata"])
    assert 'metadata.labels: Invalid value: "bad key": name part must consist of' in cluster.refused(
        "label", "cm", "c", "bad key=x"
    )


def test_patches_of_all_three_kinds(cluster: Cluster, ns: str) -> None:
    """Strategic by name, merge with null, JSON with a failing test; and through scale."""
    cluster.kubectl("create", "deployment", "d", "--image=busybox:1.36", "--replicas=0")
    add = {"spec": {"template": {"spec": {"containers": [{"name": "busybox", "env": [{"name": "A", "value": "b"}]}]}}}}
    assert cluster.kubectl("patch", "deploy", "d", "-p", json.dumps(add)) == "deployment.apps/d patched\n"
    (container,) = cluster.get("deploy", "d")["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["env"]) == ("busybox:1.36", [{"name": "A", "value": "b"}])
    assert "patched (no change)" in cluster.kubectl("patch", "deploy", "d", "-p", json.dumps(add))
    cluster.kubectl("patch", "deploy", "d", "--type=merge", "-p", '{"metadata":{"labels":{"app":null}}}')
    assert "labels" not in cluster.get("deploy", "d")["metadata"]
    test = '[{"op":"test","path":"/spec/replicas","value":9}]'
    told = cluster.refused("patch", "deploy", "d", "--type=json", "-p", test)
    assert told == "The request is invalid: the server rejected our request due to an error in our request\n"
    scale = ("--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}')
    assert cluster.kubectl("patch", "deploy", "d", *scale).startswith("scale.autoscaling/d patched")
    header, row = cluster.kubectl("get", "deploy", "d", "--subresource=scale").splitlines()
    assert header.split() == ["NAME", "DESIRED", "AVAILABLE", "AGE"]
    assert row.split()[:3] == ["d", "0", "0"]
    told = cluster.refused("patch", "deploy", "d", "-p", '{"spec":{"selector":{"matchLabels":{"a":"b"}}}}')
    assert "field is immutable" in told


def test_deletes_cascade_as_asked(cluster: Cluster, ns: str) -> None:
    """Orphans stay; in the foreground the owner goes last."""
    cluster.kubectl("apply", "-f", "-", stdin=SLEEPER)
    cluster.kubectl("rollout", "status", "deployment/d", "--timeout=60s")
    assert (
        cluster.kubectl("delete", "deployment", "d", "--cascade=orphan")
        == f'deployment.apps "d" deleted from {ns} namespace\n'
    )
    (owned,) = cluster.get("replicasets", "-l", "app=d")["items"]
    assert "ownerReferences" not in owned["metadata"]
    name = owned["metadata"]["name"]
    cluster.kubectl("delete", "pods", "-l", "app=d", "--force", "--grace-period=0", "--wait=false")
    cluster.kubectl("wait", "replicaset", name, "--for=jsonpath={.status.readyReplicas}=1", "--timeout=60s")
    cluster.kubectl("delete", "replicaset", name, "--cascade=foreground", "--timeout=60s")
    assert cluster.get("pods", "-l", "app=d")["items"] == []
    cluster.kubectl("create", "configmap", "a")
    cluster.kubectl("create", "configmap", "b")
    deleted = cluster.kubectl("delete", "configmap", "a", "b", "--ignore-not-found")
    assert deleted == f'configmap "a" deleted from {ns} namespace\nconfigmap "b" deleted from {ns} namespace\n'
    assert cluster.kubectl("delete", "configmap", "a", "--ignore-not-found") == ""


def test_a_pod_tells_its_story_in_order(cluster: Cluster, ns: str) -> None:
    """describe begins with the scheduler's word, though all comes in one second; events --for agrees."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "true"))
    cluster.kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    story = ["Scheduled", "Pulled", "Created", "Started"]
    cluster.until("all events", lambda: len(cluster.get("events")["items"]) >= len(story))
    described = cluster.kubectl("describe", "pod", "p").partition("Events:")[2]
    assert [line.split()[1] for line in described.splitlines()[3:]] == story
    assert sorted(line.split()[2] for line in cluster.kubectl("events", "--for", "pod/p").splitlines()[1:]) == sorted(
        story
    )
    scheduled = cluster.get("events", "--field-selector", "reason=Scheduled")["items"][0]
    assert (scheduled["reportingComponent"], scheduled["action"]) == ("default-scheduler", "Binding")


def test_aggregated_roles_collect_rules(cluster: Cluster, ns: str) -> None:
    """A cluster role with an aggregation rule holds what the selected ones allow."""
    label = f"rbac.example.com/to-{ns}"
    try:
        cluster.kubectl("create", "clusterrole", ns, f"--aggregation-rule={label}=true")
        cluster.kubectl("create", "clusterrole", f"{ns}-source", "--verb=get", "--resource=pods")
        cluster.kubectl("label", "clusterrole", f"{ns}-source", f"{label}=true")
        rules = cluster.until("the rules", lambda: cluster.get("clusterrole", ns)["rules"])
        assert rules == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        cluster.kubectl("create", "rolebinding", "b", f"--clusterrole={ns}", "--user=joe")
        assert cluster.kubectl("auth", "can-i", "get", "pods", "--as=joe") == "yes\n"
    finally:
        cluster.kubectl("delete", "clusterrole", ns, f"{ns}-source", "--ignore-not-found")


def test_rights_are_listed(cluster: Cluster, ns: str) -> None:
    """can-i --list of the administrator, whoami, what another user may not."""
    listed = cluster.kubectl("auth", "can-i", "--list")
    assert "*.*" in listed
    assert "selfsubjectreviews.authentication.k8s.io" in listed
    assert "Username    joe" in " ".join(cluster.kubectl("auth", "whoami", "--as=joe").split("\t"))
    told = cluster.refused("get", "pods", "--as=joe")
    assert f'User "joe" cannot list resource "pods" in API group "" in the namespace "{ns}"' in told


def test_a_node_is_drained_by_evictions(cluster: Cluster, ns: str) -> None:
    """Cordoned and tainted, its pods evicted; then it takes pods again."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", IDLE))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    try:
        assert "cannot delete Pods that declare no controller" in cluster.refused("drain", node, "--pod-selector=run=p")
        drained = cluster.kubectl("drain", node, "--force", "--grace-period=1", "--pod-selector=run=p")
        assert "pod/p evicted" in drained
        assert f"node/{node} drained" in drained
        cluster.until(
            "the taint", lambda: "node.kubernetes.io/unschedulable" in cluster.kubectl("describe", "node", node)
        )
    finally:
        cluster.kubectl("uncordon", node)
    cluster.until("no taint", lambda: "taints" not in cluster.get("node", node)["spec"])
    assert "already has a taint" not in cluster.kubectl("taint", "node", node, "sampan.dev/x=y:PreferNoSchedule")
    assert f"node/{node} untainted" in cluster.kubectl("taint", "node", node, "sampan.dev/x-")
