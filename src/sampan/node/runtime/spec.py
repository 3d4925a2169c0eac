"""The OCI runtime configuration (config.json) of a container, from its ContainerConfig. Pure.

See https://github.com/opencontainers/runtime-spec/blob/main/config.md. The defaults (capabilities,
masked paths, mounts, devices) are the ones that container runtimes agree on.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from sampan.node.images.users import User
from sampan.node.runtime import seccomp
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, ContainerConfig, Mount, Resources

Tree = dict[str, Any]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULTS = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID"
    " SYS_CHROOT"
)
# By number, as in capabilities(7): what a bit of /proc/self/status's CapEff means.
_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE"
    " NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN"
    " SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE"
    " MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
ID_COUNT = 65536
"""How many users a user namespace has."""
DEFAULT_CAPABILITIES = tuple(_DEFAULTS.split())
CAPABILITIES = tuple(_NAMES.split())
MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]
READ_ONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine grants: a specification that asks for more fails the whole container."""

    is_cgroup_v2: bool
    capabilities: frozenset[str]
    """Names without `CAP_`."""
    lowest_oom_score_adj: int
    machine: str = "x86_64"
    has_mqueue: bool = True
    """Whether `/dev/mqueue` is mounted, for containers that share the host's IPC."""
    devices: tuple[Tree, ...] = ()
    """The host's device nodes as the specification lists them, for privileged containers."""
    huge_pages: tuple[str, ...] = ()
    """Sizes (`2MB`) that its cgroups can limit."""
    has_cgroups: bool = True
    """Whether containers can have cgroups of their own, and so limits."""
    apparmor: str = ""
    """The AppArmor profile of containers that name none."""
    files: tuple[int, int] | None = None
    """How many files a process of theirs may have open, soft and hard; None: as many as whoever runs them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the container lives: its id, root file system, the processes whose namespaces it joins, its profile."""

    id: str
    rootfs: str
    pid_namespace: str = ""
    ipc_namespace: str = ""
    seccomp: Tree | None = None
    """The profile that is in the file that the configuration names."""
    user_namespace: str = ""
    first_id: int = 0
    """Which of the host's ids is user 0 of that namespace."""
    shm: str = ""
    """A file system for /dev/shm that the pod's containers share; empty: its own."""


class SpecError(ValueError):
    """The configuration asks for what no container can be; the text says what."""


def build(config: ContainerConfig, user: User, place: Place, host: Host) -> Tree:
    """The whole configuration; SpecError if it cannot be."""
    tree: Tree = {
        "ociVersion": "1.0.2",
        "process": _process(config, user, host),
        "root": {"path": place.rootfs, "readonly": config.read_only_root},
        "mounts": _mounts(config, place, host),
        "linux": _linux(config, place, host),
        "annotations": {"io.kubernetes.container.name": config.name, "io.kubernetes.pod.uid": config.pod_uid},
    }
    if config.hostname:
        tree["hostname"] = config.hostname
    return tree


def arguments(config: ContainerConfig) -> list[str]:
    """What is run: Kubernetes' command replaces the image's entrypoint and cmd, args only its cmd."""
    image = config.image.config
    if config.command:
        found = [*config.command, *(config.args or ())]
    else:
        found = [*image.entrypoint, *(config.args or image.cmd)]
    if not found:
        raise SpecError("no command specified")
    if any("\0" in part for part in found):
        raise SpecError("the command holds a NUL byte")
    return found


def stop_signal(config: ContainerConfig) -> str:
    """The signal that asks the container to end."""
    return config.stop_signal or config.image.config.stop_signal or "SIGTERM"


