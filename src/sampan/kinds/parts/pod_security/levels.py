"""A namespace's pod security labels: which level is enforced, audited and warned about, and of which version.

https://kubernetes.io/docs/concepts/security/pod-security-admission/#pod-security-admission-labels-for-namespaces
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.meta.status import Cause, invalid_value

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
MODES = ("enforce", "audit", "warn")
LATEST = 10_000  # the minor version that "latest" stands for
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Level:
    """A level and the minor version of Kubernetes whose rules it means."""

    name: str = PRIVILEGED
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.name}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    def is_above(self, other: "Level") -> bool:
        """Whether it is the stricter one."""
        return LEVELS.index(self.name) > LEVELS.index(other.name)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds in one namespace."""

    enforce: Level = Level()
    audit: Level = Level()
    warn: Level = Level()

    @property
    def is_privileged(self) -> bool:
        """Whether nothing is checked at all."""
        return self.enforce.name == self.audit.name == self.warn.name == PRIVILEGED


def read(labels: Mapping[str, str], default: Policy) -> tuple[Policy, list[Cause]]:
    """The policy that labels say, and what is wrong with them; a wrong level counts as restricted."""
    if not any(label.startswith(PREFIX) for label in labels):
        return default, []
    causes: list[Cause] = []
    found: dict[str, Level] = {}
    for mode in MODES:
        before: Level = getattr(default, mode)
        name, minor = before.name, before.minor
        key = f"{PREFIX}{mode}"
        if (given := labels.get(key)) is not None:
            if given in LEVELS:
                name = given
            else:
                name = RESTRICTED if mode == "enforce" else PRIVILEGED
                text = f"must be one of {', '.join(LEVELS)}"
                causes.append(invalid_value(f"metadata.labels[{key}]", given, text))
        if (given := labels.get(f"{key}-version")) is not None:
            wanted = _minor(given)
            if wanted is None:
                text = 'must be "latest" or "v1.x"'
                causes.append(invalid_value(f"metadata.labels[{key}-version]", given, text))
            minor = LATEST if wanted is None else wanted
        found[mode] = Level(name, minor)
    enforce, warn = found["enforce"], found["warn"]
    if f"{PREFIX}warn" not in labels and labels.get(f"{PREFIX}enforce") in LEVELS and enforce.is_above(warn):
        # What is enforced warns too, so that templates of pods are told.
        found["warn"] = Level(enforce.name, warn.minor if f"{PREFIX}warn-version" in labels else enforce.minor)
    return Policy(**found), causes


def level(labels: Mapping[str, str], mode: str, default: Level) -> Level:
    """One mode's level and version, from labels that are known to be right."""
    minor = _minor(labels.get(f"{PREFIX}{mode}-version") or "")
    return Level(labels.get(f"{PREFIX}{mode}") or default.name, default.minor if minor is None else minor)


def _minor(text: str) -> int | None:
    if text == "latest":
        return LATEST
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match else None
