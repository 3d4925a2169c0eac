"""What one check of a pod finds, and the words that several checks share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]
Rule = Callable[[Tree], "Violation | None"]


@dataclass(frozen=True, slots=True)
class Violation:
    """`reason` is the check's short name, `detail` says who does what."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def spec(pod: Tree) -> Tree:
    return pod.get("spec") or {}


def containers(pod: Tree) -> Iterator[Tree]:
    """Init, ordinary and ephemeral containers: a check that forgets one of them is none."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec(pod).get(kind) or ()


def context(holder: Tree) -> Tree:
    """The securityContext of a pod's spec or of a container."""
    return holder.get("securityContext") or {}


def names(found: Iterable[Tree]) -> list[str]:
    return [container.get("name") or "" for container in found]


def quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def who(found: list[str]) -> str:
    """container "a", containers "a", "b"."""
    return f"{plural('container', len(found))} {quoted(found)}"


def setters(pod: bool, found: list[str]) -> str:
    """pod, containers "a", "b", or both: who has set something."""
    parts = ["pod"] if pod else []
    if found:
        parts.append(who(found))
    return " and ".join(parts)


def is_windows(pod: Tree) -> bool:
    return bool((spec(pod).get("os") or {}).get("name") == "windows")


def has_user_namespace(pod: Tree) -> bool:
    """Whether root in the pod is nobody on the node."""
    return spec(pod).get("hostUsers") is False
