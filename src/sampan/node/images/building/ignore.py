"""Which files of a context are left out: the rules of .containerignore and .dockerignore, and the globs of COPY. Pure.

Patterns are those of Go's filepath.Match with `**` for any number of folders; the last one that matches a path, or a
folder above it, decides, and `!` takes back. See https://docs.docker.com/build/concepts/context/#dockerignore-files.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field


class PatternError(ValueError):
    """A pattern that means nothing."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns in their order, each with whether it takes back."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()
    exceptions: bool = field(default=False)
    """Whether a left-out folder may hold something that is not."""

    def leaves_out(self, path: str) -> bool:
        """Whether the path (relative, with slashes) is left out."""
        parts = path.split("/")
        ways = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        is_out = False
        for pattern, takes_back in self.patterns:
            if is_out == takes_back and any(pattern.fullmatch(way) for way in ways):
                is_out = not takes_back
        return is_out


def parse(text: str) -> Rules:
    """Reads an ignore file. Raises PatternError."""
    return rules(line for line in text.removeprefix("\ufeff").splitlines() if not line.startswith("#"))


def rules(lines: Iterable[str]) -> Rules:
    """Of these patterns. Raises PatternError."""
    found = []
    for line in lines:
        pattern = line.strip()
        takes_back = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip() if takes_back else pattern
        if not pattern:
            continue
        cleaned = posixpath.normpath("/" + pattern).lstrip("/")
        if cleaned:
            found.append((re.compile(expression(cleaned), re.DOTALL), takes_back))
    return Rules(tuple(found), any(takes_back for _, takes_back in found))


def is_glob(text: str) -> bool:
    """Whether it stands for more than the path that it is."""
    return any(sign in text for sign in "*?[")


def expression(pattern: str) -> str:
    """The pattern as a regular expression over whole paths. Raises PatternError."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if sign == "*" and pattern[at : at + 1] == "*":
            at += 1
            if pattern[at : at + 1] == "/":
                at += 1
                parts.append("(?:.*/)?")
            else:
                parts.append(".*")
        elif sign == "*":
            parts.append("[^/]*")
        elif sign == "?":
            parts.append("[^/]")
        elif sign == "[":
            text, at = _class(pattern, at)
            parts.append(text)
        elif sign == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(sign))
    return "".join(parts)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """One of several signs, `[a-c]` or `[^a-c]`, and where it ends."""
    is_not = pattern[at : at + 1] in ("^", "!")
    end = pattern.find("]", at + is_not + 1)
    if end < 0:
        raise PatternError(f"syntax error in pattern {pattern!r}: a bracket is not closed")
    inner = re.sub(r"[^\w-]", lambda found: "\\" + found[0], pattern[at + is_not : end], flags=re.ASCII)
    text = f"[{'^/' if is_not else ''}{inner}]"
    try:
        re.compile(text)
    except re.error as error:
        raise PatternError(f"syntax error in pattern {pattern!r}: {error}") from error
    return text, end + 1
