"""TokenRequest: a token for a service account, for an audience and a time.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.meta.status import Cause, invalid_value

TOKENREQUEST = Kind(
    group="authentication.k8s.io",
    versions=("v1",),
    name="TokenRequest",
    plural="",
    schema="io.k8s.api.authentication.v1.TokenRequest",
    not_stored=True,
)

DEFAULT_SECONDS = 3600
_MIN_SECONDS = 600
_MAX_SECONDS = 1 << 32


def default(obj: Object) -> None:
    """An hour."""
    obj.setdefault("spec", {}).setdefault("expirationSeconds", DEFAULT_SECONDS)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Between ten minutes and 2^32 seconds."""
    seconds = (new.get("spec") or {}).get("expirationSeconds") or 0
    path = "spec.expirationSeconds"
    if seconds < _MIN_SECONDS:
        return [invalid_value(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > _MAX_SECONDS:
        return [invalid_value(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return ()
