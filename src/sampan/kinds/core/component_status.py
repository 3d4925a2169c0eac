"""ComponentStatus: whether the parts of the control plane are well, as asked on each read.

Nothing of it is stored.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import CLUSTER, Column, Kind, Object


def _healthy(obj: Object) -> Mapping[str, Any]:
    return next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})


def status_text(obj: Object, now: float) -> str:
    """Healthy, Unhealthy or Unknown."""
    return {"True": "Healthy", "False": "Unhealthy"}.get(_healthy(obj).get("status", ""), "Unknown")


COMPONENTSTATUS = Kind(
    group="",
    versions=("v1",),
    name="ComponentStatus",
    plural="componentstatuses",
    scope=CLUSTER,
    schema="io.k8s.api.core.v1.ComponentStatus",
    short_names=("cs",),
    verbs=("get", "list"),
    not_stored=True,
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    columns=(
        Column("Status", status_text, description="Status of the component conditions"),
        Column("Message", lambda o, now: _healthy(o).get("message", ""), description="Message of the conditions"),
        Column("Error", lambda o, now: _healthy(o).get("error", ""), description="Error of the conditions"),
    ),
)


def made(name: str, error: str = "") -> Object:
    """A component's status; `error` says what is wrong, "" for nothing."""
    condition = {"type": "Healthy", "status": "False" if error else "True", "message": "" if error else "ok"}
    if error:
        condition["error"] = error
    return {
        "kind": COMPONENTSTATUS.name,
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{k: v for k, v in condition.items() if v}],
    }
