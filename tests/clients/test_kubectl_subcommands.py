"""kubectl 1.37 and 1.35, unmodified: every subcommand that needs no running pod, over a cluster with simulated nodes."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Cluster

pytestmark = [pytest.mark.slow]

# kubectl create SUBCOMMAND ...: what it says
CREATED = {
    "clusterrole see --verb=get,list --resource=pods": "clusterrole.rbac.authorization.k8s.io/see created",
    "clusterrolebinding see --clusterrole=see --user=jane": "clusterrolebinding.rbac.authorization.k8s.io/see created",
    "configmap c --from-literal=k=v": "configmap/c created",
    "cronjob c --image=busybox:1.36 --schedule=*/5_*_*_*_* -- date": "cronjob.batch/c created",
    "deployment d --image=busybox:1.36": "deployment.apps/d created",
    "ingress i --rule=h.example.com/p*=d:80 --class=none": "ingress.networking.k8s.io/i created",
    "job j --image=busybox:1.36 -- date": "job.batch/j created",
    "job k --from=cronjob/c": "job.batch/k created",
    "poddisruptionbudget p --selector=app=d --min-available=1": "poddisruptionbudget.policy/p created",
    "priorityclass urgent --value=1000": "priorityclass.scheduling.k8s.io/urgent created",
    "quota q --hard=pods=50,count/configmaps=50": "resourcequota/q created",
    "role r --verb=get --resource=pods,pods/log": "role.rbac.authorization.k8s.io/r created",
    "rolebinding r --role=r --serviceaccount=default:default": "rolebinding.rbac.authorization.k8s.io/r created",
    "secret generic s --from-literal=k=v": "secret/s created",
    "secret docker-registry e --docker-server=r --docker-username=u --docker-password=p": "secret/e created",
    "service clusterip one --tcp=80": "service/one created",
    "service nodeport two --tcp=80": "service/two created",
    "service loadbalancer three --tcp=80": "service/three created",
    "service externalname four --external-name=example.com": "service/four created",
    "serviceaccount a": "serviceaccount/a created",
}
CLUSTER_WIDE = ("clusterrole/see", "clusterrolebinding/see", "priorityclass/urgent")
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tents.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Namespaced
  names: {plural: tents, singular: tent, kind: Tent, shortNames: [tt], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.poles, statusReplicasPath: .status.poles}
    additionalPrinterColumns: [{name: Poles, type: integer, jsonPath: .spec.poles}]
    schema:
      openAPIV3Schema:
        type: object
        description: A tent is a house of cloth.
        properties:
          spec:
            type: object
            properties: {poles: {type: integer, description: How many poles hold it., minimum: 1}}
          status: {type: object, properties: {poles: {type: integer}}}
"""


