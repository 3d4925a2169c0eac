"""ValidatingWebhookConfiguration: HTTPS servers that may refuse a request.

https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/validating-webhook-configuration-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import admission_match, webhook_causes
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause


def count(obj: Object, now: float) -> int:
    """How many webhooks it has."""
    return len(obj.get("webhooks") or ())


VALIDATING_WEBHOOK_CONFIGURATION = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    categories=("api-extensions",),
    columns=(
        Column(
            "Webhooks",
            count,
            kind="integer",
            description="Webhooks indicates the number of webhooks registered in this configuration",
        ),
        AGE,
    ),
    has_generation=True,
    bare_finalizers=True,
    unconditional=False,
)


def default(obj: Object) -> None:
    """Fail closed, equivalent versions, everything, ten seconds."""
    webhook_causes.default(obj)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Each webhook's name, rules, client, selectors and expressions."""
    return webhook_causes.causes(new, old)
