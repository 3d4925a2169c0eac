"""What must hold between the API and what really runs on the nodes: each container runs once, and where it belongs."""

from collections.abc import Iterable, Mapping, Sequence

from sampan.cluster.rules.world import World
from sampan.kinds.core import pod
from sampan.meta import objects
from sampan.node.runtime.protocol import ContainerState

PODS = "pods"
Running = Mapping[str, Sequence[ContainerState]]
"""The containers that run, by the names of their nodes."""

ONCE = "A pod's container runs once, on one node."
WANTED = "At rest nodes run the containers of the pods that are bound to them, and no others."
TRUE = "At rest a container that is said to run does."


def twice(running: Running) -> str:
    """The first container that runs twice, whatever the API says of it."""
    seen: dict[tuple[str, str], str] = {}
    for node, states in running.items():
        for state in states:
            where = seen.setdefault((state.pod_uid, state.name), f"{node} as {state.id[:12]}")
            if where != f"{node} as {state.id[:12]}":
                what = f"container {state.name} of pod {state.pod_namespace}/{state.pod_name}"
                return f"{what} runs on {where} and on {node} as {state.id[:12]}"
    return ""


def unwanted(running: Running, world: World) -> Iterable[str]:
    """Containers that nobody wants, on nodes that are up."""
    for node, states in running.items():
        wanted = {objects.uid(p) for p in world.on_node(node)}
        for state in states:
            if state.pod_uid not in wanted:
                yield f"{node} runs {state.name} of pod {state.pod_namespace}/{state.pod_name}, which is not bound to it"


def missing(running: Running, world: World) -> Iterable[str]:
    """Containers whose status says that they run, and that do not."""
    there = {f"simulated://{state.id}" for states in running.values() for state in states}
    for p in world.all(PODS):
        if p["spec"].get("nodeName") not in running or pod.is_terminal(p):
            continue
        for status in (p.get("status") or {}).get("containerStatuses") or ():
            if (status.get("state") or {}).get("running") and status.get("containerID") not in there:
                name = f"{objects.namespace(p)}/{objects.name(p)}"
                yield f"pod {name} says that container {status['name']} runs as {status.get('containerID')}: it does not"