@dataclass
class Kubectl:
    """One program, in a namespace of its own."""

    cluster: Cluster
    program: str
    namespace: str

    def __call__(self, words: str, *more: str, stdin: str = "") -> str:
        """Words are split at spaces; an underscore in a word stands for a space."""
        arguments = [word.replace("_", " ") if word.startswith("--schedule") else word for word in words.split()]
        return self.cluster.run(self.program, *arguments, *more, stdin=stdin).stdout

    def fails(self, words: str, stdin: str = "") -> str:
        done = self.cluster.run(self.program, *words.split(), stdin=stdin, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def json(self, words: str) -> Any:
        return json.loads(self(f"get {words} -o json"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose node only says that it runs containers: no root, no host changes."""
    directory = tmp_path_factory.mktemp("simulated")
    name = f"subcommands-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    made = Cluster(directory / "data", directory / "kubeconfig", name=name)
    made.sampan("up", "--runtime", "simulated", "--kubeconfig", str(made.kubeconfig), "--yes")
    yield made
    made.sampan("down", "--purge", check=False)


@pytest.fixture(params=["kubectl", "kubectl-1.35"])
def kubectl(simulated: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """Each test runs once for each program."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40] + request.param[-4:].replace(".", "")
    made = Kubectl(simulated, request.param, name.strip("-"))
    made(f"create namespace {made.namespace}")
    made(f"config set-context --current --namespace {made.namespace}")
    yield made
    made("config set-context --current --namespace default")
    made(f"delete namespace {made.namespace} --timeout=60s")


def test_every_generator_of_create(kubectl: Kubectl) -> None:
    """Each creates its kind, is described and shown, and is deleted again."""
    for words, told in CREATED.items():
        assert kubectl(f"create {words}") == f"{told}\n"
        resource, _, name = told.removesuffix(" created").partition("/")
        assert f"Name:{' ' * 3}" in kubectl(f"describe {resource} {name}")
        assert name in kubectl(f"get {resource} {name}")
        assert kubectl.json(f"{resource} {name}")["metadata"]["uid"]
    assert kubectl("create token a --duration=10m").count(".") == 2
    shown = kubectl("get all")
    for name in ("deployment.apps/d", "cronjob.batch/c", "job.batch/j", "service/one"):
        assert name in shown
    for name in CLUSTER_WIDE:
        kubectl(f"delete {name}")


def test_what_there_is_to_know(kubectl: Kubectl) -> None:
    """api-versions, api-resources, version, cluster-info, explain, options, completion, plugin, auth."""
    assert "v1\n" in kubectl("api-versions")
    assert "storage.k8s.io/v1" in kubectl("api-versions")
    listed = kubectl("api-resources --verbs=list -o name").split()
    assert {"pods", "deployments.apps", "ingresses.networking.k8s.io", "leases.coordination.k8s.io"} <= set(listed)
    assert "Server Version: v1.36." in kubectl("version")
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert '"kind": "NodeList"' in kubectl("cluster-info dump")
    assert "FIELD: replicas <integer>" in kubectl("explain deployment.spec.replicas")
    assert "VERSION:    v2" in kubectl("explain hpa --api-version=autoscaling/v2")
    assert kubectl("auth can-i create deployments") == "yes\n"
    assert kubectl("auth whoami -o json").count("kubernetes-admin") == 1
    assert "The following options" in kubectl("options")
    assert "__start_kubectl" in kubectl("completion bash")


def test_apply_and_its_memory(kubectl: Kubectl) -> None:
    """apply, its last-applied commands, diff, edit, replace, prune with every default kind."""
    text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"p": "q"}}, "data": {"k": "%s"}}'
    assert kubectl("apply -f -", stdin=text % 1) == "configmap/m created\n"
    assert kubectl("apply -f -", stdin=text % 1) == "configmap/m unchanged\n"
    assert json.loads(kubectl("apply view-last-applied configmap m -o json"))["data"] == {"k": "1"}
    kubectl("apply set-last-applied -f -", stdin=text % 2)
    assert kubectl("apply -f -", stdin=text % 3) == "configmap/m configured\n"
    assert "configmap/m pruned" in kubectl("apply --prune -l p=q -f -", stdin=(text % 3).replace('"m"', '"n"'))
    changed = kubectl.cluster.run(
        kubectl.program, "diff", "-f", "-", stdin=(text % 4).replace('"m"', '"n"'), check=False
    )
    assert (changed.returncode, '+  k: "4"' in changed.stdout) == (1, True)
    assert kubectl("replace -f -", stdin=(text % 5).replace('"m"', '"n"')) == "configmap/n replaced\n"
    assert "configmap/n replaced" in kubectl("replace --force -f -", stdin=(text % 6).replace('"m"', '"n"'))
    edited = subprocess.run(
        [kubectl.program, "edit", "configmap", "n"], text=True, capture_output=True, check=True, timeout=60,
        env={**kubectl.cluster.environment, "KUBE_EDITOR": "sed -i s/\\\"6\\\"/\\\"7\\\"/"},
    )  # fmt: skip
    assert edited.stdout == "configmap/n edited\n"
    assert kubectl.json("configmap n")["data"] == {"k": "7"}
    assert "configmap/n serverside-applied" in kubectl(
        "apply --server-side --force-conflicts -f -", stdin=(text % 8).replace('"m"', '"n"')
    )


