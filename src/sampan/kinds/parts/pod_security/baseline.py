"""The baseline standard: no known way for a pod to gain rights on its node.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline
"""

from sampan.kinds.parts.pod_security.check import (
    Tree,
    Violation,
    containers,
    context,
    has_user_namespace,
    names,
    plural,
    quoted,
    setters,
    spec,
    who,
)

_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    )
)  # fmt: skip
_SYSCTLS_1_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_1_29 = _SYSCTLS_1_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
_SYSCTLS_1_32 = _SYSCTLS_1_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def app_armor(pod: Tree) -> Violation | None:
    """No profile but the runtime's own or a local one, by field or by annotation."""
    values: set[str] = set()
    by_pod = _bad_profile(context(spec(pod)).get("appArmorProfile"), values)
    bad = names(c for c in containers(pod) if _bad_profile(context(c).get("appArmorProfile"), values))
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    forbidden = sorted(
        f'{key}="{value}"'
        for key, value in annotations.items()
        if key.startswith(_APPARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    parts = [part for part in (setters(by_pod, bad),) if part]
    if forbidden:
        parts.append(plural("annotation", len(forbidden)))
    if not parts:
        return None
    shown = [*sorted(values), *forbidden]
    detail = f"{' and '.join(parts)} must not set AppArmor profile type to {quoted(shown)}"
    return Violation(plural("forbidden AppArmor profile", len(shown)), detail)


def capabilities(pod: Tree) -> Violation | None:
    """No capability beyond the default set."""
    added: set[str] = set()
    bad = []
    for container in containers(pod):
        more = set((context(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if more:
            bad.append(container)
            added |= more
    if not bad:
        return None
    detail = f"{who(names(bad))} must not include {quoted(sorted(added))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def host_namespaces(pod: Tree) -> Violation | None:
    """Neither the node's network, nor its processes, nor its IPC."""
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec(pod).get(name)]
    return Violation("host namespaces", ", ".join(shared)) if shared else None


def host_paths(pod: Tree) -> Violation | None:
    """No file of the node."""
    bad = names(volume for volume in spec(pod).get("volumes") or () if volume.get("hostPath") is not None)
    return Violation("hostPath volumes", f"{plural('volume', len(bad))} {quoted(bad)}") if bad else None


def host_ports(pod: Tree) -> Violation | None:
    """No port of the node."""
    ports: set[str] = set()
    bad = []
    for container in containers(pod):
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if used:
            bad.append(container)
            ports |= used
    if not bad:
        return None
    verb = "uses" if len(bad) == 1 else "use"
    detail = f"{who(names(bad))} {verb} {plural('hostPort', len(ports))} {', '.join(sorted(ports))}"
    return Violation("hostPort", detail)


def host_probes(pod: Tree) -> Violation | None:
    """Probes and lifecycle handlers call the pod, and nobody else."""
    hosts: set[str] = set()
    bad: set[str] = set()
    for container in containers(pod):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(f"{name}Probe") for name in ("liveness", "readiness", "startup")]
        handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
        for handler in handlers:
            for action in ("httpGet", "tcpSocket"):
                host = ((handler or {}).get(action) or {}).get("host")
                if host:
                    hosts.add(host)
                    bad.add(container.get("name") or "")
    if not bad:
        return None
    verb = "uses" if len(bad) == 1 else "use"
    detail = f"{who(sorted(bad))} {verb} {plural('probe or lifecycle host', len(hosts))} {quoted(sorted(hosts))}"
    return Violation("probe or lifecycle host", detail)


def privileged(pod: Tree) -> Violation | None:
    """No privileged container."""
    bad = names(c for c in containers(pod) if context(c).get("privileged"))
    return Violation("privileged", f"{who(bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(pod: Tree) -> Violation | None:
    """/proc stays masked."""
    found = [(c, context(c).get("procMount")) for c in containers(pod)]
    bad = [(c, str(kind)) for c, kind in found if kind is not None and kind != "Default"]
    if not bad:
        return None
    kinds = quoted(sorted({kind for _, kind in bad}))
    detail = f"{who(names(c for c, _ in bad))} must not set securityContext.procMount to {kinds}"
    return Violation("procMount", detail)


def proc_mount_1_35(pod: Tree) -> Violation | None:
    """As `proc_mount`, unless root in the pod is nobody on the node."""
    return None if has_user_namespace(pod) else proc_mount(pod)


def selinux(pod: Tree) -> Violation | None:
    """Only the container types of SELinux, and neither user nor role."""
    return _selinux(pod, _SELINUX_TYPES)


def selinux_1_31(pod: Tree) -> Violation | None:
    """As `selinux`, with container_engine_t."""
    return _selinux(pod, _SELINUX_TYPES | {"container_engine_t"})


def seccomp_annotations(pod: Tree) -> Violation | None:
    """Until 1.18: the annotations name the runtime's own profile or a local one."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    keys = [_SECCOMP_ANNOTATION, *(f"{_SECCOMP_CONTAINER_ANNOTATION}{name}" for name in names(containers(pod)))]
    bad = set()
    for key in keys:
        value = annotations.get(key)
        if value is not None and value not in ("runtime/default", "docker/default"):
            bad |= set() if value.startswith("localhost/") else {f'{key}="{value}"'}
    if not bad:
        return None
    return Violation("seccompProfile", f"forbidden {plural('annotation', len(bad))} {', '.join(sorted(bad))}")


def seccomp(pod: Tree) -> Violation | None:
    """No seccomp profile but the runtime's own or a local one, if any."""
    values: set[str] = set()
    by_pod = _bad_profile(context(spec(pod)).get("seccompProfile"), values)
    bad = names(c for c in containers(pod) if _bad_profile(context(c).get("seccompProfile"), values))
    if not by_pod and not bad:
        return None
    detail = f"{setters(by_pod, bad)} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
    return Violation("seccompProfile", detail)


def sysctls(pod: Tree) -> Violation | None:
    """Only sysctls that concern the pod alone."""
    return _sysctls(pod, _SYSCTLS)


def sysctls_1_27(pod: Tree) -> Violation | None:
    """With net.ipv4.ip_local_reserved_ports."""
    return _sysctls(pod, _SYSCTLS_1_27)


def sysctls_1_29(pod: Tree) -> Violation | None:
    """With the timers of TCP."""
    return _sysctls(pod, _SYSCTLS_1_29)


def sysctls_1_32(pod: Tree) -> Violation | None:
    """With the buffers of TCP."""
    return _sysctls(pod, _SYSCTLS_1_32)


def windows_host_process(pod: Tree) -> Violation | None:
    """No process on a Windows node itself."""

    def is_host(holder: Tree) -> bool:
        return bool((context(holder).get("windowsOptions") or {}).get("hostProcess"))

    by_pod, bad = is_host(spec(pod)), names(c for c in containers(pod) if is_host(c))
    if not by_pod and not bad:
        return None
    detail = f"{setters(by_pod, bad)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", detail)


def _bad_profile(profile: Tree | None, values: set[str]) -> bool:
    """Whether a profile is neither the runtime's own nor a local one; notes its type."""
    if profile is None or profile.get("type") in PROFILES:
        return False
    values.add(str(profile.get("type") or ""))
    return True


def _selinux(pod: Tree, types: frozenset[str]) -> Violation | None:
    bad_types: set[str] = set()
    told: set[str] = set()

    def is_bad(holder: Tree) -> bool:
        options = context(holder).get("seLinuxOptions") or {}
        kind = options.get("type") or ""
        bad_types.update({kind} - types)
        told.update(name for name in ("user", "role") if options.get(name))
        return kind not in types or bool(options.get("user") or options.get("role"))

    by_pod, bad = is_bad(spec(pod)), names([c for c in containers(pod) if is_bad(c)])
    if not by_pod and not bad:
        return None
    data = [f"{plural('type', len(bad_types))} {quoted(sorted(bad_types))}"] if bad_types else []
    data += [f"{name} may not be set" for name in ("user", "role") if name in told]
    detail = f"{setters(by_pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return Violation("seLinuxOptions", detail)


def _sysctls(pod: Tree, allowed: frozenset[str]) -> Violation | None:
    given = (sysctl.get("name") or "" for sysctl in context(spec(pod)).get("sysctls") or ())
    bad = [name for name in given if name not in allowed]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None
