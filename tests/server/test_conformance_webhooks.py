"""What webhooks see beyond the conformance tests: new objects before they have a name, and reviews.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from typing import Any

from tests.server.conftest import Api
from tests.server.test_webhooks import MAPS, hook, mutating, rule, validating
from tests.server.webhook_server import WebhookServer, add, patch

__all__ = ["hook"]
AUTHZ = "/apis/authorization.k8s.io/v1"

Tree = dict[str, Any]


async def test_a_generated_name_comes_after_the_mutating_phase(api: Api, hook: WebhookServer) -> None:
    """Mutating webhooks see neither name nor uid nor creation time, validating ones all of them."""
    hook.on("/mutate", patch(add("/metadata/labels", {"seen": "yes"})))
    await mutating(api, hook.client("/mutate"), rules=[rule("configmaps", "CREATE")])
    await validating(api, hook.client("/allow"), "judge", rules=[rule("configmaps", "CREATE")])
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "made-"}}
    made = await api.create(MAPS, body)
    first, second = (asked["request"] for asked in hook.asked)
    assert "name" not in first
    assert first["object"]["metadata"].keys().isdisjoint({"name", "uid", "creationTimestamp"})
    assert first["object"]["metadata"]["namespace"] == "default"
    name, uid = made["metadata"]["name"], made["metadata"]["uid"]
    assert name.startswith("made-")
    assert made["metadata"]["labels"] == {"seen": "yes"}
    assert (second["name"], second["object"]["metadata"]["name"], second["object"]["metadata"]["uid"]) == (
        name,
        name,
        uid,
    )


async def test_a_webhook_may_choose_the_name(api: Api, hook: WebhookServer) -> None:
    """A name that a mutating webhook gives is kept; none is generated then."""
    hook.on("/name", patch(add("/metadata/name", "chosen")))
    await mutating(api, hook.client("/name"), rules=[rule("configmaps", "CREATE")])
    made = await api.create(MAPS, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "made-"}})
    assert made["metadata"]["name"] == "chosen"


async def test_a_service_with_a_generated_name_keeps_its_address(api: Api, hook: WebhookServer) -> None:
    """The IPAddress names the Service as it is called in the end."""
    spec = {"ports": [{"port": 80}]}
    body = {"kind": "Service", "apiVersion": "v1", "metadata": {"generateName": "made-"}, "spec": spec}
    made = await api.create("/api/v1/namespaces/default/services", body)
    address = await api.get(f"/apis/networking.k8s.io/v1/ipaddresses/{made['spec']['clusterIP']}")
    assert address["spec"]["parentRef"]["name"] == made["metadata"]["name"] != ""


async def test_refusals_of_the_mutating_phase_say_what_the_name_begins_with(api: Api) -> None:
    """As upstream's: `pods "web-" is forbidden`."""
    spec = {"containers": [{"name": "c", "image": "x"}], "serviceAccountName": "nobody"}
    body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "web-"}, "spec": spec}
    refused = await api.send("POST", "/api/v1/namespaces/default/pods", body)
    assert refused.status == 403
    assert refused.tree["message"].startswith('pods "web-" is forbidden: error looking up service account')


async def test_reviews_pass_admission(api: Api, hook: WebhookServer) -> None:
    """A webhook is asked about a SubjectAccessReview like about any creation; it may change it, or refuse."""
    hook.on("/other", patch(add("/spec/user", "bob")))
    await mutating(api, hook.client("/other"), rules=[rule("subjectaccessreviews", group="authorization.k8s.io")])
    attributes = {"verb": "list", "resource": "configmaps", "namespace": "default"}
    review = {
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"user": "alice", "groups": ["system:masters"], "resourceAttributes": attributes},
    }  # fmt: skip
    answer = await api.create(f"{AUTHZ}/subjectaccessreviews", review)
    assert (answer["spec"]["user"], answer["status"]["allowed"]) == ("bob", True)
    assert hook.asked[-1]["request"]["operation"] == "CREATE"
    await validating(api, hook.client("/deny"), rules=[rule("tokenreviews", group="authentication.k8s.io")])
    token = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "x"}}
    refused = await api.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", token)
    assert (refused.status, "denied the request" in refused.tree["message"]) == (400, True)
