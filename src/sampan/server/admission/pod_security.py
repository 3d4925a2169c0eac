"""PodSecurity: pods meet the standard that their namespace's labels name; templates of pods are warned about.

https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from dataclasses import dataclass, field
from typing import Any

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.pod_template import PODTEMPLATE
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.kinds.parts.pod_security import evaluation, levels
from sampan.kinds.parts.pod_security.levels import PRIVILEGED, Level, Policy
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup

MAX_PODS_TO_CHECK = 3000
_AUDIT = levels.PREFIX
_IGNORED = frozenset(
    ("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "resize", "status"),
)
_TEMPLATES = {
    ("", "podtemplates"): "template",
    ("", "replicationcontrollers"): "spec.template",
    ("apps", "daemonsets"): "spec.template",
    ("apps", "deployments"): "spec.template",
    ("apps", "replicasets"): "spec.template",
    ("apps", "statefulsets"): "spec.template",
    ("batch", "cronjobs"): "spec.jobTemplate.spec.template",
    ("batch", "jobs"): "spec.template",
}
_PROFILE_ANNOTATIONS = ("seccomp.security.alpha.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/")

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds where a namespace says nothing, and who is not looked at."""

    default: Policy = field(default_factory=Policy)
    namespaces: frozenset[str] = field(default_factory=frozenset)
    users: frozenset[str] = field(default_factory=frozenset)
    runtime_classes: frozenset[str] = field(default_factory=frozenset)


def settings(config: Tree) -> Settings:
    """From a PodSecurityConfiguration; {} has upstream's defaults."""
    given = {f"{levels.PREFIX}{name}": value for name, value in (config.get("defaults") or {}).items()}
    found = {mode: levels.level(given, mode, Level()) for mode in levels.MODES}
    exempt = config.get("exemptions") or {}
    return Settings(
        default=Policy(**found),
        namespaces=frozenset(exempt.get("namespaces") or ()),
        users=frozenset(exempt.get("usernames") or ()),
        runtime_classes=frozenset(exempt.get("runtimeClasses") or ()),
    )


