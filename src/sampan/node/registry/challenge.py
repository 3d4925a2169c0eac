"""What a registry asks for before it answers: the parts of a WWW-Authenticate header. Pure.

https://distribution.github.io/distribution/spec/auth/token/
"""

import re
from dataclasses import dataclass

_PARAMETER = re.compile(r'([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` in lower case: basic or bearer; the others count for bearer."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def parse(header: str) -> Challenge:
    """The first challenge of the header; one without scheme if there is none."""
    scheme, _, rest = header.strip().partition(" ")
    found = {m[1].lower(): re.sub(r"\\(.)", r"\1", m[2]) if m[3] is None else m[3] for m in _PARAMETER.finditer(rest)}
    known = {name: found.get(name, "") for name in ("realm", "service", "scope", "error")}
    return Challenge(scheme.lower(), **known)
