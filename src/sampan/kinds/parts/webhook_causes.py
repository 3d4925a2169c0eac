"""What mutating and validating webhook configurations share: defaults and checks of their webhooks.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import admission_match, match_conditions, webhook_client
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required

REVIEW_VERSIONS = ("v1", "v1beta1")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
MAX_TIMEOUT_SECONDS = 30

Causes = list[Cause]


def default(obj: Object) -> None:
    """Fail closed, equivalent versions, everything, ten seconds."""
    for hook in obj.get("webhooks") or ():
        _choose(hook, "failurePolicy", "Fail")
        _choose(hook, "matchPolicy", "Equivalent")
        _choose(hook, "namespaceSelector", {})
        _choose(hook, "objectSelector", {})
        _choose(hook, "timeoutSeconds", 10)
        admission_match.default_rules(hook.get("rules") or ())
        webhook_client.default(hook.get("clientConfig") or {})


def causes(new: Object, old: Object | None) -> Causes:
    """What is wrong with a configuration's webhooks, mutating or validating."""
    hooks = new.get("webhooks") or []
    before = None if old is None else _conditions(old.get("webhooks") or [])
    found: Causes = []
    seen: set[str] = set()
    for index, hook in enumerate(hooks):
        field = f"webhooks[{index}]"
        found += _hook_causes(hook, field)
        if before != _conditions(hooks):
            inputs = match_conditions.Inputs(has_params=False)
            found += match_conditions.causes(hook.get("matchConditions") or [], f"{field}.matchConditions", inputs)
        found += _version_causes(hook.get("admissionReviewVersions") or [], f"{field}.admissionReviewVersions")
        name = hook.get("name")
        if name and name in seen:
            found.append(duplicate(f"{field}.name", name))
        seen.add(name)
    return found


def _choose(hook: Object, name: str, value: Any) -> None:
    if hook.get(name) is None:
        hook[name] = value


def _conditions(hooks: Sequence[Object]) -> list[Any]:
    return [hook.get("matchConditions") or [] for hook in hooks]


def _hook_causes(hook: Object, field: str) -> Causes:
    found = _name_causes(hook.get("name") or "", f"{field}.name")
    for index, rule in enumerate(hook.get("rules") or ()):
        found += admission_match.rule_causes(rule, f"{field}.rules[{index}]")
    found += _choice(hook, "failurePolicy", field, admission_match.FAILURE_POLICIES)
    found += _choice(hook, "matchPolicy", field, admission_match.MATCH_POLICIES)
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(required(f"{field}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}"))
    elif effects not in SIDE_EFFECTS:
        found.append(not_supported(f"{field}.sideEffects", effects, SIDE_EFFECTS))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(invalid_value(f"{field}.timeoutSeconds", seconds, why))
    for name in ("namespaceSelector", "objectSelector"):
        found += validation.label_selector(hook.get(name), f"{field}.{name}")
    found += _choice(hook, "reinvocationPolicy", field, admission_match.REINVOCATION_POLICIES)
    return found + webhook_client.causes(hook.get("clientConfig") or {}, f"{field}.clientConfig")


def _choice(hook: Object, name: str, field: str, choices: Sequence[str]) -> Causes:
    value = hook.get(name)
    return [] if value is None or value in choices else [not_supported(f"{field}.{name}", value, choices)]


def _name_causes(name: str, field: str) -> Causes:
    """A webhook is named like a host: three parts at least."""
    if not name:
        return [required(field)]
    if errors := names.dns1123_subdomain(name):
        return [invalid_value(field, name, ",".join(errors))]
    labels = name.split(".")
    if len(labels) < 3:
        return [invalid_value(field, name, "should be a domain with at least three segments separated by dots")]
    for label in labels:
        if errors := names.dns1123_label(label):
            return [invalid_value(field, label, ",".join(errors))]
    return []


def _version_causes(versions: list[str], field: str) -> Causes:
    if not versions:
        return [required(field, f"must specify one of {', '.join(REVIEW_VERSIONS)}")]
    found: Causes = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.append(invalid_value(f"{field}[{index}]", version, "duplicate version"))
            continue
        found += validation.each(f"{field}[{index}]", version, names.dns1035_label(version))
    if not set(versions) & set(REVIEW_VERSIONS):
        found.append(invalid_value(field, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}"))
    return found
