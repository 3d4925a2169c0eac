"""Which jobs are refused: bad counts, pods that would never end, changes to what must stay."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import job_policies, numbers, pod_template
from sampan.meta import names, objects, selectors, validation
from sampan.meta.status import Cause, invalid_value, not_supported, required, too_long

Spec = Mapping[str, Any]

_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_MODES = ("Indexed", "NonIndexed")
_MANY = 100_000
_MANY_AT_ONCE = 10_000
_MAX_MANAGER = 63
_PER_INDEX = "when completions are above 100000 and used with backoff limit per index"


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All causes, for a new job or an update of `old`."""
    spec = new.get("spec") or {}
    before = (old.get("spec") or {}) if old else None
    is_new = before is None or spec.get("template") != before.get("template")
    found = [] if before is not None else _selector_causes(new, spec) + _name_causes(new, spec)
    found += spec_causes(spec, "spec", is_template_new=is_new)
    if before is not None:
        found += _update_causes(spec, before)
    return found


def default_patterns(spec: dict[str, Any]) -> None:
    """A pod failure policy's condition is meant to be True."""
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"


def spec_causes(spec: Spec, path: str, *, is_template_new: bool) -> list[Cause]:
    """What is wrong with a job's spec but its selector."""
    found = numbers.negative_causes(spec, path, *_COUNTS, "backoffLimitPerIndex", "maxFailedIndexes")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    found += _manager_causes(spec.get("managedBy"), f"{path}.managedBy")
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        found.append(not_supported(f"{path}.completionMode", mode, _MODES))
    found += _indexed_causes(spec, path) if mode == "Indexed" else _plain_causes(spec, path)
    if spec.get("podFailurePolicy") is not None:
        found += job_policies.failure_causes(spec, f"{path}.podFailurePolicy")
    if spec.get("successPolicy") is not None and mode == "Indexed":
        found += job_policies.success_causes(spec, f"{path}.successPolicy")
    found += _replacement_causes(spec, f"{path}.podReplacementPolicy")
    if spec.get("template") is None:
        return [*found, *pod_template.missing_causes(f"{path}.template", is_job=True)]
    if is_template_new:
        found += pod_template.causes(spec["template"], f"{path}.template")
        found += _restart_causes(spec, f"{path}.template.spec.restartPolicy")
    return found


def _name_causes(job: Object, spec: Spec) -> list[Cause]:
    """The name of the last pod must be a host name."""
    completions = spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed" or completions <= 0:
        return []
    host = f"{objects.name(job)}-{completions - 1}"
    if not names.dns1123_label(host):
        return []
    text = f"will not able to create pod with invalid DNS label: {host}"
    return [invalid_value("metadata.name", objects.name(job), text)]


def _manager_causes(manager: str | None, path: str) -> list[Cause]:
    if manager is None:
        return []
    found: list[Cause] = []
    domain, slash, name = manager.partition("/")
    if not manager:
        found.append(required(path))
    elif not slash or not domain or not name:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        found.append(invalid_value(path, manager, text))
    else:
        found += [invalid_value(path, domain, text) for text in names.dns1123_subdomain(domain)]
    return [*found, too_long(path, _MAX_MANAGER)] if len(manager) > _MAX_MANAGER else found


def _indexed_causes(spec: Spec, path: str) -> list[Cause]:
    found = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    most, per_index = spec.get("maxFailedIndexes"), spec.get("backoffLimitPerIndex")
    if completions is None:
        found.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism > _MANY:
        text = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        found.append(invalid_value(f"{path}.parallelism", parallelism, text))
    if completions is not None and most is not None and most > completions:
        found.append(invalid_value(f"{path}.maxFailedIndexes", most, "must be less than or equal to completions"))
    if most is not None and most > _MANY:
        found.append(invalid_value(f"{path}.maxFailedIndexes", most, f"must be less than or equal to {_MANY}"))
    if (completions or 0) > _MANY and per_index is not None:
        if most is None:
            text = f"must be specified when completions is above {_MANY}"
            found.append(required(f"{path}.maxFailedIndexes", text))
        for field, value in (("parallelism", parallelism), ("maxFailedIndexes", most or 0)):
            if value > _MANY_AT_ONCE:
                text = f"must be less than or equal to {_MANY_AT_ONCE} {_PER_INDEX}"
                found.append(invalid_value(f"{path}.{field}", value, text))
    return found


def _plain_causes(spec: Spec, path: str) -> list[Cause]:
    return [
        invalid_value(f"{path}.{field}", spec[field], "requires indexed completion mode")
        for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
        if spec.get(field) is not None
    ]


def _replacement_causes(spec: Spec, path: str) -> list[Cause]:
    policy = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [not_supported(path, policy, allowed)] if policy and policy not in allowed else []


def _restart_causes(spec: Spec, path: str) -> list[Cause]:
    policy = (spec["template"].get("spec") or {}).get("restartPolicy")
    if policy in ("", "Always", None):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(path, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        return [invalid_value(path, policy, text)]
    return []


def _selector_causes(job: Object, spec: Spec) -> list[Cause]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    wrong = validation.label_selector(selector, "spec.selector")
    if wrong:
        return wrong
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


def _update_causes(spec: Spec, before: Spec) -> list[Cause]:
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


def _same_template(spec: Spec, before: Spec) -> bool:
    """A suspended job that never started may still change where its pods go."""
    new, old = spec.get("template") or {}, before.get("template") or {}
    if new == old or not before.get("suspend"):
        return bool(new == old)
    loose = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
    return _without(new, loose) == _without(old, loose)


def _without(template: Spec, fields: tuple[str, ...]) -> dict[str, Any]:
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in fields}
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"metadata": meta, "spec": spec}
