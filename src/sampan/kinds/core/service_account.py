"""ServiceAccount: who a pod is to the API.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/service-account-v1/
"""

from sampan.kinds.kind import Kind, Object, Subresource
from sampan.kinds.parts.cells import AGE

SERVICEACCOUNT = Kind(
    group="",
    versions=("v1",),
    name="ServiceAccount",
    plural="serviceaccounts",
    schema="io.k8s.api.core.v1.ServiceAccount",
    short_names=("sa",),
    subresources=(
        Subresource("token", verbs=("create",), group="authentication.k8s.io", version="v1", kind="TokenRequest"),
    ),
    columns=(AGE,),
    answers_deleted=True,
)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Of its secrets only their names count: they are of its own namespace."""
    for secret in new.get("secrets") or ():
        for field in [name for name in secret if name != "name"]:
            del secret[field]


def user_name(account: Object) -> str:
    """The user name its tokens speak for: system:serviceaccount:<namespace>:<name>."""
    meta = account["metadata"]
    return f"system:serviceaccount:{meta.get('namespace', '')}:{meta['name']}"
