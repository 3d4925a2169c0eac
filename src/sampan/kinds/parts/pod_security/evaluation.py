"""A pod judged by a level: the checks of that level in the version that it names, in the order of their ids.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.parts.pod_security import baseline, restricted
from sampan.kinds.parts.pod_security.check import Rule, Violation
from sampan.kinds.parts.pod_security.levels import PRIVILEGED, RESTRICTED, Level

Tree = dict[str, Any]
Versions = tuple[tuple[int, Rule], ...]

# (id, the rule from each minor version on), in the order in which violations are told.
_BASELINE: tuple[tuple[str, Versions], ...] = (
    ("appArmorProfile", ((0, baseline.app_armor),)),
    ("capabilities_baseline", ((0, baseline.capabilities),)),
    ("hostNamespaces", ((0, baseline.host_namespaces),)),
    ("hostPathVolumes", ((0, baseline.host_paths),)),
    ("hostPorts", ((0, baseline.host_ports),)),
    ("hostProbesAndHostLifecycle", ((34, baseline.host_probes),)),
    ("privileged", ((0, baseline.privileged),)),
    ("procMount", ((0, baseline.proc_mount), (35, baseline.proc_mount_1_35))),
    ("seLinuxOptions", ((0, baseline.selinux), (31, baseline.selinux_1_31))),
    ("seccompProfile_baseline", ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    (
        "sysctls",
        (
            (0, baseline.sysctls),
            (27, baseline.sysctls_1_27),
            (29, baseline.sysctls_1_29),
            (32, baseline.sysctls_1_32),
        ),
    ),
    ("windowsHostProcess", ((0, baseline.windows_host_process),)),
)
_RESTRICTED: tuple[tuple[str, Versions], ...] = (
    ("allowPrivilegeEscalation", ((8, restricted.privilege_escalation), (25, restricted.privilege_escalation_1_25))),
    ("capabilities_restricted", ((22, restricted.capabilities), (25, restricted.capabilities_1_25))),
    ("procMount_restricted", ((35, baseline.proc_mount),)),
    ("restrictedVolumes", ((0, restricted.volumes),)),
    ("runAsNonRoot", ((0, restricted.non_root), (35, restricted.non_root_1_35))),
    ("runAsUser", ((23, restricted.root_user), (35, restricted.root_user_1_35))),
    ("seccompProfile_restricted", ((19, restricted.seccomp), (25, restricted.seccomp_1_25))),
)
# A stricter check speaks for the weaker one of the same thing.
_OVERRIDDEN = {
    "capabilities_baseline": "capabilities_restricted",
    "hostPathVolumes": "restrictedVolumes",
    "procMount": "procMount_restricted",
    "seccompProfile_baseline": "seccompProfile_restricted",
}


def violations(level: Level, pod: Tree) -> list[Violation]:
    """What is wrong with a pod (or a template) by this level; {metadata, spec} is looked at."""
    if level.name == PRIVILEGED:
        return []
    return [found for rule in _rules(level) if (found := rule(pod)) is not None]


def detail(found: Sequence[Violation]) -> str:
    """All violations with who does what, as refusals tell them."""
    return ", ".join(str(violation) for violation in found)


def reasons(found: Sequence[Violation]) -> str:
    """All violations by their short names."""
    return ", ".join(violation.reason for violation in found)


def _rules(level: Level) -> list[Rule]:
    strict = {name: rule for name, versions in _RESTRICTED if (rule := _at(versions, level.minor)) is not None}
    if level.name != RESTRICTED:
        strict = {}
    weak = [
        rule
        for name, versions in _BASELINE
        if _OVERRIDDEN.get(name) not in strict and (rule := _at(versions, level.minor)) is not None
    ]
    return [*weak, *strict.values()]


def _at(versions: Versions, minor: int) -> Rule | None:
    rules = [rule for since, rule in versions if since <= minor]
    return rules[-1] if rules else None
