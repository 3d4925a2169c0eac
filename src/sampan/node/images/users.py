"""Which numeric user and groups a container's process gets, by the image's own passwd and group files.

The files are a stranger's: they are read inside the image only and up to a size, and every number in them
or in the request must be one that the kernel can hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.node.images import rooted

MAX_FILE_BYTES = 4 << 20
MAX_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class User:
    """Numeric ids, and where the user's home is (`/` if the image does not say)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def lookup(root_fd: int, text: str) -> User:
    """The user for `name`, `uid`, `name:group` or `uid:gid` (empty: root) in the image; ValueError if unknown."""
    passwd = _records(root_fd, "etc/passwd", 7)
    groups = _records(root_fd, "etc/group", 4)
    user_text, colon, group_text = text.partition(":")
    entry = _find_user(passwd, user_text or "0")
    uid = _identity(user_text or "0")
    if entry is not None:
        uid = _identity(entry[2])
    if uid is None:
        raise ValueError(f"unable to find user {user_text}: no matching entries in passwd file")
    gid = (_identity(entry[3]) if entry else None) or 0
    if colon and group_text:
        gid = _group_id(groups, group_text)
    member_of = _memberships(groups, entry[0]) if entry and not group_text else ()
    home = entry[5] if entry and entry[5].startswith("/") else "/"
    return User(uid, gid, tuple(group for group in member_of if group != gid), home)


def _find_user(passwd: list[list[str]], text: str) -> list[str] | None:
    number = _identity(text)
    if number is not None:
        return next((record for record in passwd if _identity(record[2], strict=False) == number), None)
    return next((record for record in passwd if record[0] == text), None)


def _group_id(groups: list[list[str]], text: str) -> int:
    number = _identity(text)
    if number is not None:
        return number
    for record in groups:
        if record[0] == text:
            found = _identity(record[2])
            if found is not None:
                return found
    raise ValueError(f"unable to find group {text}: no matching entries in group file")


def _memberships(groups: list[list[str]], name: str) -> tuple[int, ...]:
    found = {_identity(record[2], strict=False) for record in groups if name in record[3].split(",")}
    return tuple(sorted(group for group in found if group is not None))


def _identity(text: str, *, strict: bool = True) -> int | None:
    """The number; None if it is a name. What looks like a number is never taken for a name."""
    sign = text[:1] in ("+", "-") and text[1:2].isdecimal()
    if not text[:1].isdecimal() and not sign:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    if strict and (sign or text.isdecimal()):
        raise ValueError(f"uids and gids must be in range 0-{MAX_ID}")
    return None


def _records(root_fd: int, path: str, fields: int) -> list[list[str]]:
    data = rooted.read_file(root_fd, path, MAX_FILE_BYTES)
    if data is None:
        return []
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    records = (line.split(":") for line in lines if line and not line.startswith("#"))
    return [record for record in records if len(record) >= fields]
