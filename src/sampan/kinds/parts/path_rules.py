"""Which paths below a volume are refused: those that lead out of it."""

from sampan.meta.status import Cause, invalid_value


def backstep_causes(value: str, path: str) -> list[Cause]:
    """No step up."""
    return [invalid_value(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def inner_causes(value: str, path: str) -> list[Cause]:
    """A path that stays inside: not absolute, no step up."""
    absolute = [invalid_value(path, value, "must be a relative path")] if value.startswith("/") else []
    return absolute + backstep_causes(value, path)


def file_causes(value: str, path: str) -> list[Cause]:
    """A file in a volume that the node writes: its name does not begin with two dots either."""
    found = inner_causes(value, path)
    if value.startswith("..") and not value.startswith("../"):
        found.append(invalid_value(path, value, "must not start with '..'"))
    return found
