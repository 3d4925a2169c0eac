"""Scenes: what is done to the market in the course of a trading day, and what must come of it. Data; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.cluster.trading_day import curve

REFUSED, ROLLED_BACK, RELEASED = "refused", "rolled back", "released"


@dataclass(frozen=True, slots=True)
class Version:
    """A release of the market: the same image, with other words in its environment."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """The rollout's template gets this version."""

    version: Version


@dataclass(frozen=True, slots=True)
class DeleteNamespace:
    """Somebody mistakes the window, and deletes everything."""


@dataclass(frozen=True, slots=True)
class Scene:
    """At a share of the day something is done, of which one thing must come."""

    at: float
    title: str
    act: Release | DeleteNamespace
    expected: str


FIRST = Version("v1")
BAD = Version("v2", {"FAIL_SHARE": "0.5"}, is_bad=True)
MENDED = Version("v3")
VERSIONS = (FIRST, BAD, MENDED)
BAD_NAMES = frozenset(version.name for version in VERSIONS if version.is_bad)

SCENES = (
    Scene(curve.moment(9, 36), "somebody types: kubectl delete namespace trading-day", DeleteNamespace(), REFUSED),
    Scene(curve.moment(11, 40), "v2 is released, which fails half of its orders", Release(BAD), ROLLED_BACK),
    Scene(curve.moment(12, 25), "v3 is released, which is mended", Release(MENDED), RELEASED),
)
