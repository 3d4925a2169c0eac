"""Doctor: what this machine lacks to run real pods, and how to mend each thing.

`gather` looks, `examine` judges (pure). An error means no real pods; a warning that something will be
less than it could be; a note says how this machine differs without harm.
"""

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sampan.cluster import host_network

Level = Literal["ok", "note", "warning", "error"]

_NEEDED_FILE_SYSTEMS = ("overlay", "tmpfs")
_OLDEST_KERNEL = (5, 6)
_SYS_RESOURCE, _SYS_ADMIN, _NET_ADMIN = 24, 21, 12
_LOW_DISK_BYTES = 1 << 30
_NAMES_PORT = 53
_PODS = "10.244.0.0/16"


@dataclass(frozen=True, slots=True)
class Part:
    """A program that real pods need, and the Debian package it comes in."""

    name: str
    package: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of a machine. Sizes in bytes."""

    system: str = "Linux"
    kernel: str = ""
    uid: int = 0
    programs: Mapping[str, str] = field(default_factory=dict)
    file_systems: frozenset[str] = frozenset()
    capabilities: int = 0
    cgroups: Literal["v1", "hybrid", "v2", "none"] = "v2"
    controllers: frozenset[str] = frozenset()
    disk_free: int = 1 << 40
    nft_error: str = ""
    name_servers: tuple[str, ...] = ()
    """Who has port 53 at all addresses, and which of the two that is written as."""
    has_firewalld: bool = False
    legacy_forward_drops: bool = False
    has_apparmor: bool = False
    """Whether the kernel enforces its profiles."""
    has_elevation: bool = False
    has_sandbox: bool = False
    """Whether this user can have containers without root."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome. `mend` is a command or advice; empty when there is nothing to do."""

    level: Level
    what: str
    mend: str = ""


PARTS = (Part("runc", "runc"), Part("conmon", "conmon"), Part("nft", "nftables"), Part("ip", "iproute2"))


def examine(facts: Facts) -> list[Finding]:
    """All findings, one or more a check, in a fixed order."""
    if facts.system != "Linux":
        return [Finding("error", f"{facts.system}: real pods need Linux", "sampan up --runtime simulated")]
    return [
        *_kernel(facts),
        *_programs(facts),
        *_rights(facts),
        *_cgroups(facts),
        *_file_systems(facts),
        *_profiles(facts),
        *_network(facts),
        *_disk(facts),
    ]


def missing_parts(needed: Iterable[Part] = PARTS) -> list[Part]:
    """The programs that real pods need and this machine has not got."""
    return [part for part in needed if not path_of(part.name)]


def install_command(missing: Iterable[Part]) -> str:
    """How to install these programs on Debian and its kin."""
    return f"sudo apt-get install -y {' '.join(sorted(part.package for part in missing))}"


def gather(data_dir: Path = Path("/")) -> Facts:
    """Look at this machine; changes nothing. `data_dir` tells which disk matters."""
    system = platform.system()
    if system != "Linux":
        return Facts(system=system)
    from sampan.node.runtime import apparmor

    kind, controllers = _cgroups_here(Path("/sys/fs/cgroup"))
    is_root = os.geteuid() == 0
    return Facts(
        kernel=platform.release(),
        uid=os.geteuid(),
        programs={name: path_of(name) for name in (*(part.name for part in PARTS), "crun", "sudo", "apparmor_parser")},
        file_systems=_file_systems_here(),
        capabilities=_capabilities_here(),
        cgroups=kind,
        controllers=controllers,
        disk_free=shutil.disk_usage(_nearest(data_dir)).free,
        nft_error=host_network.nft_error(path_of("nft")) if is_root else "",
        name_servers=host_network.listeners(_NAMES_PORT),
        has_firewalld=host_network.runs(host_network.FIREWALLD),
        legacy_forward_drops=is_root and host_network.legacy_forward_drops(path_of("iptables-legacy")),
        has_apparmor=apparmor.is_enabled(),
        has_elevation=bool(path_of("sudo")),
    )


