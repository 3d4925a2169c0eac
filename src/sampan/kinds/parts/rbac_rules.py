"""What RBAC's kinds share: rules, subjects, role references and their columns.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Callable, Sequence
from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.kinds.parts.cells import AGE
from sampan.meta import names
from sampan.meta.status import Cause, invalid_value, not_supported, required

API_GROUP = "rbac.authorization.k8s.io"

Causes = list[Cause]


def rule_causes(rules: Sequence[dict[str, Any]], *, namespaced: bool) -> Causes:
    """Each rule has verbs, and resources of groups or non-resource URLs."""
    found: Causes = []
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            found += _url_causes(rule, path, namespaced=namespaced)
            continue
        if not rule.get("apiGroups"):
            found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return found


def _url_causes(rule: dict[str, Any], path: str, *, namespaced: bool) -> Causes:
    urls = rule["nonResourceURLs"]
    where = f"{path}.nonResourceURLs"
    found: Causes = []
    if namespaced:
        found.append(invalid_value(where, urls, "namespaced rules cannot apply to non-resource URLs"))
    if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
        text = "rules cannot apply to both regular resources and non-resource URLs"
        found.append(invalid_value(where, urls, text))
    return found


def default_binding(obj: Object) -> None:
    """The role is of RBAC's group; users and groups too, service accounts of core."""
    reference = obj["roleRef"] = obj.get("roleRef") or {}
    if not reference.get("apiGroup"):
        reference["apiGroup"] = API_GROUP
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = API_GROUP


def binding_causes(new: Object, old: Object | None, *, roles: tuple[str, ...]) -> Causes:
    """A known role kind, named; subjects of known kinds; the role of a stored binding stays."""
    reference = new.get("roleRef") or {}
    found: Causes = []
    if reference.get("apiGroup") != API_GROUP:
        found.append(not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (API_GROUP,)))
    if reference.get("kind") not in roles:
        found.append(not_supported("roleRef.kind", reference.get("kind") or "", roles))
    if not reference.get("name"):
        found.append(required("roleRef.name"))
    else:
        found += [invalid_value("roleRef.name", reference["name"], t) for t in names.path_segment(reference["name"])]
    namespaced = "Role" in roles
    for index, subject in enumerate(new.get("subjects") or ()):
        found += _subject_causes(subject, f"subjects[{index}]", namespaced=namespaced)
    if old is not None and reference != old.get("roleRef"):
        found.append(invalid_value("roleRef", reference, "cannot change roleRef"))
    return found


def _subject_causes(subject: dict[str, Any], path: str, *, namespaced: bool) -> Causes:
    found: Causes = []
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    if not name:
        found.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_subdomain(name)]
        if group:
            found.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
    elif kind in {"User", "Group"}:
        if group != API_GROUP:
            found.append(not_supported(f"{path}.apiGroup", group, (API_GROUP,)))
    else:
        found.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return found


def _role_text(obj: Object, now: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def _subjects_text(kind: str) -> Callable[[Object, float], str]:
    def cell(obj: Object, now: float) -> str:
        found = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" for s in found)
        return ", ".join(s.get("name", "") for s in found)

    return cell


BINDING_COLUMNS = (
    Column("Role", _role_text),
    AGE,
    Column("Users", _subjects_text("User"), wide=True),
    Column("Groups", _subjects_text("Group"), wide=True),
    Column("ServiceAccounts", _subjects_text("ServiceAccount"), wide=True),
)
