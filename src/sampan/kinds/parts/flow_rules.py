"""Which flow schemas and priority levels are refused.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.meta import names
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = ("Group", "ServiceAccount", "User")
_LEVELS = ("Exempt", "Limited")
_RESPONSES = ("Queue", "Reject")
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_MAX_PRECEDENCE = 10000
_MAX_QUEUES = 10_000_000
_MAX_HASH_BITS = 60
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "

Spec = Mapping[str, Any]


def schema_causes(name: str, spec: Spec) -> list[Cause]:
    """What is wrong with a FlowSchema's spec."""
    found: list[Cause] = []
    path, precedence = "spec.matchingPrecedence", spec.get("matchingPrecedence") or 0
    if precedence <= 0:
        found.append(invalid_value(path, precedence, "must be a positive value"))
    if precedence > _MAX_PRECEDENCE:
        found.append(invalid_value(path, precedence, f"must not be greater than {_MAX_PRECEDENCE}"))
    if precedence == 1 and name != "exempt":
        found.append(invalid_value(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        found.append(not_supported("spec.distinguisherMethod.type", method, _METHODS))
    path, level = "spec.priorityLevelConfiguration.name", (spec.get("priorityLevelConfiguration") or {}).get("name")
    if not level:
        found.append(required(path, "must reference a priority level"))
    else:
        found += [invalid_value(path, level, error) for error in names.dns1123_subdomain(level)]
    for index, rule in enumerate(spec.get("rules") or ()):
        found += _rule_causes(rule, f"spec.rules[{index}]")
    return found


def level_causes(name: str, spec: Spec) -> list[Cause]:
    """What is wrong with a PriorityLevelConfiguration's spec."""
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    found: list[Cause] = []
    if (name == "exempt") != (kind == "Exempt"):
        found.append(invalid_value("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            found.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
        found += _share_causes(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            found.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            found.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            found += _limited_causes(limited, "spec.limited")
    else:
        found.append(not_supported("spec.type", kind, _LEVELS))
    return found


def condition_causes(obj: Spec) -> list[Cause]:
    """What is wrong with the conditions of either."""
    found, seen = [], set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        path, kind = f"status.conditions[{index}].type", condition.get("type") or ""
        if kind in seen:
            found.append(duplicate(path, kind))
        seen.add(kind)
        if not kind:
            found.append(required(path, "must not be empty"))
    return found


def _rule_causes(rule: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    if not rule.get("subjects"):
        found.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.get("subjects") or ()):
        found += _subject_causes(subject, f"{path}.subjects[{index}]")
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        found.append(required(path, text))
    for index, resource in enumerate(rule.get("resourceRules") or ()):
        found += _resource_causes(resource, f"{path}.resourceRules[{index}]")
    for index, other in enumerate(rule.get("nonResourceRules") or ()):
        found += _path_rule_causes(other, f"{path}.nonResourceRules[{index}]")
    return found


def _subject_causes(subject: Spec, path: str) -> list[Cause]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        return [not_supported(f"{path}.kind", kind, _SUBJECTS)]
    own = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
    field = own[kind]
    found = _named_causes(subject.get(field), kind, f"{path}.{field}")
    for other, name in own.items():
        if other != kind and subject.get(name) is not None:
            text = f"{name} is forbidden when subject kind is not '{other}'"
            found.append(forbidden_field(f"{path}.{name}", text))
    return found


def _named_causes(named: Spec | None, kind: str, path: str) -> list[Cause]:
    if named is None:
        field = path.rpartition(".")[2]
        return [required(path, f"{field} is required when subject kind is '{kind}'")]
    found: list[Cause] = []
    name = named.get("name") or ""
    if not name:
        found.append(required(f"{path}.name"))
    elif kind == "ServiceAccount" and name != "*":
        found += [invalid_value(f"{path}.name", name, error) for error in names.dns1123_subdomain(name)]
    if kind == "ServiceAccount":
        namespace = named.get("namespace") or ""
        if not namespace:
            found.append(required(f"{path}.namespace", "must specify namespace for service account"))
        else:
            found += [invalid_value(f"{path}.namespace", namespace, e) for e in names.dns1123_label(namespace)]
    return found


def _resource_causes(rule: Spec, path: str) -> list[Cause]:
    found = _verb_causes(rule.get("verbs") or [], path)
    for field, one, many in (
        ("apiGroups", "resource rules must supply at least one api group", "other api groups"),
        ("resources", "resource rules must supply at least one resource", "other resources"),
    ):
        values = rule.get(field) or []
        if not values:
            found.append(required(f"{path}.{field}", one))
        elif len(values) > 1 and "*" in values:
            found.append(invalid_value(f"{path}.{field}", values, f"if '*' is present, must not specify {many}"))
    namespaces = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        found.append(required(f"{path}.namespaces", text))
    elif "*" in namespaces:
        if len(namespaces) > 1:
            text = "if '*' is present, must not specify other namespaces"
            found.append(invalid_value(f"{path}.namespaces", namespaces, text))
    else:
        for index, value in enumerate(namespaces):
            where = f"{path}.namespaces[{index}]"
            found += [invalid_value(where, value, _NAMESPACE + error) for error in names.dns1123_label(value)]
    return found


def _path_rule_causes(rule: Spec, path: str) -> list[Cause]:
    found = _verb_causes(rule.get("verbs") or [], path)
    urls = rule.get("nonResourceURLs") or []
    if not urls:
        found.append(required(f"{path}.nonResourceURLs", "nonResourceURLs must contain at least one value"))
    elif "*" in urls:
        if len(urls) > 1:
            text = "if '*' is present, must not specify other non-resource URLs"
            found.append(invalid_value(f"{path}.nonResourceURLs", urls, text))
    else:
        for index, url in enumerate(urls):
            error = _url_error(url)
            if error:
                found.append(invalid_value(f"{path}.nonResourceURLs[{index}]", url, error))
    return found


def _verb_causes(verbs: Sequence[str], path: str) -> list[Cause]:
    if not verbs:
        return [required(f"{path}.verbs", "verbs must contain at least one value")]
    if "*" in verbs:
        text = "if '*' is present, must not specify other verbs"
        return [invalid_value(f"{path}.verbs", list(verbs), text)] if len(verbs) > 1 else []
    return [] if set(verbs) <= set(_VERBS) else [not_supported(f"{path}.verbs", list(verbs), _VERBS)]


def _url_error(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


def _share_causes(level: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    shares, lendable = level.get("nominalConcurrencyShares") or 0, level.get("lendablePercent")
    if shares < 0:
        found.append(invalid_value(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if lendable is not None and not 0 <= lendable <= 100:
        found.append(invalid_value(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive"))
    return found


def _limited_causes(limited: Spec, path: str) -> list[Cause]:
    found = _share_causes(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        text = "if specified, must be a non-negative integer"
        found.append(invalid_value(f"{path}.borrowingLimitPercent", borrowing, text))
    response = limited.get("limitResponse") or {}
    where, kind, queuing = f"{path}.limitResponse", response.get("type") or "", response.get("queuing")
    if kind not in _RESPONSES:
        found.append(not_supported(f"{where}.type", kind, _RESPONSES))
    elif kind == "Reject":
        if queuing is not None:
            text = "must be nil if limited.limitResponse.type is not Limited"
            found.append(forbidden_field(f"{where}.queuing", text))
    elif queuing is None:
        text = "must not be empty if limited.limitResponse.type is Limited"
        found.append(required(f"{where}.queuing", text))
    else:
        found += _queuing_causes(queuing, f"{where}.queuing")
    return found


def _queuing_causes(queuing: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    queues, hand, limit = (queuing.get(name) or 0 for name in ("queues", "handSize", "queueLengthLimit"))
    if limit <= 0:
        found.append(invalid_value(f"{path}.queueLengthLimit", limit, "must be positive"))
    if queues <= 0:
        found.append(invalid_value(f"{path}.queues", queues, "must be positive"))
    elif queues > _MAX_QUEUES:
        found.append(invalid_value(f"{path}.queues", queues, f"must not be greater than {_MAX_QUEUES}"))
    if hand <= 0:
        found.append(invalid_value(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        found.append(invalid_value(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif _entropy_bits(queues, hand) > _MAX_HASH_BITS:
        text = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{_MAX_HASH_BITS}"
        )
        found.append(invalid_value(f"{path}.handSize", hand, text))
    return found


def _entropy_bits(queues: int, hand: int) -> int:
    """How much of a hash a shuffled hand of queues uses up."""
    hand = min(hand, 64)  # more than that has long been too much
    return math.ceil(sum(math.log2(queues - dealt) for dealt in range(hand) if queues > dealt))
