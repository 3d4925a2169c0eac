"""Semantic versions: semver("1.2.3"), isSemver, major, minor, patch and comparison.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-semver-library
"""

import re
from dataclasses import dataclass

from sampan.cel.functions import Overload, traverse
from sampan.cel.types import BOOL, INT, SEMVER, STRING
from sampan.cel.values import EvaluationError, Opaque

_PART = re.compile(r"[0-9A-Za-z-]+", re.ASCII)
_PLACES = ("Major", "Minor", "Patch")


@dataclass(frozen=True, slots=True)
class Version(Opaque):
    """A version; `build` says nothing about its order."""

    numbers: tuple[int, int, int]
    release: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    type = SEMVER

    def __str__(self) -> str:
        """As semver.org writes it."""
        text = ".".join(map(str, self.numbers))
        text += f"-{'.'.join(self.release)}" if self.release else ""
        return text + (f"+{'.'.join(self.build)}" if self.build else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and _key(self) == _key(other)

    def __hash__(self) -> int:
        return hash(_key(self))


def _key(version: Version) -> tuple[object, ...]:
    release = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in version.release)
    return (version.numbers, not version.release, release)


def parse(text: str, normalize: bool = False) -> Version:  # noqa: FBT002
    """The version. Raises ValueError."""
    if normalize:
        text = _normal(text)
    if not text:
        raise ValueError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise ValueError("No Major.Minor.Patch elements found")
    last, build = _cut(parts[2], "+")
    last, release = _cut(last, "-")
    numbers = [_number(part, place) for part, place in zip((parts[0], parts[1], last), _PLACES, strict=True)]
    return Version((numbers[0], numbers[1], numbers[2]), _release(release), _build(build))


def _cut(text: str, sign: str) -> tuple[str, str | None]:
    head, found, tail = text.partition(sign)
    return head, tail if found else None


def _number(part: str, place: str) -> int:
    if not part.isascii() or not part.isdigit():
        raise ValueError(f'Invalid character(s) found in {place.lower()} number "{part}"')
    if len(part) > 1 and part[0] == "0":
        raise ValueError(f'{place} number must not contain leading zeroes "{part}"')
    if len(part) > 20 or int(part) >= 1 << 64:
        raise ValueError(f'strconv.ParseUint: parsing "{part}": value out of range')
    return int(part)


def _release(text: str | None) -> tuple[str, ...]:
    parts = [] if text is None else text.split(".")
    for part in parts:
        if not part:
            raise ValueError("Prerelease is empty")
        if not _PART.fullmatch(part):
            raise ValueError(f'Invalid character(s) found in prerelease "{part}"')
        if part.isdigit() and len(part) > 1 and part[0] == "0":
            raise ValueError(f'Numeric PreRelease version must not contain leading zeroes "{part}"')
        if part.isdigit() and (len(part) > 20 or int(part) >= 1 << 64):
            raise ValueError(f'strconv.ParseUint: parsing "{part}": value out of range')
    return tuple(parts)


def _build(text: str | None) -> tuple[str, ...]:
    parts = [] if text is None else text.split(".")
    for part in parts:
        if not part:
            raise ValueError("Build meta data is empty")
        if not _PART.fullmatch(part):
            raise ValueError(f'Invalid character(s) found in build meta data "{part}"')
    return tuple(parts)


def _normal(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for place, part in enumerate(parts):
        if len(part) > 1:
            bare = part.lstrip("0")
            parts[place] = bare if bare[:1].isdigit() and bare[:1].isascii() else "0" + bare
    if len(parts) < 3 and ("+" in parts[-1] or "-" in parts[-1]):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))


def _semver(text: str, normalize: bool = False) -> Version:  # noqa: FBT002
    try:
        return parse(text, normalize)
    except ValueError as wrong:
        raise EvaluationError(str(wrong)) from None


def _is_semver(text: str, normalize: bool = False) -> bool:  # noqa: FBT002
    try:
        parse(text, normalize)
    except ValueError:
        return False
    return True


def _compare(one: Version, other: Version) -> int:
    mine, theirs = _key(one), _key(other)
    return (mine > theirs) - (mine < theirs)


_TWO = (SEMVER, SEMVER)
FUNCTIONS: dict[str, list[Overload]] = {
    "semver": [
        Overload("string_to_semver", (STRING,), SEMVER, _semver, cost=traverse()),
        Overload("string_bool_to_semver", (STRING, BOOL), SEMVER, _semver, cost=traverse()),
    ],
    "isSemver": [
        Overload("is_semver_string", (STRING,), BOOL, _is_semver, cost=traverse()),
        Overload("is_semver_string_bool", (STRING, BOOL), BOOL, _is_semver, cost=traverse()),
    ],
    "major": [Overload("semver_major", (SEMVER,), INT, lambda v: v.numbers[0], member=True)],
    "minor": [Overload("semver_minor", (SEMVER,), INT, lambda v: v.numbers[1], member=True)],
    "patch": [Overload("semver_patch", (SEMVER,), INT, lambda v: v.numbers[2], member=True)],
    "isLessThan": [Overload("semver_is_less_than", _TWO, BOOL, lambda a, b: _compare(a, b) < 0, member=True)],
    "isGreaterThan": [Overload("semver_is_greater_than", _TWO, BOOL, lambda a, b: _compare(a, b) > 0, member=True)],
    "compareTo": [Overload("semver_compare_to", _TWO, INT, _compare, member=True)],
}
