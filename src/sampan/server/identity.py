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


NOBODY = User(ANONYMOUS, groups=(UNAUTHENTICATED_GROUP,))
LOOPBACK = User("system:apiserver", groups=(MASTERS_GROUP, AUTHENTICATED_GROUP))
