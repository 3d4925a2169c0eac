"""Zeros that mean nothing are not kept, whatever the body's form: the same object is stored alike."""

import json
from typing import Any

import pytest

from sampan.kinds.apps import stateful_set
from sampan.kinds.resource import resource_claim_template
from sampan.meta import objects
from sampan.meta.wire import protobuf
from tests.server.conftest import Api

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
PROTOBUF = "application/vnd.kubernetes.protobuf"

Tree = dict[str, Any]


def _pod(name: str) -> Tree:
    """As charts write pods: with every empty field spelled out."""
    probe = {"httpGet": {"path": "", "port": 80, "scheme": ""}, "failureThreshold": 0, "periodSeconds": 0}
    container = {
        "name": "c", "image": "a:1", "imagePullPolicy": "", "env": [{"name": "A", "value": ""}], "tty": False,
        "ports": [{"containerPort": 80, "hostPort": 0, "protocol": ""}], "livenessProbe": probe,
    }  # fmt: skip
    spec = {
        "hostNetwork": False, "restartPolicy": "", "dnsPolicy": "", "nodeName": "", "containers": [container],
        "terminationGracePeriodSeconds": 0,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "generation": 0}, "spec": spec}


def _deployment(**spec: Any) -> Tree:
    labels = {"app": "web"}
    container = {"name": "c", "image": "a:1", "env": [{"name": "A", "value": ""}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "hostNetwork": False}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}  # fmt: skip


async def test_json_and_protobuf_are_stored_alike(api: Api) -> None:
    """Empty fields get their defaults in both, and what has none is absent in both; a pointer's zero stays."""
    made = await api.create(PODS, _pod("a"))
    answer = await api.send("POST", PODS, protobuf.encode(_pod("b")), content_type=PROTOBUF)
    assert answer.status == 201, answer.body
    specs = [made["spec"], answer.tree["spec"]]
    for spec in specs:
        spec.pop("volumes", None), spec["containers"][0].pop("volumeMounts", None)
    assert specs[0] == specs[1]
    container = specs[0]["containers"][0]
    assert "hostNetwork" not in specs[0] and specs[0]["restartPolicy"] == "Always"
    assert specs[0]["terminationGracePeriodSeconds"] == 0
    assert container["env"] == [{"name": "A"}] and container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}] and "tty" not in container
    assert container["livenessProbe"]["failureThreshold"] == 3
    assert container["livenessProbe"]["httpGet"] == {"path": "/", "port": 80, "scheme": "HTTP"}


async def test_a_go_clients_update_is_no_change(api: Api) -> None:
    """Who reads into Go's types and writes back loses the zeros: that is no new template, and no new generation."""
    made = await api.create(DEPLOYMENTS, _deployment(paused=False, replicas=0))
    assert made["spec"]["replicas"] == 0 and "paused" not in made["spec"]
    put = await api.send("PUT", f"{DEPLOYMENTS}/web", protobuf.encode(made), content_type=PROTOBUF)
    assert put.status == 200, put.body
    assert put.tree["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    again = _deployment(paused=False, replicas=0, minReadySeconds=0)
    assert (await api.put(f"{DEPLOYMENTS}/web", again))["metadata"]["generation"] == 1


async def test_an_applied_zero_takes_the_field(api: Api) -> None:
    """Server-side apply of a zero ends what another set; after that it changes nothing, and stays owned."""
    path = f"{DEPLOYMENTS}/web"
    await api.patch(f"{path}?fieldManager=one", json.dumps(_deployment(paused=True)).encode(), "apply")
    config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"paused": False}}
    body = json.dumps(config).encode()
    refused = await api.patch(f"{path}?fieldManager=two", body, "apply")
    assert refused.status == 409 and ".spec.paused" in refused.tree["message"]
    taken = await api.patch(f"{path}?fieldManager=two&force=true", body, "apply")
    assert taken.status == 200 and "paused" not in taken.tree["spec"]
    owners = {entry["manager"]: entry["fieldsV1"] for entry in taken.tree["metadata"]["managedFields"]}
    assert owners["two"] == {"f:spec": {"f:paused": {}}}
    assert "f:paused" not in owners["one"]["f:spec"]
    repeated = await api.patch(f"{path}?fieldManager=two", body, "apply")
    assert repeated.tree["metadata"] == taken.tree["metadata"]


POD_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}


@pytest.mark.parametrize(
    ("group", "plural", "obj", "path", "shown"),
    [
        ("batch/v1", "cronjobs", {"kind": "CronJob", "spec": {"schedule": "@daily", "jobTemplate": {"spec": {
            "template": {"spec": {**POD_TEMPLATE["spec"], "restartPolicy": "Never"}}}}}},
            "spec.jobTemplate.metadata", {}),
        ("apps/v1", "statefulsets", {"kind": "StatefulSet", "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": POD_TEMPLATE}}, "spec.serviceName", ""),
        ("networking.k8s.io/v1", "networkpolicies", {"kind": "NetworkPolicy"}, "spec.podSelector", {}),
        ("discovery.k8s.io/v1", "endpointslices", {"kind": "EndpointSlice", "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}]}, "endpoints", [{"addresses": ["10.0.0.1"], "conditions": {}}]),
        ("resource.k8s.io/v1", "resourceclaimtemplates", {"kind": "ResourceClaimTemplate", "spec": {"spec": {}}},
            "spec", {"metadata": {}, "spec": {"devices": {}}}),
    ],
)  # fmt: skip
async def test_what_go_always_writes_is_there(
    api: Api, group: str, plural: str, obj: Tree, path: str, shown: Any
) -> None:
    """Clients look into it without asking whether it is there."""
    where = f"/apis/{group}/namespaces/default/{plural}"
    made = await api.create(where, {"apiVersion": group, "metadata": {"name": "a"}, **obj})
    assert objects.get_path(made, path) == shown


@pytest.mark.parametrize("module", [stateful_set, resource_claim_template])
def test_what_was_stored_without_it_can_still_be_changed(module: Any) -> None:
    """An update has it, and changes nothing that may not be changed."""
    old: Tree = {"metadata": {"name": "a"}, "spec": {"replicas": 1} if module is stateful_set else {"spec": {}}}
    new = objects.copy(old)
    module.default(new)
    if module is stateful_set:
        old["spec"] = {name: value for name, value in new["spec"].items() if name != "serviceName"}
    assert not [cause for cause in module.validate(new, old, "") if cause.field == "spec"]
