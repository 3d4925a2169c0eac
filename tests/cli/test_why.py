"""`sampan why` over a cluster's API, as an ordinary user has it: words, exit codes, JSON, any kubeconfig."""

import json

import pytest

from tests.cli.conftest import User
from tests.ports import free_port

pytestmark = pytest.mark.slow

BROKEN = """
{apiVersion: apps/v1, kind: Deployment, metadata: {name: broken}, spec: {selector: {matchLabels: {app: broken}},
  template: {metadata: {labels: {app: broken}}, spec: {containers: [{name: web, image: web, envFrom: [{configMapRef: {name: absent}}]}]}}}}
"""


def test_why(user: User) -> None:
    """What is healthy, what is not, what does not exist, and what makes no sense."""
    user.sampan(f"up --runtime simulated --name why --api-port {free_port()}")
    user.kubectl("create deployment web --image=nginx")
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    assert user.sampan("why deploy/web --name why") == "deployment/web is healthy: it has 1 of 1 pod available\n"
    assert user.sampan("why --name why") == "everything is healthy in namespace default\n"
    manifest = user.home / "broken.yaml"
    manifest.write_text(BROKEN)
    user.kubectl(f"apply -f {manifest}")
    reason = "--for=jsonpath={.items[0].status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    user.kubectl(f"wait pod -l app=broken {reason.replace('.items[0]', '')} --timeout=60s")
    said = user.run("sampan", "why", "deployment", "broken", "--name", "why", code=1).stdout
    assert said.startswith("deployment/broken is stuck: container web: ConfigMap absent does not exist in default")
    assert "\n  kubectl -n default create configmap absent --from-literal=KEY=VALUE\n" in said
    everything = user.run("sampan", "why", "--kubeconfig", str(user.kubeconfig), code=1).stdout
    assert everything.startswith("1 not healthy in namespace default:\n\ndeployment/broken is stuck")
    tree = json.loads(user.run("sampan", "why", "deploy/broken", "-o", "json", "--name", "why", code=1).stdout)
    assert (tree["state"], tree["causes"][0]["causes"][0]["reason"]) == ("Stuck", "ConfigMapMissing")
    assert "default: deployment/broken is stuck" in user.sampan("status --name why")
    assert "there is no deployment/brokn in default; did you mean broken?" in user.fails("why deploy/brokn --name why")
    assert "there is no namespace elsewhere" in user.fails("why -n elsewhere --name why")
    assert "no kind is called 'ship' here" in user.run("sampan", "why", "ship/a", "--name", "why", code=2).stderr
    assert "names no object" in user.run("sampan", "why", "pod", "--name", "why", code=2).stderr
    user.kubectl("create namespace shop")
    user.kubectl(f"apply -n shop -f {manifest}")
    user.kubectl(f"wait -n shop pod -l app=broken {reason.replace('.items[0]', '')} --timeout=60s")
    anywhere = user.run("sampan", "why", "-A", "--name", "why", code=1).stdout
    assert anywhere.startswith("2 not healthy in all namespaces:\n\ndefault: deployment/broken is stuck")
    assert "\nshop: deployment/broken is stuck: container web: ConfigMap absent does not exist in shop" in anywhere
    trees = json.loads(user.run("sampan", "why", "-A", "-o", "json", "--name", "why", code=1).stdout)
    assert [tree["namespace"] for tree in trees] == ["default", "shop"]
    refused = user.run("sampan", "why", "deploy/broken", "-A", "--name", "why", code=2).stderr
    assert "one object can't be looked for in all namespaces" in refused
