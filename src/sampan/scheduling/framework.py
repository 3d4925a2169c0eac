"""Framework: what a scheduler plugin is. There are three sorts, from the cheapest to the dearest. Pure.

*Local*: what is said depends on the pod's shape and on one node with its pods: asked once for each shape and
node, and again only when the node changes. *Field*: it depends on pods on other nodes too; nodes that look
alike to it are judged together. *Extra*: it depends on other objects (volumes, devices): asked for each pod
that is concerned, after the local ones.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sampan.scheduling.facet import Facet
from sampan.scheduling.steps import Steps
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

MAX_SCORE = 100

Filter = Callable[[Demand, Nodes, Snapshot], list[Verdict | None]]
Score = Callable[[Demand, Nodes, Snapshot], list[int]]
Signs = Callable[[Demand, Nodes, Snapshot], Sequence[Hashable]]
Weigh = Callable[[Sequence[Hashable], Snapshot], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Local:
    """A plugin that looks at one node at a time.

    `filter` refuses nodes; `reads_pods` says whether the pods on the node play a part in that. `score` is 0 to 100.
    `sign` is what it sees in a node where the score depends on the other nodes too; `weigh` turns the signs of
    the nodes that are left into scores.
    """

    name: str
    filter: Filter | None = None
    reads_pods: bool = False
    score: Score | None = None
    sign: Signs | None = None
    weigh: Weigh | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Nodes that look alike to a judge: what its facets show of them, how many pods each means, how many nodes.

    A count of None stands for nodes without the topology's label.
    """

    values: tuple[Hashable, ...]
    counts: tuple[int | None, ...]
    size: int


class Judge(Protocol):
    """What a field plugin has to say about one pod."""

    @property
    def facets(self) -> Sequence[Facet]:
        """What it looks at."""

    @property
    def filters(self) -> bool:
        """Whether it may refuse nodes at all."""

    def filter(self, counts: Sequence[int | None], extents: Sequence[int]) -> Verdict | None:
        """Why nodes with these counts are not for the pod; extents are those of the facets."""

    def score(self, sights: Sequence[Sight]) -> Sequence[int] | None:
        """0 to 100 for each of them; None when it makes no difference."""


FieldPlugin = Callable[[Demand, Snapshot], Judge | None]
"""None when it has nothing to say about the pod. Judges that are equal say the same."""


class FailureError(Exception):
    """An attempt cannot go on: something is wrong that is not the pod's fault."""


class Extra(Protocol):
    """A plugin that knows other objects. `prepare`'s writes and waits come before the binding."""

    names: frozenset[str]
    """Of the plugins that it stands for; it is asked for pods whose profile has one of them."""
    reads_pods: bool
    """Whether the pods on a node play a part in what it says of the node."""

    def is_concerned(self, pod: Demand) -> bool:
        """Whether it has anything to say about the pod."""

    def awaits(self, pod: Demand) -> bool:
        """Whether the pod is not to be tried yet, and not to be told so either."""
        return False

    def refuse(self, pod: Demand) -> Verdict | None:
        """Why no node at all is for the pod."""

    def ready(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Steps[None]:
        """What takes long, in steps, before `filter` is asked about these nodes. Raises FailureError."""
        yield from ()

    def filter(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
        """Why these nodes, some of all, are not. Raises FailureError."""

    def score(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Sequence[int] | None:
        """How good these nodes are, compared with each other; None when it makes no difference."""
        return None

    def remedy(self, pod: Demand) -> str:
        """What it will do, when no node is left, so that there is one next time; "" when it is not its business."""
        return ""

    async def relieve(self, pod: Demand) -> None:
        """Does that. Raises ApiError, TransportError."""
        return

    def reserve(self, pod: Demand, node: str) -> None:
        """The pod goes there: what it needs is taken at once."""

    def release(self, pod: Demand) -> None:
        """The pod does not go there after all."""

    async def prepare(self, pod: Demand, node: str) -> None:
        """What has to be done before the pod is bound. Raises ApiError, TransportError."""

    async def withdraw(self, pod: Demand) -> None:
        """Takes back what was done, after all, for a pod that was not bound. Raises ApiError, TransportError."""
        return


def normalised(raw: Sequence[int], *, reverse: bool = False) -> list[int]:
    """Scores 0 to 100 in proportion to the highest; with `reverse` the highest is the worst."""
    most = max(raw, default=0)
    if not most:
        return [MAX_SCORE if reverse else 0] * len(raw)
    scores = [MAX_SCORE * each // most for each in raw]
    return [MAX_SCORE - score for score in scores] if reverse else scores
