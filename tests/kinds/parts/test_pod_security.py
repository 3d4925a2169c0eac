"""The pod security standards, check by check: what passes, what does not, in which words and since which version."""

from typing import Any

import pytest

from sampan.kinds.parts.pod_security import evaluation
from sampan.kinds.parts.pod_security.levels import LATEST, Level, Policy, read

Tree = dict[str, Any]
HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SAFE = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def pod(*contexts: Tree, annotations: Tree | None = None, **spec: Any) -> Tree:
    """A pod whose containers a, b ... have these security contexts, beside what `restricted` wants."""
    containers = [{"name": "ab"[i], "securityContext": {**HARDENED, **one}} for i, one in enumerate(contexts or ({},))]
    context = {**SAFE, **spec.pop("securityContext", {})}
    made = {"containers": containers, "securityContext": context, **spec}
    return {"metadata": {"annotations": annotations or {}}, "spec": made}


def found(level: str, body: Tree, minor: int = LATEST) -> str:
    return evaluation.detail(evaluation.violations(Level(level, minor), body))


BASELINE = [
    (pod({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "CHOWN"]}}),
     'non-default capabilities (container "a" must not include "SYS_ADMIN" in securityContext.capabilities.add)'),
    (pod(hostIPC=True), "host namespaces (hostIPC=true)"),
    (pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}, {"name": "y", "hostPath": {"path": "/"}}]),
     'hostPath volumes (volumes "x", "y")'),
    (pod({"privileged": True}, {"privileged": True}),
     'privileged (containers "a", "b" must not set securityContext.privileged=true)'),
    (pod({"procMount": "Unmasked"}),
     'procMount (container "a" must not set securityContext.procMount to "Unmasked")'),
    (pod({"seLinuxOptions": {"user": "u", "type": "spc_t"}}, securityContext={"seLinuxOptions": {"role": "r"}}),
     ('seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
      'user may not be set; role may not be set)')),
    (pod({"seccompProfile": {"type": "Unconfined"}}, securityContext={"seccompProfile": {"type": "Unconfined"}}),
     'seccompProfile (pod and container "a" must not set securityContext.seccompProfile.type to "Unconfined")'),
    (pod(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
     "forbidden sysctls (kernel.msgmax)"),
    (pod({"windowsOptions": {"hostProcess": True}}),
     'hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)'),
    (pod({"appArmorProfile": {"type": "Unconfined"}}),
     'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")'),
    (pod(annotations={"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}),
     ('forbidden AppArmor profile (annotation must not set AppArmor profile type to '
      '"container.apparmor.security.beta.kubernetes.io/a="unconfined"")')),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), BASELINE)
def test_baseline(body: Tree, text: str) -> None:
    """Each check alone, in upstream's words."""
    assert found("baseline", body) == text


def test_host_ports_and_probe_hosts() -> None:
    """Ports of the node, and probes that call somebody else (since 1.34)."""
    body = pod()
    body["spec"]["containers"][0]["ports"] = [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 8}]
    assert found("baseline", body) == 'hostPort (container "a" uses hostPorts 8, 80)'
    body = pod()
    body["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"port": 1, "host": "10.0.0.1"}}
    text = 'probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")'
    assert found("baseline", body) == text
    assert found("baseline", body, 33) == ""


RESTRICTED = [
    (pod({"allowPrivilegeEscalation": True}),
     'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)'),
    (pod({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}}),
     'unrestricted capabilities (container "a" must not include "CHOWN" in securityContext.capabilities.add)'),
    (pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}, {"name": "y", "nfs": {}}]),
     'restricted volume types (volumes "x", "y" use restricted volume types "hostPath", "nfs")'),
    (pod({"runAsNonRoot": False}),
     'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)'),
    (pod({"runAsUser": 0}, securityContext={"runAsUser": 0}),
     'runAsUser=0 (pod and container "a" must not set runAsUser=0)'),
    (pod({"procMount": "Unmasked"}, hostUsers=False),
     'procMount (container "a" must not set securityContext.procMount to "Unmasked")'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), RESTRICTED)
def test_restricted(body: Tree, text: str) -> None:
    """Each check alone, in upstream's words."""
    assert found("restricted", body) == text


def test_versions_and_exceptions() -> None:
    """Windows pods, user namespaces, and what older versions did not ask for."""
    assert found("restricted", pod()) == ""
    bare: Tree = {"spec": {"containers": [{"name": "a"}], "os": {"name": "windows"}}}
    assert found("restricted", bare).startswith("runAsNonRoot != true")
    assert "seccompProfile" in found("restricted", bare, 24)
    assert found("baseline", pod({"procMount": "Unmasked"}, hostUsers=False)) == ""
    assert found("restricted", pod({"runAsUser": 0}, hostUsers=False)) == ""
    assert found("restricted", pod({"runAsUser": 0}), 22) == ""
    assert found("baseline", pod({"seccompProfile": {"type": "Unconfined"}}), 18) == ""
    old = pod(annotations={"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})
    assert "forbidden annotation" in found("baseline", old, 18)
    assert found("privileged", pod({"privileged": True}, hostPID=True)) == ""


def test_labels() -> None:
    """Labels win over defaults, what is enforced is warned about, mistakes fail closed only for enforce."""
    prefix = "pod-security.kubernetes.io"
    policy, causes = read({f"{prefix}/enforce": "baseline", f"{prefix}/enforce-version": "v1.20"}, Policy())
    assert [str(level) for level in (policy.enforce, policy.audit, policy.warn)] == [
        "baseline:v1.20", "privileged:latest", "baseline:v1.20",
    ]  # fmt: skip
    assert causes == []
    policy, causes = read({f"{prefix}/enforce": "x", f"{prefix}/audit": "y", f"{prefix}/warn": "z"}, Policy())
    assert (policy.enforce.name, policy.audit.name, policy.warn.name) == ("restricted", "privileged", "privileged")
    assert len(causes) == 3
