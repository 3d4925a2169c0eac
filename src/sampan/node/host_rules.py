"""What of the host a pod may have: kernel settings that are safe, and ports that nobody else here has (pure).

https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
Port = tuple[str, str, int]

_SAFE_TCP = ("syncookies", "keepalive_time", "fin_timeout", "keepalive_intvl", "keepalive_probes", "rmem", "wmem")
_SAFE_IP = ("ip_local_port_range", "ping_group_range", "ip_unprivileged_port_start", "ip_local_reserved_ports")
_SAFE = {
    "kernel.shm_rmid_forced": ("IPC", "hostIPC"),
    **{f"net.ipv4.tcp_{name}": ("Net", "hostNetwork") for name in _SAFE_TCP},
    **{f"net.ipv4.{name}": ("Net", "hostNetwork") for name in _SAFE_IP},
}
_EVERYWHERE = ("", "0.0.0.0", "::")


def forbidden_sysctl(pod: Object, allowed: Sequence[str] = ()) -> tuple[str, str] | None:
    """Reason and message when it asks for a kernel setting that isn't safe nor `allowed`, or is the host's; else None.

    What is allowed may end in a star.
    """
    spec = pod["spec"]
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl["name"].replace("/", ".")
        kept_in = _SAFE.get(name) or (_namespace(name) if _is_allowed(name, allowed) else None)
        if kept_in is None:
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted'
        namespace, shared = kept_in
        if spec.get(shared):
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled'
    return None


def _namespace(name: str) -> tuple[str, str] | None:
    """The namespace that the kernel keeps such a setting in, and the field by which a pod shares the host's; None: in none."""
    if name == "kernel.sem" or name.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")):
        return "IPC", "hostIPC"
    return ("Net", "hostNetwork") if name.startswith("net.") else None


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    patterns = (pattern.replace("/", ".") for pattern in allowed)
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def taken_port(pod: Object, others: Iterable[Object]) -> tuple[str, str] | None:
    """Reason and message when a port of the host that it asks for is another's; else None."""
    wanted = set(_host_ports(pod))
    if wanted and any(_clash(port, taken) for other in others for taken in _host_ports(other) for port in wanted):
        text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return "NodePorts", text
    return None


def _host_ports(pod: Object) -> Iterator[Port]:
    """Address, protocol and number of each port of the host that the pod has."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "", port.get("protocol") or "TCP", port["hostPort"]


def _clash(one: Port, other: Port) -> bool:
    is_same_address = one[0] == other[0] or one[0] in _EVERYWHERE or other[0] in _EVERYWHERE
    return is_same_address and one[1:] == other[1:]
