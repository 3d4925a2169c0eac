"""PodTemplate: a pod's shape kept by itself.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-template-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import cells, pod_template, pod_warnings
from sampan.meta import objects
from sampan.meta.status import Cause


def _containers(obj: Object) -> list[dict[str, Any]]:
    return objects.get_path(obj, "template.spec.containers") or []


PODTEMPLATE = Kind(
    group="",
    versions=("v1",),
    name="PodTemplate",
    plural="podtemplates",
    schema="io.k8s.api.core.v1.PodTemplate",
    columns=(
        Column("Containers", lambda o, now: ",".join(c.get("name", "") for c in _containers(o))),
        Column("Images", lambda o, now: ",".join(c.get("image", "") for c in _containers(o))),
        Column("Pod Labels", lambda o, now: cells.format_labels(objects.get_path(o, "template.metadata.labels"))),
    ),
    has_generation=True,
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """The template's own defaults."""
    obj["template"] = obj.get("template") or {}
    pod_template.default(obj["template"])


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The template's rules."""
    return pod_template.causes(new.get("template") or {}, "template")


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings, when it is new."""
    if old is not None and new.get("template") == old.get("template"):
        return ()
    return pod_warnings.warnings(new.get("template") or {}, "template")
