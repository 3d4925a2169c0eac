"""Which webhooks and policies a request concerns: rules, equivalent versions, namespace and object selectors.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.parts.admission_match import GROUP
from sampan.kit.texts import Texts
from sampan.meta import objects, selectors, status
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Lookup
from sampan.server.served import Served

Tree = dict[str, Any]

# Nobody may lock the door to the locks.
EXEMPT = frozenset(
    (
        "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
        "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
    )
)  # fmt: skip
_REVIEW_GROUPS = frozenset(("authentication.k8s.io", "authorization.k8s.io"))


class Triple(NamedTuple):
    """A group, a version, and a kind or a resource."""

    group: str
    version: str
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.name}"


@dataclass(frozen=True, slots=True)
class Match:
    """As what a hook sees the request: the kind and the resource in the version that its rules name."""

    kind: Triple
    resource: Triple


def is_exempt(attributes: Attributes) -> bool:
    """Whether the request is on a webhook configuration or an admission policy itself."""
    return attributes.kind.group == GROUP and attributes.kind.plural in EXEMPT


def is_exempt_from_policies(attributes: Attributes) -> bool:
    """Policies do not see reviews of identities and rights either."""
    return is_exempt(attributes) or (attributes.kind.group in _REVIEW_GROUPS and attributes.kind.not_stored)


def requested(attributes: Attributes) -> Match:
    """The request as it came."""
    info, kind = attributes.call.info, attributes.kind
    resource = Triple(info.group, info.version, kind.plural)
    body = attributes.body_kind
    return Match(Triple(*body) if body else Triple(info.group, info.version, kind.name), resource)


def by_rules(rules: Iterable[Tree], policy: str, attributes: Attributes, served: Served) -> Match | None:
    """The first rule that fits the request, or (matchPolicy Equivalent) the same resource in another version."""
    rules = [rule for rule in rules if _fits_request(rule, attributes)]
    if not rules:
        return None
    match, sub = requested(attributes), attributes.subresource
    if any(_fits_resource(rule, match.resource, sub) for rule in rules):
        return match
    if policy != "Equivalent":
        return None
    equivalents = _equivalents(attributes, match, served)
    found = (other for rule in rules for other in equivalents if _fits_resource(rule, other.resource, sub))
    return next(found, None)


def by_resources(resources: Tree | None, attributes: Attributes, lookup: Lookup, served: Served) -> Match | None:
    """As `by_rules`, for matchConstraints or matchResources of a policy; None (absent) matches everything.

    Raises ApiError when the namespace is not known.
    """
    if resources is None:
        return requested(attributes)
    if not by_object(resources.get("objectSelector"), attributes):
        return None
    policy = resources.get("matchPolicy") or "Equivalent"
    if by_rules(resources.get("excludeResourceRules") or (), policy, attributes, served) is not None:
        return None
    rules: Sequence[Tree] = resources.get("resourceRules") or ()
    match = by_rules(rules, policy, attributes, served) if rules else requested(attributes)
    if match is None or not by_namespace(resources.get("namespaceSelector"), attributes, lookup):
        return None
    return match


def by_namespace(selector: Tree | None, attributes: Attributes, lookup: Lookup) -> bool:
    """Whether the request's namespace is selected; one without a namespace always is. Raises ApiError 404."""
    parsed = _SELECTORS[orjson.dumps(selector or {})]
    if parsed.is_empty:
        return True
    is_namespace = attributes.kind == NAMESPACE
    if not attributes.namespace and not is_namespace:
        return True
    if is_namespace and attributes.operation in (CREATE, UPDATE) and not attributes.body_kind:
        return parsed.matches(objects.labels(attributes.obj or {}))
    name = attributes.name if is_namespace else attributes.namespace
    return parsed.matches(objects.labels(namespace_tree(name, lookup)))


def namespace_tree(name: str, lookup: Lookup) -> Tree:
    """The live namespace. Raises ApiError 404."""
    item = lookup.get(NAMESPACE, "", name)
    if item is None:
        raise status.not_found(NAMESPACE.group, NAMESPACE.plural, name)
    return item.tree


def by_object(selector: Tree | None, attributes: Attributes) -> bool:
    """Whether the object is selected by its labels, as it is or as it was."""
    parsed = _SELECTORS[orjson.dumps(selector or {})]
    if parsed.is_empty:
        return True
    known = (tree for tree in (attributes.obj, attributes.old) if tree is not None and "metadata" in tree)
    return any(parsed.matches(objects.labels(tree)) for tree in known)


def _selector(text: bytes) -> selectors.Selector:
    return selectors.from_label_selector(orjson.loads(text))


_SELECTORS = Texts(_selector, 512, longest=4096)


def _fits_request(rule: Tree, attributes: Attributes) -> bool:
    """Whether a rule's operation, scope, subresource and names fit."""
    operations = rule.get("operations") or ()
    if "*" not in operations and attributes.operation not in operations:
        return False
    names = rule.get("resourceNames")
    if names and attributes.name not in names:
        return False
    scope = rule.get("scope") or "*"
    if scope == "*":
        return True
    is_inside = bool(attributes.namespace) and attributes.kind != NAMESPACE
    return is_inside == (scope == "Namespaced")


def _fits_resource(rule: Tree, resource: Triple, sub: str) -> bool:
    for name, value in (("apiGroups", resource.group), ("apiVersions", resource.version)):
        allowed = rule.get(name) or ()
        if "*" not in allowed and value not in allowed:
            return False
    for entry in rule.get("resources") or ():
        wanted, _, wanted_sub = entry.partition("/")
        if wanted in ("*", resource.name) and wanted_sub in ("*", sub):
            return True
    return False


def _equivalents(attributes: Attributes, match: Match, served: Served) -> list[Match]:
    """The same objects under their other versions and groups."""
    place, sub = attributes.kind.place, attributes.subresource
    found = []
    for kind in served.all():
        if kind.place != place or kind.not_stored or (sub and kind.subresource(sub) is None):
            continue
        for version in kind.versions:
            resource = Triple(kind.group, version, kind.plural)
            if resource != match.resource:
                shown = match.kind if attributes.body_kind else Triple(kind.group, version, kind.name)
                found.append(Match(shown, resource))
    return found
