"""Version: that of the installed package. Reading it takes milliseconds, so it is read once."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Such as 1.2.3; "unknown" where the source is used without being installed."""
    try:
        return metadata.version("sampan")
    except metadata.PackageNotFoundError:
        return "unknown"
