"""Which commit the sources are of, for /version. Known in a git checkout; a package that was installed has none."""

import re
from functools import cache
from pathlib import Path

import sampan

NONE = "0" * 40
"""What git itself writes for no commit."""
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@cache
def commit() -> str:
    """Its hash in hexadecimal, or `NONE`."""
    return of(Path(sampan.__file__).parents[2])


def of(checkout: Path) -> str:
    """That of a checkout's HEAD: a hash, or the name of a ref that is a file or a line of packed-refs."""
    git = checkout / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = _ref(git, head.removeprefix("ref: "))
    except OSError:
        return NONE
    return head if _HASH.fullmatch(head) else NONE


def _ref(git: Path, name: str) -> str:
    try:
        return (git / name).read_text().strip()
    except FileNotFoundError:
        lines = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
