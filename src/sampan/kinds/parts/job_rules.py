"""Which jobs are refused: bad counts, pods that would never end, changes to what must stay."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import not_yet, numbers, pod_template
from sampan.meta import objects, selectors
from sampan.meta.status import Cause, invalid_value, not_supported, required

_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_MORE_COUNTS = ("backoffLimitPerIndex", "maxFailedIndexes")
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_MODES = ("Indexed", "NonIndexed")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_MAX_PARALLEL_INDEXED = 100_000


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All causes, for a new job or an update of `old`."""
    spec = new.get("spec") or {}
    found = numbers.negative_causes(spec, "spec", *_COUNTS, *_MORE_COUNTS)
    found += _mode_causes(spec)
    before = (old.get("spec") or {}) if old else None
    if spec.get("template") is None:
        found.append(required("spec.template"))
    elif before is None or spec["template"] != before.get("template"):
        found += pod_template.causes(spec["template"], "spec.template")
        found += _restart_causes(spec["template"])
    if before is None:
        found += _selector_causes(new, spec) + not_yet.job_causes(spec)
    else:
        found += _update_causes(spec, before)
    return found


def _mode_causes(spec: Mapping[str, Any]) -> list[Cause]:
    found = []
    mode = spec.get("completionMode")
    if mode not in _MODES:
        found.append(not_supported("spec.completionMode", mode, _MODES))
    if mode == "Indexed":
        if spec.get("completions") is None:
            found.append(required("spec.completions", "when completion mode is Indexed"))
        if (spec.get("parallelism") or 0) > _MAX_PARALLEL_INDEXED:
            text = f"must be less than or equal to {_MAX_PARALLEL_INDEXED} when completion mode is Indexed"
            found.append(invalid_value("spec.parallelism", spec["parallelism"], text))
    if spec.get("backoffLimitPerIndex") is not None and mode != "Indexed":
        text = "requires indexed completion mode"
        found.append(invalid_value("spec.backoffLimitPerIndex", spec["backoffLimitPerIndex"], text))
    replacement = spec.get("podReplacementPolicy")
    if replacement and replacement not in _REPLACEMENTS:
        found.append(not_supported("spec.podReplacementPolicy", replacement, _REPLACEMENTS))
    return found


def _restart_causes(template: Mapping[str, Any]) -> list[Cause]:
    policy = (template.get("spec") or {}).get("restartPolicy")
    path = "spec.template.spec.restartPolicy"
    if policy in ("", "Always"):
        detail = 'Required value: valid values: "OnFailure", "Never"'
        return [Cause(path, "FieldValueRequired", detail)]
    return [] if policy in {"OnFailure", "Never"} else [not_supported(path, policy, ("OnFailure", "Never"))]


def _selector_causes(job: Object, spec: Mapping[str, Any]) -> list[Cause]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not spec.get("manualSelector"):
        uid = objects.uid(job)
        matched = selector.get("matchLabels") or {}
        known = {"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid}
        if selector.get("matchExpressions") or any(known.get(k, v) != v for k, v in matched.items()):
            return [invalid_value("spec.selector", selector, "`selector` not auto-generated")]
    if not selectors.from_label_selector(selector).matches(labels):
        text = "`selector` does not match template `labels`"
        return [invalid_value("spec.template.metadata.labels", labels, text)]
    return []


def _update_causes(spec: Mapping[str, Any], before: Mapping[str, Any]) -> list[Cause]:
    immutable = "field is immutable"
    found = []
    completions = spec.get("completions")
    if completions != before.get("completions"):
        elastic = spec.get("completionMode") == "Indexed" and completions == spec.get("parallelism")
        if not elastic:
            found.append(invalid_value("spec.completions", completions, immutable))
    if spec.get("selector") != before.get("selector"):
        found.append(invalid_value("spec.selector", spec.get("selector"), immutable))
    found += [invalid_value(f"spec.{f}", spec.get(f), immutable) for f in _FIXED if spec.get(f) != before.get(f)]
    if not _same_template(spec, before):
        found.append(invalid_value("spec.template", spec.get("template"), immutable))
    return found


def _same_template(spec: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """A suspended job that never started may still change where its pods go."""
    new, old = spec.get("template") or {}, before.get("template") or {}
    if new == old or not before.get("suspend"):
        return bool(new == old)
    loose = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
    return _without(new, loose) == _without(old, loose)


def _without(template: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in fields}
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"metadata": meta, "spec": spec}
