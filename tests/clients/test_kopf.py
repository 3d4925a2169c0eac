"""kopf, unmodified: an operator with handlers, a timer, a daemon, a finalizer and admission."""

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.web import certificates
from sampan.web.certificates import Subject
from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

OPERATOR = Path(__file__).parent / "operator/stalls.py"
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: booths.kopf.example.com}
spec:
  group: kopf.example.com
  scope: Namespaced
  names: {plural: booths, singular: booth, kind: Booth}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}, colour: {type: string}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


def booth(name: str, size: int) -> str:
    """One custom object."""
    head = {"apiVersion": "kopf.example.com/v1", "kind": "Booth", "metadata": {"name": name}}
    return json.dumps({**head, "spec": {"size": size}})


@pytest.fixture
def operator(cluster: Cluster, ns: str, tmp_path: Path) -> Iterator[None]:
    """The operator as a process, once its admission is registered."""
    cluster.kubectl("apply", "-f", "-", stdin=textwrap.dedent(DEFINITION))
    authority = certificates.new_authority("operator", time.time())
    authority.save(tmp_path, "ca")
    certificates.issue(authority, Subject("hook", hosts=("127.0.0.1",)), time.time()).save(tmp_path, "hook")
    command = [sys.executable, "-m", "kopf", "run", str(OPERATOR), "-n", ns, "--standalone"]
    with (tmp_path / "operator.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**cluster.environment, "WEBHOOK_KEYS": str(tmp_path)}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            hooks = ("mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "name")
            cluster.until("the operator's webhooks", lambda: cluster.kubectl("get", *hooks).count("booths") == 2)
            yield
        except BaseException:
            print((tmp_path / "operator.log").read_text()[-4000:])
            raise
        finally:
            process.terminate()
            process.wait(60)
    cluster.kubectl("delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "--all")
    cluster.kubectl("delete", "crd", "booths.kopf.example.com", "--timeout=60s")


def test_an_operator_does_its_work(cluster: Cluster, ns: str, operator: None) -> None:
    """Each handler's effect is seen in the objects."""
    cluster.kubectl("create", "-f", "-", stdin=booth("one", 5))
    status = cluster.until("status", lambda: _worked(cluster))
    assert status["made"] == {"size": 5}
    made = cluster.get("booth", "one")
    assert made["spec"]["colour"] == "red"
    assert "kopf.example.com/hold" in made["metadata"]["finalizers"]
    assert cluster.get("configmap", "one")["metadata"]["ownerReferences"][0]["kind"] == "Booth"
    cluster.kubectl("patch", "booth", "one", "--type=merge", "-p", '{"spec": {"size": 7}}')
    cluster.until("the update", lambda: cluster.get("booth", "one")["status"].get("grown") == "5 to 7")
    told = cluster.refused("create", "-f", "-", stdin=booth("two", 500))
    assert "nobody needs such a booth" in told
    warned = cluster.run("kubectl", "create", "-f", "-", stdin=booth("three", 70))
    assert "Warning: this is a large booth" in warned.stderr
    cluster.kubectl("delete", "booth", "--all", "--timeout=60s")
    cluster.until(
        "collection of what it owned", lambda: cluster.kubectl("get", "configmap", "one", "--ignore-not-found") == ""
    )


def _worked(cluster: Cluster) -> dict[str, object] | None:
    status: dict[str, object] = cluster.get("booth", "one").get("status", {})
    return status if status.get("made") and status.get("minded") and status.get("ticks") == 2 else None