class PodSecurity:
    """The plugin."""

    CONCERNS = Concern(
        operations=(CREATE, UPDATE),
        kinds=(POD, NAMESPACE, PODTEMPLATE, REPLICATIONCONTROLLER),
        groups=("apps", "batch"),
    )

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 403 for a pod that the namespace does not allow, 422 for labels that mean nothing."""
        if attributes.obj is None:
            return
        kind = attributes.kind
        if kind == NAMESPACE and not attributes.subresource:
            self._namespace(attributes, lookup)
        elif kind == POD:
            self._pod(attributes, lookup)
        elif (path := _TEMPLATES.get(kind.place)) is not None and not attributes.subresource:
            template = objects.get_path(attributes.obj, path)
            policy = self._policy(attributes, lookup) if isinstance(template, dict) else None
            if policy is not None and not (policy.audit.name == policy.warn.name == PRIVILEGED):
                self._judge(attributes, policy, template, enforce=False)

    # Pods and templates

    def _pod(self, attributes: Attributes, lookup: Lookup) -> None:
        pod = attributes.obj
        if pod is None or attributes.subresource in _IGNORED:
            return
        policy = self._policy(attributes, lookup)
        if policy is None or policy.is_privileged:
            return
        if attributes.old is not None and not _is_significant(pod, attributes.old):
            return
        self._judge(attributes, policy, pod, enforce=True)

    def _policy(self, attributes: Attributes, lookup: Lookup) -> Policy | None:
        """The namespace's policy; None where nobody looks."""
        settings = self._settings
        if attributes.namespace in settings.namespaces:
            attributes.audit[f"{_AUDIT}exempt"] = "namespace"
            return None
        if attributes.user.name in settings.users:
            attributes.audit[f"{_AUDIT}exempt"] = "user"
            return None
        namespace = lookup.get(NAMESPACE, "", attributes.namespace)
        if namespace is None:
            raise status.internal(f'failed to lookup namespace "{attributes.namespace}"')
        policy, causes = levels.read(objects.labels(namespace.tree), settings.default)
        if causes:
            attributes.audit[f"{_AUDIT}error"] = f"Failed to parse policy: {', '.join(c.text for c in causes)}"
        return policy

    def _judge(self, attributes: Attributes, policy: Policy, pod: Tree, *, enforce: bool) -> None:
        if self._is_exempt_class(pod):
            attributes.audit[f"{_AUDIT}exempt"] = "runtimeClass"
            return
        if enforce:
            attributes.audit[f"{_AUDIT}enforce-policy"] = str(policy.enforce)
        if found := evaluation.violations(policy.audit, pod):
            attributes.audit[f"{_AUDIT}audit-violations"] = _would(policy.audit, evaluation.detail(found))
        if enforce and (found := evaluation.violations(policy.enforce, pod)):
            why = f'violates PodSecurity "{policy.enforce}": {evaluation.detail(found)}'
            raise status.forbidden(POD.group, POD.plural, attributes.name, why)
        if found := evaluation.violations(policy.warn, pod):
            attributes.call.warnings.append(_would(policy.warn, evaluation.detail(found)))

    def _is_exempt_class(self, pod: Tree) -> bool:
        return (pod.get("spec") or {}).get("runtimeClassName") in self._settings.runtime_classes

    # Namespaces

    def _namespace(self, attributes: Attributes, lookup: Lookup) -> None:
        """Refuses labels that mean nothing; warns about pods that a stricter level would not let in."""
        new, causes = levels.read(objects.labels(attributes.obj or {}), self._settings.default)
        if attributes.old is None:
            if causes:
                raise status.invalid("", NAMESPACE.name, attributes.name, causes)
            return
        old, old_causes = levels.read(objects.labels(attributes.old), self._settings.default)
        if causes and causes != old_causes:
            raise status.invalid("", NAMESPACE.name, attributes.name, causes)
        enforce = new.enforce
        if enforce == old.enforce or enforce.name == PRIVILEGED or attributes.name in self._settings.namespaces:
            return
        if enforce.minor == old.enforce.minor and not enforce.is_above(old.enforce):
            return
        attributes.call.warnings.extend(self._pod_warnings(attributes.name, enforce, lookup))

    def _pod_warnings(self, namespace: str, enforce: Level, lookup: Lookup) -> list[str]:
        pods = [item.tree for item in lookup.all(POD, namespace)]
        by_reasons: dict[str, list[str]] = {}
        for pod in pods[:MAX_PODS_TO_CHECK]:
            found = [] if self._is_exempt_class(pod) else evaluation.violations(enforce, pod)
            if found:
                by_reasons.setdefault(evaluation.reasons(found), []).append(objects.name(pod))
        warnings = []
        if len(pods) > MAX_PODS_TO_CHECK:
            text = "new PodSecurity enforce level only checked against the first"
            warnings.append(f"{text} {MAX_PODS_TO_CHECK} of {len(pods)} existing pods")
        if by_reasons:
            text = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"'
            warnings.append(text)
        return warnings + sorted(f"{_named(names)}: {reasons}" for reasons, names in by_reasons.items())


def _would(level: Level, detail: str) -> str:
    return f'would violate PodSecurity "{level}": {detail}'


def _named(names: list[str]) -> str:
    first, others = min(names), len(names) - 1
    if not others:
        return first
    return f"{first} (and {others} other {'pod' if others == 1 else 'pods'})"


def _is_significant(new: Tree, old: Tree) -> bool:
    """Whether an update changes anything that a standard looks at and that an update may change at all."""
    fresh, stored = objects.annotations(new), objects.annotations(old)
    for key in {*fresh, *stored}:
        if key.startswith(_PROFILE_ANNOTATIONS) and fresh.get(key) != stored.get(key):
            return True
    for kind in ("initContainers", "containers"):
        if _images(new, kind) != _images(old, kind):
            return True
    before = dict(_images(old, "ephemeralContainers"))
    return any(before.get(name) != image for name, image in _images(new, "ephemeralContainers"))


def _images(pod: Tree, kind: str) -> list[tuple[Any, Any]]:
    return [(c.get("name"), c.get("image")) for c in (pod.get("spec") or {}).get(kind) or ()]
