"""What a user asks for in vain: said with upstream's words, or named as not available yet."""

import pytest

from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  volumes: [{name: v, nfs: {server: a, path: b}}, {name: w, persistentVolumeClaim: {}}]
  ephemeralContainers: [{name: e, image: x}]
  containers: [{name: c, image: x}]
"""


def test_pods_that_do_not_fit_together(cluster: Cluster, ns: str) -> None:
    """Every cause is told, with its field."""
    told = cluster.refused("apply", "-f", "-", stdin=POD)
    assert 'spec.volumes[0].nfs.path: Invalid value: "b": must be an absolute path' in told
    assert "spec.volumes[1].persistentVolumeClaim.claimName: Required value" in told
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in told


def test_bad_manifests(cluster: Cluster, ns: str) -> None:
    """A wrong type, an unknown field, what does not fit together."""
    head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n"
    rest = "  template: {metadata: {labels: {a: c}}, spec: {containers: [{name: x}]}}\n"
    told = cluster.refused("apply", "-f", "-", stdin=head + '  replicas: "x"\n' + rest)
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in told
    told = cluster.refused("apply", "-f", "-", stdin=head + "  nope: 1\n" + rest)
    assert 'strict decoding error: unknown field "spec.nope"' in told
    told = cluster.refused("apply", "-f", "-", "--validate=false", stdin=head + "  nope: 1\n" + rest)
    assert told.splitlines() == [
        'The Deployment "d" is invalid: ',
        '* spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`',
        "* spec.template.spec.containers[0].image: Required value",
    ]


def test_names_that_exist_or_do_not(cluster: Cluster, ns: str) -> None:
    """AlreadyExists, NotFound, a namespace that is not there, a kind that nobody knows."""
    cluster.kubectl("create", "configmap", "c")
    assert 'configmaps "c" already exists' in cluster.refused("create", "configmap", "c")
    assert 'namespaces "nope" not found' in cluster.refused("create", "configmap", "c", "-n", "nope")
    assert cluster.refused("get", "pods", "x") == 'Error from server (NotFound): pods "x" not found\n'
    assert 'the server doesn\'t have a resource type "nope"' in cluster.refused("get", "nope")
    assert "unable to find specified revision" not in cluster.refused("rollout", "history", "deploy/x")
    told = cluster.refused("get", "--raw", f"/api/v1/namespaces/{ns}/pods/x/nope")
    assert told == "Error from server (NotFound): the server could not find the requested resource\n"
    told = cluster.refused("create", "token", "default", "--duration=1m")
    assert "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes" in told


def test_paths_that_nobody_serves(cluster: Cluster, ns: str) -> None:
    """A plain page and a Status are the same to kubectl; what is served is told in full."""
    missing = "Error from server (NotFound): the server could not find the requested resource\n"
    for path in ("/nope", "/apis/nope/v1/things", "/api/v2", "/api/v1/nopes", "/healthz/nope"):
        assert cluster.refused("get", "--raw", path) == missing, path
    assert "Server Version: v1.36." in cluster.kubectl("version")
    assert "Kubernetes control plane" in cluster.kubectl("cluster-info")
    assert cluster.kubectl("get", "--raw", "/livez/ping") == "ok"
    cluster.kubectl("create", "configmap", "gone")
    cluster.kubectl("delete", "configmaps", "--all")
    assert "gone" not in cluster.kubectl("get", "configmaps")