def test_changing_a_workload(kubectl: Kubectl) -> None:
    """set, scale, autoscale, rollout, expose, label, annotate, patch, taint, cordon, wait."""
    kubectl("create deployment d --image=busybox:1.36 --replicas=2")
    kubectl("rollout status deployment/d --timeout=60s")
    for words in (
        "set image deployment/d busybox=busybox:1.37",
        "set env deployment/d A=b",
        "set resources deployment/d --limits=cpu=200m,memory=64Mi",
        "set serviceaccount deployment/d default",
    ):
        assert " updated\n" in kubectl(words)
    kubectl("rollout status deployment/d --timeout=60s")
    assert kubectl("rollout history deployment/d").count("\n") >= 4
    assert kubectl("rollout undo deployment/d") == "deployment.apps/d rolled back\n"
    assert kubectl("rollout pause deployment/d") == "deployment.apps/d paused\n"
    assert kubectl("rollout resume deployment/d") == "deployment.apps/d resumed\n"
    assert kubectl("rollout restart deployment/d") == "deployment.apps/d restarted\n"
    assert kubectl("scale deployment/d --replicas=3 --current-replicas=2") == "deployment.apps/d scaled\n"
    assert "autoscaled" in kubectl("autoscale deployment/d --min=1 --max=5 --cpu-percent=80")
    assert kubectl.json("hpa d")["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert kubectl("expose deployment/d --port=80") == "service/d exposed\n"
    assert kubectl("set selector service/d app=d") == "service/d selector updated\n"
    assert kubectl("label deployment/d x=y") == "deployment.apps/d labeled\n"
    assert kubectl("annotate deployment/d x=y") == "deployment.apps/d annotated\n"
    kubectl("wait deployment/d --for=jsonpath={.spec.replicas}=3 --timeout=60s")
    patch = '[{"op": "replace", "path": "/spec/replicas", "value": 1}]'
    assert kubectl("patch deployment/d --type=json -p", patch) == "deployment.apps/d patched\n"
    assert kubectl("patch deployment/d --subresource=scale --type=merge -p", '{"spec": {"replicas": 2}}').startswith(
        "scale"
    )
    kubectl("create rolebinding r --clusterrole=view --user=jane")
    assert "subjects updated" in kubectl("set subject rolebinding r --user=joe")
    kubectl("auth reconcile -f -", stdin=json.dumps(kubectl.json("rolebinding r")))
    node = kubectl("get nodes -o name").split()[0].removeprefix("node/")
    assert "tainted" in kubectl(f"taint node {node} k=v:PreferNoSchedule")
    assert "untainted" in kubectl(f"taint node {node} k:PreferNoSchedule-")
    assert "cordoned" in kubectl(f"cordon {node}")
    assert "uncordoned" in kubectl(f"uncordon {node}")
    assert "ScalingReplicaSet" in kubectl("events --for=deployment/d")
    assert "ScalingReplicaSet" in kubectl("get events.events.k8s.io --field-selector reason=ScalingReplicaSet")


def test_custom_resources(kubectl: Kubectl) -> None:
    """A definition is explained, listed, printed by its columns, scaled and refused where it says so."""
    kubectl("apply -f -", stdin=DEFINITION)
    kubectl("wait crd/tents.kubectl.example.com --for=condition=Established --timeout=60s")
    text = '{"apiVersion": "kubectl.example.com/v1", "kind": "Tent", "metadata": {"name": "t"}, "spec": {"poles": %s}}'
    assert kubectl("apply -f -", stdin=text % 3) == "tent.kubectl.example.com/t created\n"
    assert kubectl("get tt").split() == ["NAME", "POLES", "t", "3"]
    assert "tent.kubectl.example.com/t" in kubectl("get all")
    assert "How many poles hold it." in kubectl("explain tents.spec.poles")
    assert "A tent is a house of cloth." in kubectl("explain tents")
    assert kubectl("scale tent/t --replicas=4") == "tent.kubectl.example.com/t scaled\n"
    assert "spec.poles in body should be greater than or equal to 1" in kubectl.fails("apply -f -", stdin=text % 0)
    told = kubectl.fails("create -f -", stdin=(text % 1).replace("poles", "pegs").replace('"t"', '"u"'))
    assert 'unknown field "spec.pegs"' in told
    kubectl("patch tent/t --type=merge -p", '{"spec": {"poles": 5}}')
    kubectl("delete crd tents.kubectl.example.com --timeout=60s")
    assert "could not find the requested resource" in kubectl.fails("get tents")


def test_certificates(kubectl: Kubectl) -> None:
    """A request is approved, signed and denied."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    import base64

    text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    for name_, verb in (("good", "approve"), ("bad", "deny")):
        full = f"{name_}-{kubectl.namespace}"
        body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": full}}
        kubectl("create -f -", stdin=json.dumps({**body, "spec": spec}))
        assert kubectl(f"certificate {verb} {full}").strip().endswith({"approve": "approved", "deny": "denied"}[verb])
    good = f"csr good-{kubectl.namespace}"
    signed = kubectl.cluster.until("a certificate", lambda: kubectl.json(good)["status"].get("certificate"))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(signed))
    assert certificate.subject == name
    assert "Denied" in kubectl(f"get csr bad-{kubectl.namespace}")
    kubectl(f"delete csr good-{kubectl.namespace} bad-{kubectl.namespace}")


def test_the_proxy(kubectl: Kubectl, tmp_path: Path) -> None:
    """182, 183: on a free port and on a Unix socket."""
    environment = kubectl.cluster.environment
    with subprocess.Popen(
        [kubectl.program, "proxy", "--port=0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().rpartition(":")[2].strip()
        answer = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/api/"], capture_output=True, text=True)
        process.terminate()
    assert json.loads(answer.stdout)["versions"] == ["v1"]
    socket = tmp_path / "proxy.sock"
    with subprocess.Popen([kubectl.program, "proxy", f"--unix-socket={socket}"], env=environment) as process:
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        command = ["curl", "-sf", "--unix-socket", str(socket), "http://localhost/api/"]
        answer = subprocess.run(command, capture_output=True, text=True)
        process.terminate()
    assert json.loads(answer.stdout)["versions"] == ["v1"]
