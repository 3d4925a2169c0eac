"""The restricted standard: today's best practice of hardening a pod.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from sampan.kinds.parts.pod_security import baseline
from sampan.kinds.parts.pod_security.check import (
    Tree,
    Violation,
    containers,
    context,
    has_user_namespace,
    is_windows,
    names,
    plural,
    quoted,
    setters,
    spec,
    who,
)

_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
)  # fmt: skip
_OTHER_VOLUMES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd",
    "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
    "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos", "image",
)  # fmt: skip


def privilege_escalation(pod: Tree) -> Violation | None:
    """A process never gains more rights than its parent."""
    bad = names(c for c in containers(pod) if context(c).get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    detail = f"{who(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def privilege_escalation_1_25(pod: Tree) -> Violation | None:
    """Linux only."""
    return None if is_windows(pod) else privilege_escalation(pod)


def capabilities(pod: Tree) -> Violation | None:
    """All capabilities are dropped; only NET_BIND_SERVICE may be added."""
    keeping, adding = [], []
    added: set[str] = set()
    for container in containers(pod):
        given = context(container).get("capabilities") or {}
        if "ALL" not in (given.get("drop") or ()):
            keeping.append(container)
        more = set(given.get("add") or ()) - {"NET_BIND_SERVICE"}
        if more:
            adding.append(container)
            added |= more
    details = []
    if keeping:
        details.append(f'{who(names(keeping))} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        shown = quoted(sorted(added))
        details.append(f"{who(names(adding))} must not include {shown} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def capabilities_1_25(pod: Tree) -> Violation | None:
    """Linux only."""
    return None if is_windows(pod) else capabilities(pod)


def volumes(pod: Tree) -> Violation | None:
    """Only the volume types that bring nothing of the node or of a server named in the pod."""
    bad = [v for v in spec(pod).get("volumes") or () if not any(v.get(kind) is not None for kind in _VOLUMES)]
    if not bad:
        return None
    kinds = sorted({next((kind for kind in _OTHER_VOLUMES if v.get(kind) is not None), "unknown") for v in bad})
    verb = "uses" if len(bad) == 1 else "use"
    head = f"{plural('volume', len(bad))} {quoted(names(bad))} {verb}"
    return Violation(
        "restricted volume types", f"{head} {plural('restricted volume type', len(kinds))} {quoted(kinds)}"
    )


def non_root(pod: Tree) -> Violation | None:
    """Every container says that it does not run as root, or the pod does for it."""
    by_pod = context(spec(pod)).get("runAsNonRoot")
    explicit = names(c for c in containers(pod) if context(c).get("runAsNonRoot") is False)
    if by_pod is False or explicit:
        detail = f"{setters(by_pod is False, explicit)} must not set securityContext.runAsNonRoot=false"
        return Violation("runAsNonRoot != true", detail)
    silent = names(c for c in containers(pod) if context(c).get("runAsNonRoot") is None)
    if by_pod or not silent:
        return None
    detail = f"pod or {who(silent)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", detail)


def non_root_1_35(pod: Tree) -> Violation | None:
    """As `non_root`, unless root in the pod is nobody on the node."""
    return None if has_user_namespace(pod) else non_root(pod)


def root_user(pod: Tree) -> Violation | None:
    """Nobody asks for user 0."""
    by_pod = context(spec(pod)).get("runAsUser") == 0
    bad = names(c for c in containers(pod) if context(c).get("runAsUser") == 0)
    if not by_pod and not bad:
        return None
    return Violation("runAsUser=0", f"{setters(by_pod, bad)} must not set runAsUser=0")


def root_user_1_35(pod: Tree) -> Violation | None:
    """As `root_user`, unless root in the pod is nobody on the node."""
    return None if has_user_namespace(pod) else root_user(pod)


def seccomp(pod: Tree) -> Violation | None:
    """Every container has the runtime's own seccomp profile or a local one, or the pod has for it."""
    wrong = baseline.seccomp(pod)
    if wrong is not None:
        return wrong
    if context(spec(pod)).get("seccompProfile") is not None:
        return None
    silent = names(c for c in containers(pod) if context(c).get("seccompProfile") is None)
    if not silent:
        return None
    head = f"pod or {who(silent)} must set securityContext.seccompProfile.type to"
    return Violation("seccompProfile", f'{head} "RuntimeDefault" or "Localhost"')


def seccomp_1_25(pod: Tree) -> Violation | None:
    """Linux only."""
    return None if is_windows(pod) else seccomp(pod)
