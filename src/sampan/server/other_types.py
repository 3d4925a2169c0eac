"""What is said of an object of another type than a path holds, in the reference server's words."""

from sampan.kinds.kind import Kind

_INTERNAL = {"": "core", "events.k8s.io": "core"}  # what Go calls a group's types, where that is not its first word


def not_registered(api_version: str, name: str) -> str:
    """Of a type that nobody knows."""
    return f'no kind "{name}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'


def not_converted(api_version: str, name: str, kind: Kind) -> str:
    """Of a type that is known, and is not the path's."""
    version = api_version.rpartition("/")[2]
    internal = _INTERNAL.get(kind.group) or kind.group.partition(".")[0]
    return f"converting ({version}.{name}) to ({internal}.{kind.name}): unknown conversion"
