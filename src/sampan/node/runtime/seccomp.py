"""The default seccomp profile (RuntimeDefault): calls that reach past a container are refused. Pure.

It refuses by name what needs the host's trust, and each of these comes back with the capability that
stands for it, as other runtimes' defaults do. See https://man7.org/linux/man-pages/man2/seccomp.2.html.
"""

from __future__ import annotations

from typing import Any

_ALWAYS = "add_key keyctl request_key get_kernel_syms nfsservctl query_module sysfs _sysctl uselib userfaultfd ustat"
_BY_CAPABILITY = {
    "CAP_SYS_ADMIN": "bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount"
    " open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns swapoff swapon umount"
    " umount2 unshare io_uring_setup io_uring_enter io_uring_register",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_MODULE": "create_module delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp process_vm_readv process_vm_writev process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "mbind migrate_pages move_pages set_mempolicy",
    "CAP_SYSLOG": "syslog",
}
_ALL_NAMESPACES = 0x7E020000
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def profile(capabilities: frozenset[str], machine: str) -> dict[str, Any]:
    """The `linux.seccomp` object for a process with these capabilities (`CAP_...`) on such a machine."""
    names = set(_ALWAYS.split())
    for capability, calls in _BY_CAPABILITY.items():
        if capability not in capabilities:
            names.update(calls.split())
    rules: list[dict[str, Any]] = [_refuse(sorted(names), 1)]
    if "CAP_SYS_ADMIN" not in capabilities:
        # New namespaces through clone are told by its flags; clone3 hides them, so callers fall back to clone.
        rules.extend(
            _refuse(["clone"], 1)
            | {"args": [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}]}
            for flag in _flags(_ALL_NAMESPACES)
        )
        rules.append(_refuse(["clone3"], 38))
    known = _ARCHITECTURES.get(machine)
    architectures = {"architectures": known} if known else {}
    return {"defaultAction": "SCMP_ACT_ALLOW", **architectures, "syscalls": rules}


def _refuse(names: list[str], errno: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}


def _flags(mask: int) -> list[int]:
    return [1 << bit for bit in range(32) if mask >> bit & 1]
