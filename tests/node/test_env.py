"""The environment of containers."""

import base64

import pytest

from sampan.node import env
from sampan.node.env import ConfigError, Sources

POD = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"a": "b"}},
    "spec": {"nodeName": "n1", "containers": []},
}


def variables(container, **sources):
    return dict(env.environment(POD, {"name": "app", **container}, Sources(**sources)))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A", "$A"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
    ],
)
def test_expansion(text, expanded):
    """$(A) is replaced, $$ escapes, and what is unknown stays."""
    assert env.expand(text, {"A": "1"}) == expanded


def test_sources():
    """Values come from ConfigMaps, Secrets and the pod's fields; env wins over envFrom."""
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "K", "value": "own $(P_X)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        ],
    }
    secret = {"data": {"K": base64.b64encode(b"v").decode()}}
    found = variables(container, config_maps={"c": {"data": {"X": "1"}}}, secrets={"s": secret}, pod_ips=("10.0.0.2",))
    assert found == {"P_X": "1", "K": "own 1", "IP": "10.0.0.2", "L": "b"}


def test_missing():
    """What is missing is said in upstream's words."""
    with pytest.raises(ConfigError, match='secret "s" not found'):
        variables({"envFrom": [{"secretRef": {"name": "s"}}]})
    reference = {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
    with pytest.raises(ConfigError, match="couldn't find key k in ConfigMap default/c"):
        variables({"env": [{"name": "A", **reference}]}, config_maps={"c": {}})


def test_services():
    """The API's service is always there, others of the namespace too."""
    port = {"name": "https", "port": 443, "protocol": "TCP"}
    services = tuple(
        {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": [port]}}
        for name, namespace, ip in (
            ("kubernetes", "default", "10.96.0.1"),
            ("my-db", "default", "10.96.0.7"),
            ("far", "other", "10.96.0.8"),
            ("headless", "default", "None"),
        )
    )
    found = variables({}, services=services)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["KUBERNETES_PORT_443_TCP"] == "tcp://10.96.0.1:443"
    assert found["MY_DB_PORT_443_TCP_ADDR"] == "10.96.0.7"
    assert not [name for name in found if name.startswith(("FAR", "HEADLESS"))]


def test_resources():
    """Limits are rounded up to the divisor; without one the node's allocatable counts."""
    container = {
        "resources": {"limits": {"cpu": "250m"}},
        "env": [
            {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
        ],
    }
    assert variables(container, allocatable={"memory": "2Gi"}) == {"C": "1", "M": "2048", "R": "0"}
