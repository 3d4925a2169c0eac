"""A layer for tests: Toys, which its controller finishes, and which nobody may paint black."""

from sampan.control import decorate
from sampan.control.controller import Controller
from sampan.control.plan import NOTHING, AskHttp, HttpAnswer, Key, Plan, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.meta import objects
from sampan.platform import definitions
from sampan.platform.layer import Around, Layer
from sampan.platform.review import ALLOWED, Attempt, Refusal, Review, Reviewer

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "toys.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Toy", "plural": "toys", "singular": "toy", "listKind": "ToyList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
TOY = definitions.kind(DEFINITION)
SHOP = "http://shop.default:8080/price?of=toys"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Each toy's price is asked for."""
    toy = view.get(TOY, key)
    if toy is None:
        return NOTHING
    asked = AskHttp("GET", SHOP)
    answer = view.answer(asked)
    if answer is UNANSWERED:
        return Plan(ask=(asked,))
    price = answer.text if isinstance(answer, HttpAnswer) else answer
    return plan(decorate.status(TOY, toy, {"price": price}))


def review(attempt: Attempt, view: View) -> Review:
    """Every user may try to paint one black once, and learns that it won't do; the ConfigMap `taste` may allow it."""
    if (attempt.obj or {}).get("spec", {}).get("colour") != "black":
        return ALLOWED
    if view.get(CONFIGMAP, (attempt.namespace, "taste")) is not None:
        return Review(warnings=("how gloomy",))
    count = view.memory.get("count", 0) + 1
    return Review(
        Refusal(f"{objects.name(attempt.obj or {})} is too dark, said {count} times"), memory={"count": count}
    )


async def service(around: Around) -> None:
    """Tells that it is here."""
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "toy-service", "namespace": "default"}}
    await around.client.apply(CONFIGMAP, made, manager="toys", force=True)


LAYER = Layer(
    name="toys",
    summary="toys for tests",
    definitions=(DEFINITION,),
    controllers=(Controller(name="toy-controller", parent=TOY, reconcile=reconcile),),
    objects=(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "toy-rules", "namespace": "default"},
            "data": {"a": "b"},
        },
        {"apiVersion": "example.com/v1", "kind": "Toy", "metadata": {"name": "first", "namespace": "default"}},
    ),
    reviewers=(
        Reviewer(
            name="colours",
            rules=(
                {
                    "operations": ["CREATE", "UPDATE"],
                    "apiGroups": ["example.com"],
                    "apiVersions": ["v1"],
                    "resources": ["toys"],
                },
            ),
            review=review,
            reads=(CONFIGMAP,),
            term=lambda attempt: attempt.user,
            fails_open=False,
        ),
    ),
    service=service,
)