def capabilities(config: ContainerConfig, host: Host) -> list[str]:
    """The capabilities the process gets, of those that the host has to give."""
    if config.privileged:
        return ["CAP_" + name for name in CAPABILITIES if name in host.capabilities]
    drop = {_capability(name) for name in config.capabilities_drop}
    add = {_capability(name) for name in config.capabilities_add}
    found = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES)
    found |= set(CAPABILITIES) if "ALL" in add else add
    found -= drop
    unknown = sorted(found - set(CAPABILITIES))
    if unknown:
        raise SpecError(f'unknown capability "CAP_{unknown[0]}"')
    return ["CAP_" + name for name in CAPABILITIES if name in found and name in host.capabilities]


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _process(config: ContainerConfig, user: User, host: Host) -> Tree:
    cwd = config.cwd or config.image.config.working_dir or "/"
    if not cwd.startswith("/"):
        raise SpecError(f'cwd "{cwd}" must be an absolute path')
    caps = capabilities(config, host)
    tree: Tree = {
        "terminal": config.tty,
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": sorted({user.gid, *user.groups, *config.supplementary_groups}),
        },
        "args": arguments(config),
        "env": _environment(config),
        "cwd": cwd,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        "noNewPrivileges": config.no_new_privileges,
        "oomScoreAdj": max(config.oom_score_adj, host.lowest_oom_score_adj),
    }
    profile = _apparmor(config, host)
    return tree | ({"apparmorProfile": profile} if profile else {}) | open_files(host.files)


def open_files(limits: tuple[int, int] | None) -> Tree:
    """What a process' configuration says of how many files it may open: nothing where it has the limits of who runs it."""
    if limits is None:
        return {}
    soft, hard = limits
    return {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]}


def _apparmor(config: ContainerConfig, host: Host) -> str:
    """A container that names no profile has the host's own, unless it is privileged. Raises SpecError."""
    if config.apparmor == APPARMOR_DEFAULT:
        if not host.apparmor:
            raise SpecError("the default AppArmor profile could not be loaded on this host (it takes apparmor_parser)")
        return host.apparmor
    return config.apparmor or ("" if config.privileged else host.apparmor)


def _environment(config: ContainerConfig) -> list[str]:
    found: dict[str, str] = {"PATH": DEFAULT_PATH}
    if config.hostname:
        found["HOSTNAME"] = config.hostname
    if config.tty:
        found["TERM"] = "xterm"
    for name, value in (*config.image.config.env, *config.env):
        if "\0" in name or "\0" in value:
            raise SpecError(f"the environment variable {name!r} holds a NUL byte")
        found[name] = value
    return [f"{name}={value}" for name, value in found.items()]


def _mounts(config: ContainerConfig, place: Place, host: Host) -> list[Tree]:
    own = sorted((_mount(mount) for mount in config.mounts), key=lambda mount: mount["destination"].count("/"))
    taken = {mount["destination"] for mount in own}
    return [mount for mount in _default_mounts(config, place, host) if mount["destination"] not in taken] + own


