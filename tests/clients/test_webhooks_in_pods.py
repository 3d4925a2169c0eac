"""The API server extended from inside: webhooks and an extension API server that run as pods behind a Service."""

import base64
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.cluster import python_rootfs
from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
PROGRAM = Path(__file__).parent / "extension/server.py"
IMAGE = "extension:v1"
GROUP, APISERVICE = "ext.example.org", "v1.ext.example.org"
SERVICE = "extension"
READY = "--for=condition=Available"


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The extension's image: this Python, and the program."""
    root = tmp_path_factory.mktemp("extension")
    python_rootfs.build(root, [PROGRAM])
    cluster.sampan("image", "import", str(root), "--tag", IMAGE)


class Authority:
    """A certificate authority of the extension's own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "extension-ca")])
        self.certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    @property
    def bundle(self) -> str:
        """As caBundle fields have it."""
        return base64.b64encode(self.certificate).decode()

    def secret(self, name: str, host: str) -> Tree:
        """A Secret with a certificate for one host."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        data = {"tls.crt": certificate.decode(), "tls.key": key.private_bytes(*form).decode()}
        metadata = {"name": name}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"} | {
            "stringData": data
        }

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def workload() -> list[Tree]:
    """The extension's Deployment and Service."""
    container = {
        "name": "main", "image": IMAGE, "command": ["/usr/bin/python3", "/app/server.py"],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }  # fmt: skip
    spec = {
        "serviceAccountName": SERVICE, "terminationGracePeriodSeconds": 1, "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    }  # fmt: skip
    labels = {"app": SERVICE}
    template = {"metadata": {"labels": labels}, "spec": spec}
    deployment = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": SERVICE}, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": service},
    ]


def rights(namespace: str) -> list[Tree]:
    """What extension API servers are given: to read whom to believe, and to ask who may what."""
    subject = [{"kind": "ServiceAccount", "name": SERVICE, "namespace": namespace}]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "subjects": subject}
    group = "rbac.authorization.k8s.io"
    reader = {"kind": "Role", "name": "extension-apiserver-authentication-reader", "apiGroup": group}
    delegator = {"kind": "ClusterRole", "name": "system:auth-delegator", "apiGroup": group}
    place = {"name": f"read-{namespace}", "namespace": "kube-system"}
    return [
        {**rbac, "kind": "RoleBinding", "metadata": place, "roleRef": reader},
        {**rbac, "kind": "ClusterRoleBinding", "metadata": {"name": f"ask-{namespace}"}, "roleRef": delegator},
    ]


def webhook(kind: str, namespace: str, bundle: str) -> Tree:
    """A webhook for ConfigMaps of one namespace."""
    path = "/mutate" if kind == "Mutating" else "/validate"
    hook = {
        "name": f"{kind.lower()}.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"caBundle": bundle, "service": {"name": SERVICE, "namespace": namespace, "path": path}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
    }  # fmt: skip
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration"}
    return {**head, "metadata": {"name": f"{kind.lower()}-{namespace}"}, "webhooks": [hook]}


def definition(namespace: str, bundle: str) -> Tree:
    """A kind in two versions, between which a webhook converts."""

    def version(name: str, field: str, *, storage: bool) -> Tree:
        spec = {"type": "object", "properties": {field: {"type": "integer"}}}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        return {"name": name, "served": True, "storage": storage, "schema": schema}

    client = {"caBundle": bundle, "service": {"name": SERVICE, "namespace": namespace, "path": "/convert"}}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}
    names = {"plural": "boxes", "singular": "box", "kind": "Box", "listKind": "BoxList"}
    spec = {
        "group": "pods.example.org", "scope": "Namespaced", "names": names, "conversion": conversion,
        "versions": [version("v1", "size", storage=True), version("v2", "amount", storage=False)],
    }  # fmt: skip
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**head, "metadata": {"name": "boxes.pods.example.org"}, "spec": spec}


def api_service(namespace: str, bundle: str) -> Tree:
    """The extension API server's registration."""
    spec = {
        "group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10, "caBundle": bundle,
        "service": {"name": SERVICE, "namespace": namespace},
    }  # fmt: skip
    return {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": APISERVICE}, "spec": spec
    }  # fmt: skip


def apply(cluster: Cluster, *objects: Tree) -> None:
    cluster.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(obj) for obj in objects))


@pytest.fixture
def bundle(cluster: Cluster, ns: str, image: None) -> Iterator[str]:
    """The extension, ready to be called; the text is its authority."""
    authority = Authority()
    apply(cluster, *rights(ns), authority.secret("tls", f"{SERVICE}.{ns}.svc"), *workload())
    cluster.kubectl("rollout", "status", f"deployment/{SERVICE}", "--timeout=60s")
    yield authority.bundle
    cluster.kubectl("delete", "clusterrolebinding", f"ask-{ns}")
    cluster.kubectl("delete", "rolebinding", "-n", "kube-system", f"read-{ns}")


def label(cluster: Cluster, name: str) -> str:
    found: str = (cluster.get("configmap", name)["metadata"].get("labels") or {}).get("mutated-by", "")
    return found


