"""Hostnames: which of a route's names a listener serves. "" and "*" mean any; *.example.com any name below example.com.

https://gateway-api.sigs.k8s.io/reference/spec/#hostname
"""

from collections.abc import Iterable, Sequence


def is_covered(name: str, pattern: str) -> bool:
    """Whether every host that `name` means is one that `pattern` means."""
    if pattern in ("", "*"):
        return True
    if not pattern.startswith("*."):
        return name == pattern
    return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1


def intersection(listener: str, names: Sequence[str]) -> list[str]:
    """The names under which a route is served on a listener, ["*"] for any; none where they have nothing in common."""
    if not names:
        return [listener or "*"]
    found: dict[str, None] = {}
    for name in names:
        if is_covered(name, listener):
            found[name] = None
        elif is_covered(listener, name):
            found[listener] = None
    return list(found)


def most_specific(name: str, patterns: Iterable[str]) -> str | None:
    """The pattern that covers a name most closely: the name itself, then the longest wildcard, then any."""
    covering = [pattern for pattern in patterns if is_covered(name, pattern)]
    return max(
        covering,
        key=lambda pattern: (not pattern.startswith("*"), len(pattern)) if pattern else (False, 0),
        default=None,
    )
