"""Whether this user can have real containers without root here, and what would be less than with it."""

import os
import platform
from pathlib import Path

from sampan.cluster import doctor, sandbox, subordinate_ids
from sampan.cluster.doctor import Finding, Part

_OLDEST_KERNEL = (5, 11)  # overlayfs in a user namespace
_SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    "/proc/sys/user/max_user_namespaces": ("0", "sudo sysctl user.max_user_namespaces=65536"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
}
_TUN = "/dev/net/tun"
LIMITS = (
    "without root, limits of CPU, memory and processes are not enforced and use of them is not measured, devices of the "
    "host can't be handed to pods, and Services are reached from pods only, but for their node ports"
)


def missing() -> list[Part]:
    """The programs that it takes and that are not here."""
    wanted = [Part(name, package) for name, package in sandbox.PROGRAMS.items()]
    return [part for part in wanted if not doctor.path_of(part.name)]


def hindrances(root: str = "/", kernel: str = "") -> list[Finding]:
    """Everything else that stands in the way, each with its mend. `root` has /proc, /dev and /etc."""
    found = []
    kernel, place = kernel or platform.release(), root.rstrip("/")
    numbers = tuple(int(part) for part in kernel.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_KERNEL:
        found.append(Finding("error", f"kernel {kernel} is older than 5.11", "run a newer kernel"))
    for file, (closed, mend) in _SWITCHES.items():
        if _read(place + file) == closed:
            found.append(Finding("error", f"user namespaces are closed to ordinary users ({file} is {closed})", mend))
    if not os.access(place + _TUN, os.R_OK | os.W_OK):
        found.append(Finding("error", f"{_TUN} may not be opened by this user", f"sudo chmod 0666 {_TUN}"))
    for file in ("/etc/subuid", "/etc/subgid"):
        try:
            subordinate_ids.granted(place + file)
        except OSError as error:
            what, _, mend = str(error).rpartition(": ")
            found.append(Finding("error", what, mend))
    return found


def findings() -> list[Finding]:
    """What `doctor` says of `sampan up --rootless`, to an ordinary user."""
    lacking = [Finding("error", f"{part.name} is not installed", doctor.install_command([part])) for part in missing()]
    found = [*lacking, *hindrances()]
    if found:
        what = "; ".join(finding.what for finding in found)
        mend = " && ".join(dict.fromkeys(finding.mend for finding in found))
        return [Finding("note", f"sampan up --rootless is not possible: {what}", mend)]
    return [Finding("ok", "real containers without root: sampan up --rootless"), Finding("note", LIMITS)]


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
