"""User: who is asking, as far as authentication could tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS = "system:anonymous"
AUTHENTICATED_GROUP = "system:authenticated"
UNAUTHENTICATED_GROUP = "system:unauthenticated"
MASTERS_GROUP = "system:masters"
SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class User:
    """`extra` maps a key to its values, as in a TokenReview."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_anonymous(self) -> bool:
        return self.name == ANONYMOUS


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that holds: its user, and the audiences that it and the asker have in common.

    `notes` are annotations for the audit log, `warnings` become Warning headers of the answer.
    """

    user: User
    audiences: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


NOBODY = User(ANONYMOUS, groups=(UNAUTHENTICATED_GROUP,))
LOOPBACK = User("system:apiserver", groups=(MASTERS_GROUP, AUTHENTICATED_GROUP))
