"""Ending: what is left in a cluster, told so that two ends which mean the same are equal.

Left out are uids, resourceVersions, generations, times, addresses and ports that were handed out, which node a pod is
on, the random part of names, and who wrote which field. Events and leases tell of the way, not of the end.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import orjson

from sampan.cluster.rules.world import World
from sampan.meta import objects

Tree = dict[str, Any]
Ending = Counter[str]

REVISIONS = "deployment.kubernetes.io/revision"
"""Which number a template has got."""
RUNS = "runs"
"""How many pods of a Job have ended."""
IDLE = "idle allocations"
"""Whether a claim for devices that nobody uses has some still."""
PASSING = ("events", "leases.coordination.k8s.io")
_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
UNTOLD_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionGracePeriodSeconds",
)
UNTOLD = (
    "lastScaleTime",
    _TRIGGER,
    "resourceVersion",
    "observedGeneration",
    "nodeName",
    "topology.kubernetes.io/zone",  # a pod's is its node's
    "nodePort",
    "healthCheckNodePort",
    "containerID",
    "hostIP",
    "hostIPs",
)
_WORDS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "ADDRESS"),
    (re.compile(r"\bnode-\d+\b"), "NODE"),
    (re.compile(r"-\d{8}\b"), "-RUN"),
    (re.compile(r"\bkube-api-access-[a-z0-9]{5}\b"), "kube-api-access-*"),
)
MAX_SHOWN = 12


def of(world: World, loosely: Collection[str] = ()) -> Ending:
    """How often there is what. `loosely` names what is not looked at: REVISIONS, RUNS, IDLE."""
    found = [
        (resource, obj) for resource in world.resources() if resource not in PASSING for obj in world.all(resource)
    ]
    for what in loosely:
        found = [
            (resource, _LOOSELY[what](resource, obj)) for resource, obj in found if not _is_run(what, resource, obj)
        ]
    random = _random_names(obj for _, obj in found)
    return Counter(f"{resource} {_told(resource, obj, random)}" for resource, obj in found)


def _without_revisions(resource: str, obj: Tree) -> Tree:
    kept = {name: text for name, text in objects.annotations(obj).items() if not name.startswith(REVISIONS)}
    made = {**obj, "metadata": {**objects.metadata(obj), "annotations": kept}}
    return {**made, "revision": 0} if resource == "controllerrevisions.apps" else made


def _without_counts(resource: str, obj: Tree) -> Tree:
    if resource != "jobs.batch":
        return obj
    status = {name: value for name, value in obj["status"].items() if name not in ("succeeded", "failed")}
    return {**obj, "status": status}


def _without_idle_allocation(resource: str, obj: Tree) -> Tree:
    status = obj.get("status") or {}
    if resource != "resourceclaims.resource.k8s.io" or status.get("reservedFor"):
        return obj
    kept = {name: value for name, value in status.items() if name != "allocation"}
    return {**obj, "status": kept, "metadata": {**objects.metadata(obj), "finalizers": []}}


def _is_run(what: str, resource: str, obj: Tree) -> bool:
    return what == RUNS and resource == "pods" and (objects.controller_of(obj) or {}).get("kind") == "Job"


_LOOSELY = {REVISIONS: _without_revisions, RUNS: _without_counts, IDLE: _without_idle_allocation}


def difference(expected: Ending, got: Ending) -> str:
    """What is missing, what is too much, and where those differ that are of one name."""
    missing, more = sorted((expected - got).elements()), sorted((got - expected).elements())
    told: list[str] = []
    for what in missing:
        same = next((other for other in more if _name(other) == _name(what)), None)
        if same is None:
            told.append(f"- {what}")
        else:
            more.remove(same)
            told += [f"{_name(what)}: {line}" for line in _paths(_tree(what), _tree(same))]
    return "\n".join((told + [f"+ {what}" for what in more])[:MAX_SHOWN])


def _tree(what: str) -> Tree:
    found: Tree = orjson.loads(what.partition(" ")[2])
    return found


def _name(what: str) -> str:
    metadata = _tree(what)["metadata"]
    return f"{what.partition(' ')[0]} {metadata.get('namespace', '')}/{metadata['name']}"


def _paths(was: Any, now: Any, path: str = "") -> list[str]:
    """Each place where one is not as the other."""
    if isinstance(was, dict) and isinstance(now, dict):
        names = sorted({*was, *now})
        return [line for name in names for line in _paths(was.get(name), now.get(name), f"{path}.{name}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = enumerate(zip(was, now, strict=True))
        return [line for index, pair in pairs for line in _paths(*pair, f"{path}[{index}]")]
    return (
        [] if was == now else [f"{path.lstrip('.')} was {orjson.dumps(was).decode()}, is {orjson.dumps(now).decode()}"]
    )


def _random_names(found: Iterable[Tree]) -> dict[str, str]:
    """Each name that was made up, and what it stands for: the longer ones first."""
    names = {
        objects.name(obj): objects.metadata(obj)["generateName"] + "*"
        for obj in found
        if objects.metadata(obj).get("generateName")
    }
    return dict(sorted(names.items(), key=lambda pair: (-len(pair[0]), pair[0])))


def _told(resource: str, obj: Tree, random: dict[str, str]) -> str:
    metadata = {name: value for name, value in objects.metadata(obj).items() if name not in UNTOLD_METADATA}
    rest = {name: value for name, value in obj.items() if name not in ("metadata", "apiVersion", "kind")}
    if resource == "secrets" and isinstance(rest.get("data"), dict):
        rest["data"] = sorted(rest["data"])
    if resource == "nodes":
        rest = {"spec": {"taints": rest.get("spec", {}).get("taints")}}
        metadata = {"name": metadata["name"]}
    text = orjson.dumps(_plain({"metadata": metadata, **rest})).decode()
    for name, stands_for in random.items():
        if name in text:
            text = text.replace(name, stands_for)
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return orjson.dumps(_sorted(orjson.loads(text)), option=orjson.OPT_SORT_KEYS).decode()


def _plain(tree: Any) -> Any:
    """Without what differs from one run to the next."""
    if isinstance(tree, list):
        return [_plain(item) for item in tree]
    if isinstance(tree, dict):
        plain = {name: _plain(value) for name, value in tree.items() if name not in UNTOLD}
        return {name: value for name, value in plain.items() if value not in ({}, [])}
    return tree


def _sorted(tree: Any) -> Any:
    """Lists of objects in an order of their own, where theirs may say nothing."""
    if isinstance(tree, dict):
        return {name: _sorted(value) for name, value in tree.items()}
    if not isinstance(tree, list):
        return tree
    done = [_sorted(item) for item in tree]
    return sorted(done, key=lambda item: orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
