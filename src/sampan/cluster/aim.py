"""Aim: which requests a fault is about, and how often it strikes."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sampan.server import request_info
from sampan.server.request_info import is_true
from sampan.web.message import Request

COMPONENTS = ("system:*",)
CONTROLLERS = ("system:kube-controller-manager",)
SCHEDULER = ("system:kube-scheduler",)
READS = ("get", "list")
WATCHES = ("watch",)
WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Aim:
    """`users` are patterns of user names: by default the cluster's own components, not who tests it (`("*",)` is all).

    Of `groups` one has to be the user's, as its certificate has them. `verbs` are those of RBAC, `resources` such as pods, pods/status or deployments.apps; () means any. Of the requests
    that it is about, each one is struck with `chance`, and at most `times` of them are.
    """

    users: tuple[str, ...] = COMPONENTS
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    chance: float = 1.0
    times: int | None = None
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What it says beyond the usual, for people: `get, list of pods by system:node:* (20 %)`; may be empty."""
        said = [", ".join(self.verbs)] if self.verbs else []
        said += [f"of {', '.join(self.resources)}"] if self.resources else []
        said += [f"by {', '.join((*self.users, *self.groups))}"] if self.users != COMPONENTS or self.groups else []
        said += [f"({self.chance:.0%})"] if self.chance < 1 else []
        said += [f"{self.times} times"] if self.times is not None else []
        return " ".join(said)

    def is_about(self, request: Request) -> bool:
        """Whether the request is one of those that may be struck."""
        if not any(fnmatchcase(request.peer.common_name, pattern) for pattern in self.users):
            return False
        if self.groups and not _has(self.groups, request.peer.organizations):
            return False
        if not (self.verbs or self.resources):
            return True
        info = request_info.parse(request)
        verb = "watch" if is_watch(request) else info.verb
        return _has(self.verbs, (verb,)) and _has(self.resources, _names(info))


def is_watch(request: Request) -> bool:
    """Whether it asks for a watch."""
    return request.method == "GET" and is_true(request.param("watch", "false"))


def _has(wanted: tuple[str, ...], names: Iterable[str]) -> bool:
    return not wanted or any(name in wanted for name in names)


def _names(info: request_info.RequestInfo) -> tuple[str, ...]:
    """pods; of a subresource only pods/status, so that an aim at one is not one at the other."""
    name = f"{info.resource}.{info.group}" if info.group else info.resource
    return (f"{name}/{info.subresource}",) if info.subresource else (name,)