def _default_mounts(config: ContainerConfig, place: Place, host: Host) -> list[Tree]:
    strict = ["nosuid", "noexec", "nodev"]
    access = "rw" if config.privileged else "ro"
    cgroup_options = [*strict, "relatime", access]
    shm = file_system("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"], "shm")
    if place.shm:
        shm = {"destination": "/dev/shm", "type": "bind", "source": place.shm, "options": ["bind", *strict]}
    mqueue = [file_system("/dev/mqueue", "mqueue", strict)]
    if config.host_ipc:
        shm = _mount(Mount("/dev/shm", "/dev/shm"))
        mqueue = [_mount(Mount("/dev/mqueue", "/dev/mqueue"))] if host.has_mqueue else []
    return [
        file_system("/proc", "proc", strict),
        file_system("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        file_system("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        *mqueue,
        file_system("/sys", "sysfs", [*strict, access]),
        *([file_system("/sys/fs/cgroup", "cgroup", cgroup_options)] if host.has_cgroups else []),
        shm,
    ]


def file_system(target: str, kind: str, options: list[str], source: str = "") -> Tree:
    """A mount of a file system that the kernel makes."""
    return {"destination": target, "type": kind, "source": source or kind, "options": options}


def _mount(mount: Mount) -> Tree:
    target = posixpath.normpath(mount.target)
    if not target.startswith("/") or target == "/" or "\0" in mount.target + mount.source:
        raise SpecError(f'invalid mount path "{mount.target}"')
    target = "/" + target.lstrip("/")
    if mount.kind == "tmpfs":
        size = [f"size={mount.size_bytes}"] if mount.size_bytes else []
        return file_system(target, "tmpfs", ["nosuid", "nodev", "mode=1777", *size])
    access = "rro" if mount.recursive else "ro" if mount.read_only else "rw"
    propagation = "rprivate" if mount.propagation == "private" else mount.propagation
    return {
        "destination": target,
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", propagation, access, *mount.options],
    }


def _linux(config: ContainerConfig, place: Place, host: Host) -> Tree:
    tree: Tree = {"namespaces": _namespaces(config, place, host)}
    if host.has_cgroups:
        tree |= {
            "cgroupsPath": f"/{config.cgroup_parent.strip('/')}/{place.id}",
            "resources": _resources(config, host),
        }
    if config.sysctls:
        tree["sysctl"] = dict(config.sysctls)
    tree |= users(place.user_namespace, place.first_id, tree["namespaces"])
    if config.privileged:
        tree["devices"] = list(host.devices)
    else:
        if not config.unmasked_proc:
            tree["maskedPaths"] = MASKED_PATHS
            tree["readonlyPaths"] = READ_ONLY_PATHS
        if config.seccomp == "RuntimeDefault":
            tree["seccomp"] = seccomp.profile(frozenset(capabilities(config, host)), host.machine)
        elif config.seccomp == "Localhost" and place.seccomp is not None:
            tree["seccomp"] = place.seccomp
    wanted = {mount.propagation for mount in config.mounts}
    if wanted - {"private"}:
        tree["rootfsPropagation"] = "rshared" if "rshared" in wanted else "rslave"
    return tree


def users(path: str, first_id: int, namespaces: list[Tree]) -> Tree:
    """Joins the user namespace in the file, if there is one, and says how it maps ids: a runtime wants to know."""
    if not path:
        return {}
    namespaces.append(_namespace("user", path))
    maps = [{"containerID": 0, "hostID": first_id, "size": ID_COUNT}]
    return {"uidMappings": maps, "gidMappings": maps}


def _namespaces(config: ContainerConfig, place: Place, host: Host) -> list[Tree]:
    found: list[Tree] = [{"type": "mount"}]
    if not config.host_pid:
        found.append(_namespace("pid", place.pid_namespace))
    if config.netns is not None:
        found.append(_namespace("network", config.netns))
    if not config.host_ipc:
        found.append(_namespace("ipc", place.ipc_namespace))
    if config.hostname:
        found.append({"type": "uts"})
    if host.is_cgroup_v2 and not config.privileged:
        found.append({"type": "cgroup"})
    return found


def _namespace(kind: str, path: str) -> Tree:
    return {"type": kind, "path": path} if path else {"type": kind}


def _resources(config: ContainerConfig, host: Host) -> Tree:
    limits = config.resources
    tree: Tree = {"devices": [{"allow": config.privileged, "access": "rwm"}]}
    cpu = _cpu(limits)
    if cpu:
        tree["cpu"] = cpu
    if limits.memory_limit:
        tree["memory"] = {"limit": limits.memory_limit}
        if host.is_cgroup_v2:
            tree["unified"] = {"memory.oom.group": "1"}
    if limits.pids_limit > 0:
        tree["pids"] = {"limit": limits.pids_limit}
    if host.huge_pages:
        asked = dict(limits.huge_pages)
        tree["hugepageLimits"] = [{"pageSize": size, "limit": asked.get(size, 0)} for size in host.huge_pages]
    return tree


def changed_resources(limits: Resources) -> Tree:
    """What `runc update` takes: every limit is named, also that there is none any more."""
    cpu = {"shares": max(2, limits.cpu_shares), "quota": limits.cpu_quota or -1, "period": limits.cpu_period}
    return {"cpu": cpu, "memory": {"limit": limits.memory_limit or -1}}


def _cpu(limits: Resources) -> Tree:
    tree: Tree = {}
    if limits.cpu_shares:
        tree["shares"] = max(2, limits.cpu_shares)
    if limits.cpu_quota > 0:
        tree |= {"quota": limits.cpu_quota, "period": limits.cpu_period}
    return tree
