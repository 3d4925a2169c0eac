"""Who owns which field, and what an apply refuses, as upstream has it."""

import json
from typing import Any

from sampan.web.message import Peer
from tests.server import custom
from tests.server.conftest import Api, deployment, pod
from tests.server.test_impersonation import grant

NAMESPACE = "/api/v1/namespaces/default"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "protocol"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "protocol": {"type": "string", "default": "UDP"},
            "port": {"type": "integer"},
        },
    },
}


def owned(obj: dict[str, Any]) -> str:
    return json.dumps([entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]])


async def test_what_the_server_adds_is_nobodys(api: Api) -> None:
    """Addresses, finalizers, status, and what admission puts in belong to no manager; defaults do."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    made = await api.create(f"{NAMESPACE}/services", service)
    assert "f:sessionAffinity" in owned(made)
    assert made["spec"]["clusterIP"]
    assert not any(word in owned(made) for word in ("f:clusterIP", "f:ipFamilies", "f:status"))
    made = await api.create(f"{NAMESPACE}/pods", pod("p"))
    assert made["spec"]["tolerations"]
    assert made["status"]["phase"] == "Pending"
    assert "f:dnsPolicy" in owned(made)
    assert not any(word in owned(made) for word in ("f:tolerations", "f:volumes", "f:status", "f:priority"))
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    assert "f:finalizers" not in owned(await api.create("/api/v1/namespaces", space))


async def test_an_apply_says_nothing_that_the_type_does_not_know(api: Api) -> None:
    """Unlike an update, which drops it with a warning: the configuration would own a field that is not."""
    await api.create(DEPLOYMENTS, deployment("web"))
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replica": 1}}
    refused = await api.patch(f"{DEPLOYMENTS}/web?fieldManager=me", body, "apply")
    assert (refused.status, refused.tree.get("reason")) == (500, None)
    assert refused.tree["message"].endswith("Kind=Deployment): .spec.replica: field not declared in schema")


async def test_a_key_said_twice_in_an_apply(api: Api) -> None:
    """Strict refuses the whole, Warn names each line in a warning of its own."""
    await api.create(DEPLOYMENTS, deployment("web"))
    body = b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  paused: true\n  paused: false\n"
    path, media = f"{DEPLOYMENTS}/web?fieldManager=me", "application/apply-patch+yaml"
    refused = await api.send("PATCH", f"{path}&fieldValidation=Strict", body, content_type=media)
    assert refused.status == 400
    assert refused.tree["message"] == (
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 6: key "paused" already set in map'
    )
    warned = await api.send("PATCH", f"{path}&fieldValidation=Warn", body, content_type=media)
    assert warned.status == 200
    assert warned.headers["warning"] == '299 - "line 6: key \\"paused\\" already set in map"'


async def test_keys_of_custom_lists_have_defaults(api: Api) -> None:
    """An applied item without a key that the schema defaults is the item with that default."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"ports": PORTS}}}}
    await custom.establish(api, custom.crd(schema=schema))
    for port in (1, 2):
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        body["spec"] = {"ports": [{"name": "a", "port": port}]}
        answer = await api.patch(f"{WIDGETS}/w?fieldManager=me", body, "apply")
        assert answer.status in (200, 201), answer.body
        assert answer.tree["spec"]["ports"] == [{"name": "a", "protocol": "UDP", "port": port}]
    assert 'k:{\\"name\\":\\"a\\",\\"protocol\\":\\"UDP\\"}' in owned(answer.tree)


async def test_an_apply_to_the_scale(api: Api) -> None:
    """It owns the replicas of the object, through the door of the scale; another one must force it."""
    await api.create(DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web/scale"
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}}
    refused = await api.patch(f"{path}?fieldManager=scaler", body, "apply")
    assert (refused.status, refused.tree["reason"]) == (409, "Conflict")
    assert refused.tree["message"].startswith('Apply failed with 1 conflict: conflict with "pytest"')
    assert refused.tree["message"].endswith(": .spec.replicas")
    forced = await api.patch(f"{path}?fieldManager=scaler&force=true", body, "apply")
    assert forced.status == 200, forced.body
    assert forced.tree["spec"] == {"replicas": 5}
    made = await api.get(f"{DEPLOYMENTS}/web")
    owners = {m["manager"]: m for m in made["metadata"]["managedFields"]}
    assert made["spec"]["replicas"] == 5
    assert made["metadata"]["generation"] == 2
    scaler = owners["scaler"]
    assert scaler["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert scaler["apiVersion"] == "apps/v1"
    assert (scaler["operation"], scaler["subresource"]) == ("Apply", "scale")
    assert "f:replicas" not in json.dumps(owners["pytest"]["fieldsV1"])
    again = await api.patch(f"{path}?fieldManager=scaler", body, "apply")
    assert again.tree["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    wrong = await api.patch(f"{path}?fieldManager=scaler", {**body, "kind": "Deployment"}, "apply")
    assert wrong.status == 400


async def test_who_applies_what_is_not_there_must_be_allowed_to_create_it(api: Api) -> None:
    """The right to patch changes what is there; to make it, by name, takes the right to create as well."""
    maps, bot = "/api/v1/namespaces/default/configmaps", Peer("bot")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}

    async def applied() -> tuple[int, str]:
        given = {"content_type": "application/apply-patch+yaml"}
        answer = await api.send("PATCH", f"{maps}/a?fieldManager=m", config, bot, **given)
        return answer.status, answer.tree.get("message", "")

    await grant(api, "patcher", "bot", ("patch", "", "configmaps"))
    text = (
        'configmaps "a" is forbidden: User "bot" cannot create resource "configmaps" in API group "" in the namespace'
    )
    assert await applied() == (403, f'{text} "default"')
    assert (await api.send("GET", f"{maps}/a")).status == 404
    await grant(api, "creator", "bot", ("create", "", "configmaps"))
    assert (await applied())[0] == 201
    await api.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/creator")
    assert (await applied())[0] == 200


async def test_what_is_owned_is_written_in_order(api: Api) -> None:
    """By whatever door it came, and in whatever order it was said."""
    env = [{"name": "b", "value": "1"}, {"name": "a", "value": "2"}]
    config = pod("p") | {"spec": {"containers": [{"name": "c", "image": "x", "env": env}]}}
    await api.patch(f"{NAMESPACE}/pods/p?fieldManager=m", config, "apply")
    await api.create(f"{NAMESPACE}/pods", config | {"metadata": {"name": "q"}})
    item = '"k:{\\"name\\":\\"%s\\"}":{".":{},"f:name":{},"f:value":{}}'
    for name, own in (("p", ""), ("q", '".":{},')):
        owner = (await api.get(f"{NAMESPACE}/pods/{name}"))["metadata"]["managedFields"][0]
        said = json.dumps(owner["fieldsV1"], separators=(",", ":"))
        assert '"f:env":{' + own + item % "a" + "," + item % "b" + '},"f:image":{}' in said
