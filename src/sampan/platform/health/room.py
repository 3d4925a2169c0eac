"""Room: why no node takes a pod: what the scheduler says, and what the nodes have.

https://kubernetes.io/docs/concepts/scheduling-eviction/
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.kinds.core import pod as pods
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects, quantity
from sampan.platform.health import configs, homes, volumes, words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, warnings
from sampan.platform.health.verdict import PROGRESSING, STUCK, Evidence, Verdict

Object = Mapping[str, Any]
Told = Sequence[str]

PARTS = re.compile(r"nodes are available: (.*?)(?:\.? (?:no new claims to deallocate|preemption:)|\.?$)", re.DOTALL)
SHORT = re.compile(r"^\d+ Insufficient (\S+)$")
KEEPS_AWAY = ("NoSchedule", "NoExecute")
CLAIM = re.compile(r"persistentvolumeclaim \"([^\"]+)\" not found")
OWN_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def judge(pod: Object, look: Lookup) -> Verdict:
    """A pod that has no node: a verdict on its place."""
    condition = conditions.get(pod, "PodScheduled") or {}
    gates = [str(gate.get("name")) for gate in pod["spec"].get("schedulingGates") or ()]
    if gates:
        message = f"is held back by scheduling gates: {words.listed(gates)}"
        return _place(pod, STUCK, "SchedulingGated", message, next=("whoever set the gates must remove them",))
    found = warnings(look, pod, "FailedScheduling")
    text = str(condition.get("message") or (found[0].get("message") if found else ""))
    if not text:
        return _place(pod, PROGRESSING, "NotScheduledYet", "has no node yet")
    shown = (told(found[0], look),) if found else (Evidence("condition", f"PodScheduled: {words.clipped(text)}"),)
    verdict = _why(pod, text, look)
    return verdict or _place(pod, STUCK, "Unschedulable", words.clipped(text), evidence=shown, next=_describe(pod))


def _why(pod: Object, text: str, look: Lookup) -> Verdict | None:
    missing = CLAIM.search(text)
    if missing is not None and look.get(PERSISTENTVOLUMECLAIM, missing[1], objects.namespace(pod)) is None:
        return configs.missing_claim(missing[1], pod, look)
    unbound = _unbound(pod, text, look)
    if unbound is not None:
        return unbound
    match = PARTS.search(text)
    parts = [part.strip() for part in _split(match[1])] if match else []
    rules: tuple[Callable[[Object, Told, str, Lookup], Verdict | None], ...] = (_short, _tainted, _elsewhere, _apart)
    if look.is_hidden(NODE):
        rules = (_short, _apart)
    for part in sorted(parts, key=_nodes, reverse=True):
        for rule in rules:
            if rule(pod, [part], text, look) is not None:
                return rule(pod, parts if rule is _short else [part], text, look)
    return None


def _short(pod: Object, parts: Told, text: str, look: Lookup) -> Verdict | None:
    """Not enough of something."""
    lacking = [match[1] for match in (SHORT.match(part) for part in parts) if match]
    if any("Too many pods" in part for part in parts):
        lacking.append("pods")
    if not lacking:
        return None
    wanted = pods.requests(dict(pod))
    nodes = look.list(NODE)
    what = words.listed([f"{_amount(wanted, name)} {name}".strip() for name in lacking])
    said = [_room(node, lacking, look) for node in sorted(nodes, key=objects.name)[:5]]
    largest = [name for name in lacking if nodes and _exceeds_all(wanted, name, nodes)]
    home = homes.of(pod, look)
    if largest:
        message = f"asks for {what}, more than any node has"
        steps = (*_lower(pod, home, largest[0]), "or add a node that is large enough")
    else:
        message = f"asks for {what}, and no node has that much left"
        steps = ("add a node, or free some room: kubectl describe nodes", *_lower(pod, home, lacking[0]))
    evidence = (_told(pod, text, look), *(Evidence("status", line) for line in said))
    return _place(pod, STUCK, "NoRoom", message, evidence=evidence, next=steps)


def _tainted(pod: Object, parts: Told, text: str, look: Lookup) -> Verdict | None:
    """Taints that the pod does not tolerate, or nodes that take nothing."""
    nodes = sorted(look.list(NODE), key=objects.name)
    cordoned = [objects.name(node) for node in nodes if (node.get("spec") or {}).get("unschedulable")]
    evidence = (_told(pod, text, look),)
    if any("unschedulable" in part for part in parts) and cordoned:
        message = f"no node takes pods that would do: {words.listed(cordoned)} cordoned"
        steps = tuple(f"kubectl uncordon {name}" for name in cordoned[:3])
        return _place(pod, STUCK, "NodesCordoned", message, evidence=evidence, next=steps)
    if not any("untolerated taint" in part for part in parts):
        return None
    found = [(_shown(taint), objects.name(node)) for node in nodes for taint in _untolerated(pod, node)]
    taints = list(dict.fromkeys(taint for taint, _ in found))
    holders = list(dict.fromkeys(name for taint, name in found if taint == taints[0]))
    key = taints[0].partition("=")[0] if taints else ""
    if key in OWN_TAINTS:
        message = f"no node is ready that would do: {words.listed(holders)} not ready"
        steps = tuple(f"sampan why node/{name}" for name in holders[:3])
        return _place(pod, STUCK, "NodesNotReady", message, evidence=evidence, next=steps)
    message = f"does not tolerate the taint {words.listed(taints)} of {words.listed(holders) or 'the nodes'}"
    steps = homes.of(pod, look).change("tolerations", f"add a toleration of {words.listed(taints)}")
    steps = (*steps, *(f"kubectl taint node {name} {key}-" for name in holders[:1]))
    return _place(pod, STUCK, "Taint", message, evidence=evidence, next=steps)


def _elsewhere(pod: Object, parts: Told, text: str, look: Lookup) -> Verdict | None:
    """A selector or an affinity that no node fits."""
    if not any("node affinity/selector" in part or "node selector" in part for part in parts):
        return None
    selector = pod["spec"].get("nodeSelector") or {}
    nodes = sorted(look.list(NODE), key=objects.name)
    absent = {k: v for k, v in selector.items() if all(objects.labels(node).get(k) != v for node in nodes)}
    field = "nodeSelector" if selector else "affinity.nodeAffinity"
    wanted = words.listed([f"{key}={value}" for key, value in (absent or selector).items()])
    message = (
        f"wants a node with {wanted}, and there is none"
        if wanted
        else "wants a node by its affinity, and there is none"
    )
    has = [_labels_of(key, nodes) for key in absent]
    evidence = (_told(pod, text, look), *(Evidence("status", line) for line in has))
    steps = homes.of(pod, look).change(field, "name a label that a node has")
    if absent and nodes:
        key, value = next(iter(absent.items()))
        steps = (f"kubectl label node {objects.name(nodes[0])} {key}={value}", *steps)
    return _place(pod, STUCK, "NodeSelector", message, evidence=evidence, next=steps)


def _apart(pod: Object, parts: Told, text: str, look: Lookup) -> Verdict | None:
    """Pods that must be apart or together, ports of the host."""
    cases = (
        ("pod anti-affinity", "PodAntiAffinity", "may not be beside pods that are on every node", "affinity.podAntiAffinity"),
        ("pod affinity", "PodAffinity", "must be beside pods that are on no node with room", "affinity.podAffinity"),
        ("topology spread", "TopologySpread", "would be spread unevenly on every node", "topologySpreadConstraints"),
        ("free ports for the requested pod ports", "HostPortTaken", "wants a port of the host that is taken on every node", "containers[].ports[].hostPort"),
        ("volume node affinity", "VolumeElsewhere", "has a volume that is on none of the nodes that would do", "volumes"),
    )  # fmt: skip
    for sign, reason, message, field in cases:
        if any(sign in part for part in parts):
            steps = homes.of(pod, look).change(field, "relax it, or add a node")
            return _place(pod, STUCK, reason, message, evidence=(_told(pod, text, look),), next=steps)
    return None


def _unbound(pod: Object, text: str, look: Lookup) -> Verdict | None:
    """A claim that waits: the pod waits for it."""
    if "PersistentVolumeClaim" not in text and "persistentvolumeclaim" not in text and "persistent volume" not in text:
        return None
    for name in configs.claims(pod):
        claim = look.get(PERSISTENTVOLUMECLAIM, name, objects.namespace(pod))
        if claim is not None and (claim.get("status") or {}).get("phase") != "Bound":
            return volumes.claim({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim}, look)
    return None


def _place(pod: Object, state: str, reason: str, message: str, **more: Any) -> Verdict:
    return Verdict("scheduling", state, reason, message, objects.namespace(pod), **more)


def _told(pod: Object, text: str, look: Lookup) -> Evidence:
    found = warnings(look, pod, "FailedScheduling")
    return told(found[0], look) if found else Evidence("condition", f"PodScheduled: {words.clipped(text)}")


def _nodes(part: str) -> int:
    """How many nodes a part of the sentence is about."""
    count = part.partition(" ")[0]
    return int(count) if count.isdigit() else 0


def _split(text: str) -> list[str]:
    """The parts of the scheduler's sentence; commas within braces don't count."""
    return re.split(r", (?=\d+ |persistentvolumeclaim)", text.strip())


def _amount(wanted: Mapping[str, quantity.Quantity], name: str) -> str:
    return str(wanted[name]) if name in wanted else ""


def _exceeds_all(wanted: Mapping[str, quantity.Quantity], name: str, nodes: Sequence[Object]) -> bool:
    if name not in wanted or not nodes:
        return False
    return all(quantity.compare(str(wanted[name]), _allocatable(node, name)) > 0 for node in nodes)


def _allocatable(node: Object, name: str) -> str:
    return str(((node.get("status") or {}).get("allocatable") or {}).get(name, "0"))


def _room(node: Object, names: Told, look: Lookup) -> str:
    """What a node has of something, and what is spoken for."""
    there = [p for p in look.list(POD) if p["spec"].get("nodeName") == objects.name(node) and not pods.is_terminal(p)]
    said = []
    for name in names:
        used = "0"
        for each in there:
            used = quantity.add(used, "1" if name == "pods" else str(pods.requests(each).get(name, "0")))
        said.append(f"{_allocatable(node, name)} {name}, of which {used} is spoken for")
    return f"node {objects.name(node)} has {'; '.join(said)}"


def _lower(pod: Object, home: homes.Home, resource: str) -> tuple[str, ...]:
    asking = [c for c in pod["spec"]["containers"] if resource in ((c.get("resources") or {}).get("requests") or {})]
    name = str(asking[0]["name"]) if asking else str(pod["spec"]["containers"][0]["name"])
    return home.set_resources(name, f"requests={resource}=AMOUNT")


def _labels_of(key: str, nodes: Sequence[Object]) -> str:
    values = sorted({objects.labels(node)[key] for node in nodes if key in objects.labels(node)})
    return f"nodes have {key} = {words.listed(values)}" if values else f"no node has a label {key}"


def _untolerated(pod: Object, node: Object) -> list[Object]:
    """The taints of a node that keep a pod away."""
    mine = pod["spec"].get("tolerations") or ()
    taints = [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") in KEEPS_AWAY]
    return [taint for taint in taints if not any(_tolerates(each, taint) for each in mine)]


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def _shown(taint: Object) -> str:
    return f"{taint.get('key')}={taint['value']}" if taint.get("value") else str(taint.get("key"))


def _describe(pod: Object) -> tuple[str, ...]:
    return (f"{words.in_namespace(objects.namespace(pod))} describe pod {objects.name(pod)}",)