def test_webhooks_in_pods(cluster: Cluster, ns: str, bundle: str) -> None:
    """A pod changes what is created, warns, and refuses; with another authority or no pod, the policy decides."""
    both = [webhook(kind, ns, bundle) for kind in ("Mutating", "Validating")]
    apply(cluster, *both)
    try:
        done = cluster.run("kubectl", "create", "configmap", "one")
        assert "Warning: seen as a-pod" in done.stderr
        assert label(cluster, "one") == "a-pod"
        refused = json.dumps(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two", "labels": {"refuse": "why"}}}
        )
        said = cluster.refused("create", "-f", "-", stdin=refused)
        assert 'admission webhook "validating.example.org" denied the request: refused: why' in said
        apply(cluster, webhook("Mutating", ns, Authority().bundle))
        said = cluster.refused("create", "configmap", "three")
        assert 'failed calling webhook "mutating.example.org"' in said
        assert f"https://{SERVICE}.{ns}.svc:443/mutate?timeout=10s" in said
        assert "certificate" in said
        for hooks in both:
            hooks["webhooks"][0]["failurePolicy"] = "Ignore"
        apply(cluster, *both)
        cluster.kubectl("delete", "pod", "-l", f"app={SERVICE}", "--wait=false")
        cluster.kubectl("scale", f"deployment/{SERVICE}", "--replicas=0")
        cluster.kubectl("wait", "--for=delete", "pod", "-l", f"app={SERVICE}", "--timeout=60s")
        cluster.until("no endpoint", lambda: not endpoints(cluster))
        cluster.kubectl("create", "configmap", "four")
        assert label(cluster, "four") == ""
        both[1]["webhooks"][0]["failurePolicy"] = "Fail"
        apply(cluster, both[1])
        assert f'no endpoints available for service "{SERVICE}"' in cluster.refused("create", "configmap", "five")
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", f"mutating-{ns}")
        cluster.kubectl("delete", "validatingwebhookconfiguration", f"validating-{ns}")


def endpoints(cluster: Cluster) -> list[Tree]:
    found = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={SERVICE}")["items"]
    return [endpoint for piece in found for endpoint in piece.get("endpoints") or ()]


def test_conversion_in_a_pod(cluster: Cluster, ns: str, bundle: str) -> None:
    """A pod converts a custom resource between its versions, for reads, lists, writes and watches."""
    apply(cluster, definition(ns, bundle))
    try:
        cluster.kubectl("wait", "--for=condition=Established", "crd/boxes.pods.example.org", "--timeout=60s")
        for number, version in ((1, "v1"), (2, "v2")):
            field = "size" if version == "v1" else "amount"
            obj = {"apiVersion": f"pods.example.org/{version}", "kind": "Box", "metadata": {"name": f"b{number}"}}
            apply(cluster, {**obj, "spec": {field: number}})
        for version, field in (("v1", "size"), ("v2", "amount")):
            found = cluster.get(f"boxes.{version}.pods.example.org")["items"]
            assert [(box["apiVersion"], box["spec"]) for box in found] == [
                (f"pods.example.org/{version}", {field: number}) for number in (1, 2)
            ]
        cluster.kubectl("patch", "boxes.v2.pods.example.org", "b1", "--type=merge", "-p", '{"spec":{"amount":7}}')
        assert cluster.get("boxes.v1.pods.example.org", "b1")["spec"] == {"size": 7}
        shown = cluster.kubectl(
            "wait", "boxes.v2.pods.example.org/b1", "--for=jsonpath={.spec.amount}=7", "--timeout=60s"
        )
        assert "condition met" in shown
    finally:
        cluster.kubectl("delete", "crd", "boxes.pods.example.org", "--timeout=60s")


def places_of_notes(cluster: Cluster) -> list[str]:
    """Where there are notes."""
    return [item["metadata"]["namespace"] for item in cluster.get("notes", "-A")["items"]]


def test_api_server_in_a_pod(cluster: Cluster, ns: str, bundle: str) -> None:
    """An extension API server is discovered, told who asks, asked for a namespace's objects at its end; without it
    a namespace waits, and says for what.
    """
    apply(cluster, api_service(ns, bundle))
    try:
        cluster.kubectl("wait", READY, f"apiservice/{APISERVICE}", "--timeout=60s")
        assert "notes" in cluster.kubectl("api-resources", f"--api-group={GROUP}", "-o", "name")
        for namespace in (ns, "noted"):
            if namespace != ns:
                cluster.kubectl("create", "namespace", namespace)
            note = {"apiVersion": f"{GROUP}/v1", "kind": "Note", "metadata": {"name": "n", "namespace": namespace}}
            cluster.kubectl("create", "-f", "-", stdin=json.dumps(note))
        assert cluster.get("notes", "n")["author"] == "kubernetes-admin"
        assert places_of_notes(cluster) == [ns, "noted"]
        assert 'User "alice" cannot list resource "notes"' in cluster.refused("get", "notes", "--as=alice")
        cluster.kubectl("create", "role", "writer", "--verb=create,get,list", f"--resource=notes.{GROUP}")
        cluster.kubectl("create", "rolebinding", "writer", "--role=writer", "--user=alice")
        note = {"apiVersion": f"{GROUP}/v1", "kind": "Note", "metadata": {"name": "hers"}}
        cluster.kubectl("create", "--as=alice", "-f", "-", stdin=json.dumps(note))
        assert cluster.get("notes", "hers", "--as=alice")["author"] == "alice"
        cluster.kubectl("delete", "namespace", "noted", "--timeout=60s")
        assert places_of_notes(cluster) == [ns, ns]
        cluster.kubectl("create", "namespace", "waiting")
        cluster.kubectl("scale", f"deployment/{SERVICE}", "--replicas=0")
        cluster.kubectl("wait", "--for=condition=Available=False", f"apiservice/{APISERVICE}", "--timeout=60s")
        cluster.kubectl("delete", "namespace", "waiting", "--wait=false")
        cluster.kubectl(
            "wait", "--for=condition=NamespaceDeletionDiscoveryFailure", "namespace/waiting", "--timeout=60s"
        )
    finally:
        cluster.kubectl("delete", "apiservice", APISERVICE)
        cluster.kubectl("delete", "namespace", "noted", "waiting", "--ignore-not-found", "--timeout=60s")
