"""Which versions of runc a hostile image or pod can get out of, as far as this release knows, and the mend.

https://github.com/opencontainers/runc/security/advisories
"""

import re
import subprocess
from dataclasses import dataclass

from sampan.cluster import doctor
from sampan.cluster.doctor import Finding
from sampan.cluster.settings import Settings

Version = tuple[int, int, int, int]
"""The last number is that of a release candidate; a release comes after all of them."""

OPTION = "--allow-vulnerable-runtime"
_RELEASE = 1 << 16
_VERSION = re.compile(r"^runc version v?(\d+)\.(\d+)\.(\d+)(?:-rc\.?(\d+))?", re.MULTILINE)
_MEND = "install runc 1.2.8, 1.3.3 or newer (https://github.com/opencontainers/runc/releases)"


class VulnerableRuntimeError(Exception):
    """Nothing is started with such a runtime unless that was asked for: what, why and the mend, in one line."""


@dataclass(frozen=True, slots=True)
class Escape:
    """A hole, the first version of each line that is without it, and distributions' versions that are too."""

    name: str
    mended: tuple[Version, ...]
    also: re.Pattern[str] = re.compile(r"(?!)")

    def is_in(self, version: Version, text: str) -> bool:
        """Whether this version has it; `text` is all that the runtime says of itself."""
        if self.also.search(text) or version >= max(self.mended):
            return False
        return not any(version[:2] == fixed[:2] and version >= fixed for fixed in self.mended)


_NOVEMBER_2025: tuple[Version, ...] = ((1, 2, 8, _RELEASE), (1, 3, 3, _RELEASE), (1, 4, 0, 3))
ESCAPES = (
    Escape("CVE-2024-21626", ((1, 1, 12, _RELEASE),), re.compile(r"1\.1\.5\+ds1-1\+deb12u\d")),
    Escape("CVE-2025-31133", _NOVEMBER_2025),
    Escape("CVE-2025-52565", _NOVEMBER_2025),
    Escape("CVE-2025-52881", _NOVEMBER_2025),
)


def known(text: str) -> tuple[str, ...]:
    """The escapes of the runc that answers `--version` like this; none of what is no runc. Pure."""
    found = _VERSION.search(text)
    if found is None:
        return ()
    numbers = int(found[1]), int(found[2]), int(found[3])
    version = (*numbers, _RELEASE if found[4] is None else int(found[4]))
    return tuple(escape.name for escape in ESCAPES if escape.is_in(version, text))


def check(cluster: Settings) -> None:
    """Raises VulnerableRuntimeError for a cluster that would run real containers by a runc with known escapes."""
    if cluster.vulnerable_runtime or cluster.runtime != "oci" or not cluster.nodes:
        return
    text = _said()
    if names := known(text):
        what = f"{_name(text)} lets a hostile image or pod escape to this host ({', '.join(names)})"
        trust = f"or, if you trust every image and everybody who may make pods here, add {OPTION}"
        raise VulnerableRuntimeError(f"{what}: {_MEND}; {trust}")


def findings() -> list[Finding]:
    """What there is to say of this machine's runc."""
    text = _said()
    names = known(text)
    return [Finding("warning", f"{_name(text)} has known escapes: {', '.join(names)}", _MEND)] if names else []


def _name(text: str) -> str:
    """As `runc 1.1.5+ds1`."""
    return text.partition("\n")[0].replace(" version ", " ")


def _said() -> str:
    path = doctor.path_of("runc")
    if not path:
        return ""
    try:
        return subprocess.run((path, "--version"), capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return ""  # it can't be started, or hangs: starting a container will say so
