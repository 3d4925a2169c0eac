"""The AppArmor profile of containers that name none: what it denies, and how the kernel is given it.

It takes apparmor_parser, where the kernel has AppArmor at all. As runtimes' own profiles do, it lets a container be as it
is, but for mounts, the kernel's settings, and processes that are not confined as it is.

https://man7.org/linux/man-pages/man5/apparmor.d.5.html
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

from sampan.node.runtime import programs

NAME = "sampan-default"

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_LOADED = Path("/sys/kernel/security/apparmor/profiles")
_SECONDS = 30.0

log = logging.getLogger(__name__)

PROFILE = f"""
profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  unix,
  dbus,
  signal (receive) peer=unconfined,
  signal (send, receive) peer={NAME},
  ptrace (trace, read, tracedby, readby) peer={NAME},

  deny mount,
  deny pivot_root,
  deny /proc/[a-z]* w,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /proc/{{acpi,asound,bus,driver,fs,irq,scsi,tty}}/** wklx,
  deny /proc/sys/{{abi,debug,dev,fs,kernel,user,vm}}/** wklx,
  deny /sys/{{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/{{firmware,kernel/security,kernel/debug}}/** rwklx,
}}
"""


def is_enabled() -> bool:
    """Whether the kernel enforces profiles."""
    try:
        return _ENABLED.read_text().strip() == "Y"
    except OSError:
        return False


def is_loaded(name: str) -> bool:
    """Whether the kernel has this profile. Where its list can't be read, or is kept from us, the runtime will find out.

    In a namespace of AppArmor's, as in some containers, it is empty.
    """
    try:
        lines = _LOADED.read_text().splitlines()
    except OSError:
        return True
    return not lines or name in {line.rpartition(" (")[0] for line in lines}


def load() -> str:
    """Gives the kernel the profile; its name, or nothing where that can't be done."""
    if not is_enabled():
        return ""
    try:
        command = [programs.find("apparmor_parser"), "--skip-cache", "--replace"]
        subprocess.run(command, input=PROFILE.encode(), capture_output=True, check=True, timeout=_SECONDS)
    except FileNotFoundError:
        log.warning(
            "apparmor_parser is not installed (Debian: apt-get install apparmor): containers are not confined by it"
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        log.warning("the kernel did not take the profile %s: %s", NAME, said.decode(errors="replace").strip() or error)
    else:
        return NAME
    return ""
