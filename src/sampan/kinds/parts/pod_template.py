"""The pod template of a Deployment, ReplicaSet or Job: its columns, defaults and rules, once.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-template-v1/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.kinds.parts import pod_defaults, pod_rules
from sampan.meta import selectors, validation
from sampan.meta.status import Cause, invalid_value, not_supported, required


def container_names(obj: Object, now: float) -> str:
    """Names of the template's containers: a,b."""
    return ",".join(c.get("name", "") for c in _containers(obj))


def container_images(obj: Object, now: float) -> str:
    """Images of the template's containers: x:1,y:2."""
    return ",".join(c.get("image", "") for c in _containers(obj))


def selector_text(obj: Object, now: float) -> str:
    """The label selector as `kubectl get -l` takes it."""
    selector = (obj.get("spec") or {}).get("selector")
    return "<none>" if not selector else str(selectors.from_label_selector(selector))


CONTAINERS = Column("Containers", container_names, wide=True, description="Names of each container in the template.")
IMAGES = Column("Images", container_images, wide=True, description="Images referenced by each container.")
SELECTOR = Column("Selector", selector_text, wide=True, description="Label selector for pods.")


def default(template: dict[str, Any]) -> None:
    """Fills in the template's pod spec, in place."""
    metadata = template.setdefault("metadata", {})
    for name in [n for n, value in metadata.items() if not value]:  # empty is the same as absent
        del metadata[name]
    pod_defaults.default_spec(template.setdefault("spec", {}), created=False)


def causes(template: Mapping[str, Any], path: str) -> list[Cause]:
    """What is wrong with the template's labels, annotations and pod spec."""
    meta = template.get("metadata") or {}
    found = list(validation.labels(meta.get("labels") or {}, f"{path}.labels"))
    found += validation.annotations(meta.get("annotations") or {}, f"{path}.annotations")
    found += pod_rules.spec_causes(template.get("spec") or {}, f"{path}.spec", created=False)
    return found


def selector_causes(spec: Mapping[str, Any], owner: str) -> list[Cause]:
    """spec.selector must be there, well formed, not empty, and match the template's labels."""
    selector = spec.get("selector")
    found = [required("spec.selector")] if selector is None else []
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is not None:
        found += validation.label_selector(selector, "spec.selector")
        if found:
            why = _UNREADABLE.get(owner)
            return found if why is None else [*found, invalid_value("spec.selector", selector, why)]
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            text = f"empty selector is invalid for {owner}"
            return [invalid_value("spec.selector", selector, text)]
    if selector is None or not selectors.from_label_selector(selector).matches(labels):
        text = "`selector` does not match template `labels`"
        found.append(invalid_value("spec.template.metadata.labels", labels, text))
    return found


_UNREADABLE = {"deployment": "invalid label selector", "statefulset": ""}
"""What is said of a selector with faults, beside these."""


def missing_causes(path: str, *, is_job: bool = False) -> list[Cause]:
    """What is wrong with a template that is not there: what is missing from one that is empty."""
    found = [required(f"{path}.spec.containers")]
    if is_job:
        found.append(required(f"{path}.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return found


def always_causes(spec: Mapping[str, Any], owner: str) -> list[Cause]:
    """A template whose pods are replaced must restart its containers, and end only with its owner."""
    pod_spec = (spec.get("template") or {}).get("spec") or {}
    found = []
    policy = pod_spec.get("restartPolicy", "Always")
    if policy != "Always":
        found.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if pod_spec.get("activeDeadlineSeconds") is not None:
        text = f"activeDeadlineSeconds in {owner} is not Supported"
        found.append(Cause("spec.template.spec.activeDeadlineSeconds", "FieldValueForbidden", f"Forbidden: {text}"))
    return found


def _containers(obj: Object) -> list[dict[str, Any]]:
    template = (obj.get("spec") or {}).get("template") or {}
    return (template.get("spec") or {}).get("containers") or []
