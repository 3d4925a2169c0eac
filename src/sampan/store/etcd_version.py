"""Which versions of etcd will do (pure)."""

LEAST = (3, 4)
LOSING = ("3.5.0", "3.5.1", "3.5.2")


def fault(version: str) -> str:
    """Why it can't be used, "" if it can."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if parts >= LEAST:
        return ""
    return f"etcd {version or 'of an unknown version'}; {'.'.join(map(str, LEAST))} or later is needed"


def flaw(version: str) -> str:
    """Why it should not be used, "" if it may."""
    return f"etcd {version}, which can lose data in a crash: take 3.5.3 or later" if version in LOSING else ""
