"""Components: which users are parts of the cluster itself, whose deletions follow from what others did."""

from fnmatch import fnmatchcase

GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
SYSTEM = (
    "system:serviceaccount:kube-system:*",
    "system:node:*",
    "system:kube-*",
    "system:sampan-*",
    "system:apiserver",
)


def is_component(user: str) -> bool:
    """Whether the user is one of the cluster's own."""
    return user.startswith("system:") and matches(user, SYSTEM)


def matches(user: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns (as of file names) fits the user."""
    return any(fnmatchcase(user, pattern) for pattern in patterns)