def _kernel(facts: Facts) -> list[Finding]:
    numbers = tuple(int(part) for part in facts.kernel.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST_KERNEL:
        return [Finding("error", f"kernel {facts.kernel} is older than 5.6", "run a newer kernel")]
    return [Finding("ok", f"kernel {facts.kernel}")]


def _programs(facts: Facts) -> list[Finding]:
    findings = []
    for part in PARTS:
        path = facts.programs.get(part.name)
        lacking = Finding("error", f"{part.name} is not installed", install_command([part]))
        findings.append(Finding("ok", path) if path else lacking)
    return findings


def _rights(facts: Facts) -> list[Finding]:
    if facts.uid != 0:
        if facts.has_elevation:
            return [Finding("note", "not root: the node agent alone is started with sudo")]
        if facts.has_sandbox:
            return [Finding("note", "not root, and sudo is not installed: sampan up needs --rootless")]
        advice = "run as root, or use: sampan up --runtime simulated"
        return [Finding("error", "not root, and sudo is not installed: no node agent for real pods", advice)]
    findings = []
    for bit, name in ((_SYS_ADMIN, "CAP_SYS_ADMIN"), (_NET_ADMIN, "CAP_NET_ADMIN")):
        if not facts.capabilities >> bit & 1:
            findings.append(Finding("error", f"{name} is missing, though this is root", "use a privileged container"))
    if not facts.capabilities >> _SYS_RESOURCE & 1:
        what = "CAP_SYS_RESOURCE is missing: pods can't be protected from the out-of-memory killer"
        findings.append(Finding("note", f"{what}, nor raise resource limits"))
    return findings or [Finding("ok", "root with all capabilities needed")]


def _cgroups(facts: Facts) -> list[Finding]:
    if facts.cgroups == "none":
        return [Finding("error", "no cgroups are mounted", "mount -t cgroup2 none /sys/fs/cgroup")]
    lacking = sorted({"cpu", "memory", "pids"} - facts.controllers)
    findings = [Finding("ok", f"cgroups {facts.cgroups}")]
    if facts.cgroups == "hybrid" and facts.programs.get("crun"):
        findings.append(Finding("note", "crun does not run on hybrid cgroups; runc does"))
    findings += [Finding("warning", f"no {name} controller: its limits are not enforced") for name in lacking]
    return findings


def _file_systems(facts: Facts) -> list[Finding]:
    lacking = [name for name in _NEEDED_FILE_SYSTEMS if name not in facts.file_systems]
    if not lacking:
        return [Finding("ok", "overlayfs")]
    return [Finding("error", f"the kernel does not offer {name}", f"sudo modprobe {name}") for name in lacking]


def _profiles(facts: Facts) -> list[Finding]:
    """Where the kernel has AppArmor, the profile of containers must be brought to it."""
    if not facts.has_apparmor or facts.programs.get("apparmor_parser"):
        return []
    what = (
        "apparmor_parser is not installed: AppArmor does not confine containers, and pods that ask for it can't start"
    )
    return [Finding("warning", what, install_command([Part("apparmor_parser", "apparmor")]))]


def _network(facts: Facts) -> list[Finding]:
    found = []
    if facts.nft_error:
        modules = "nf_tables nft_chain_nat nft_ct nft_fib_inet nft_masq nft_nat nft_reject_inet"
        found.append(
            Finding("error", f"nft refuses the rules of a node: {facts.nft_error}", f"sudo modprobe -a {modules}")
        )
    return [*found, *_name_servers(facts), *_other_firewalls(facts)]


def _name_servers(facts: Facts) -> list[Finding]:
    """The node's own listens at addresses that come with the node; who has them all has those too."""
    if not facts.name_servers:
        return []
    is_sure = any(who.endswith(host_network.ANY) for who in facts.name_servers)
    what = f"port {_NAMES_PORT} is taken at all addresses ({', '.join(facts.name_servers)})"
    advice = (
        "have it listen at chosen addresses (dnsmasq, Pi-hole: bind-interfaces and listen-address; BIND: listen-on)"
    )
    return [
        Finding("error" if is_sure else "warning", f"{what}: a node's name server can't start", f"{advice}, or stop it")
    ]


def _other_firewalls(facts: Facts) -> list[Finding]:
    """Those that may stop pods though our rules let them pass. The first cluster's pods stand for all."""
    if not facts.has_firewalld and not facts.legacy_forward_drops:
        return []
    from sampan.node.network import firewall

    found = []
    if facts.has_firewalld:
        what = f"firewalld runs: if it stops pods ({_PODS} in the first cluster), let them through"
        found.append(Finding("note", what, f"sudo sh -c '{firewall.remedy([_PODS])}'"))
    if facts.legacy_forward_drops:
        what = f"iptables-legacy drops what is forwarded, pods' packets too ({_PODS} in the first cluster)"
        mend = firewall.remedy_by_iptables([_PODS], "iptables-legacy")
        found.append(Finding("warning", what, f"sudo sh -c '{mend}'"))
    return found


def _disk(facts: Facts) -> list[Finding]:
    free = f"{facts.disk_free / (1 << 30):.1f} GiB of disk free"
    if facts.disk_free < _LOW_DISK_BYTES:
        return [Finding("warning", f"only {free}", "free some space, or choose another --data-dir")]
    return [Finding("ok", free)]


def path_of(program: str) -> str:
    """Also where an ordinary user's PATH does not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""


def _file_systems_here() -> frozenset[str]:
    """What the kernel has, or would load: `overlay` is often a module that is not loaded yet."""
    names = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines() if line.split()}
    modules = Path("/lib/modules") / platform.release()
    if any(modules.glob("kernel/fs/overlayfs/overlay.ko*")):
        names.add("overlay")
    return frozenset(names)


def _capabilities_here() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _cgroups_here(root: Path) -> tuple[Literal["v1", "hybrid", "v2", "none"], frozenset[str]]:
    unified = root / "cgroup.controllers"
    if unified.exists():
        return "v2", frozenset(unified.read_text().split())
    types = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            types[point] = (kind, options)
    first = frozenset(option for kind, options in types.values() if kind == "cgroup" for option in options.split(","))
    if not first:
        return "none", frozenset()
    return ("hybrid" if any(kind == "cgroup2" for kind, _ in types.values()) else "v1"), first


def _nearest(path: Path) -> Path:
    """The path or its first parent that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())
