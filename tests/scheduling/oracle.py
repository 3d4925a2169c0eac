"""An oracle: what the scheduler has to decide, worked out slowly and plainly from the objects, pod by pod, node by node.

It shares nothing with the scheduler but the reading of quantities and label selectors.
"""

from collections import Counter
from math import floor, log
from typing import Any

from sampan.meta import quantity, selectors

Tree = dict[str, Any]
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
MIB = 1024 * 1024


class World:
    """Nodes and the pods that are on them, each pod with spec.nodeName."""

    def __init__(self, nodes: list[Tree], pods: list[Tree], namespaces: dict[str, Tree], services: list[Tree]) -> None:
        self.nodes, self.pods, self.namespaces, self.services = nodes, pods, namespaces, services

    def on(self, node: Tree) -> list[Tree]:
        return [p for p in self.pods if p["spec"]["nodeName"] == node["metadata"]["name"]]

    def node_of(self, pod: Tree) -> Tree | None:
        return next((n for n in self.nodes if n["metadata"]["name"] == pod["spec"]["nodeName"]), None)


def judge(pod: Tree, world: World) -> tuple[dict[str, int], Counter[str]]:
    """The total score of each node that fits, and why the others do not: reasons with their numbers."""
    refusals = {name_of(node): refused(pod, node, world) for node in world.nodes}
    fitting = [node for node in world.nodes if not refusals[name_of(node)]]
    reasons = Counter(reason for found in refusals.values() for reason in found)
    totals = dict.fromkeys(map(name_of, fitting), 0)
    parts = [
        (1, [least_allocated(pod, node, world) for node in fitting]),
        (1, [balanced(pod, node, world) for node in fitting]),
        (1, [image_locality(pod, node, world) for node in fitting]),
        (3, scaled([unwelcome(pod, node) for node in fitting], reverse=True)),
        (2, scaled([node_weight(pod, node) for node in fitting], reverse=False)),
        (2, spread_scores(pod, fitting, world)),
        (2, affinity_scores(pod, fitting, world)),
    ]
    for weight, scores in parts:
        for node, score in zip(fitting, scores, strict=True):
            totals[name_of(node)] += weight * score
    return totals, reasons


def refused(pod: Tree, node: Tree, world: World) -> list[str]:
    """The reasons of the first plugin that refuses the node."""
    spec, labels = node["spec"], labels_of(node)
    if spec.get("unschedulable") and not tolerates(pod, "node.kubernetes.io/unschedulable", "", "NoSchedule"):
        return ["node(s) were unschedulable"]
    if any(
        t["effect"] != "PreferNoSchedule" and not tolerates(pod, t["key"], t.get("value", ""), t["effect"])
        for t in spec.get("taints", ())
    ):
        return ["node(s) had untolerated taint(s)"]
    if not node_picked(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if any(clash(one, other) for one in ports(pod) for p in world.on(node) for other in ports(p)):
        return ["node(s) didn't have free ports for the requested pod ports"]
    lacking = []
    has = node["status"]["allocatable"]
    if len(world.on(node)) + 1 > int(has["pods"]):
        lacking.append("Too many pods")
    for resource, wanted in requests(pod).items():
        used = sum(requests(p).get(resource, 0) for p in world.on(node))
        if wanted and used + wanted > units(resource, has.get(resource, "0")):
            lacking.append(f"Insufficient {resource}")
    if lacking:
        return lacking
    return spread_refusal(pod, node, world) or affinity_refusal(pod, node, labels, world)


def spread_refusal(pod: Tree, node: Tree, world: World) -> list[str]:
    hard = [c for c in pod["spec"].get("topologySpreadConstraints", ()) if c["whenUnsatisfiable"] == "DoNotSchedule"]
    keys = [c["topologyKey"] for c in hard]
    for c in hard:
        key = c["topologyKey"]
        if key not in labels_of(node):
            return ["node(s) didn't match pod topology spread constraints (missing required label)"]
        domains: dict[str, int] = {}
        for other in world.nodes:
            if all(k in labels_of(other) for k in keys) and included(pod, other, c):
                domain = labels_of(other)[key]
                domains[domain] = domains.get(domain, 0) + alike(pod, c, world.on(other))
        fewest = min(domains.values(), default=0)
        if len(domains) < c.get("minDomains", 1):
            fewest = 0
        itself = int(selects(c, pod, pod))
        if domains.get(labels_of(node)[key], 0) + itself - fewest > c["maxSkew"]:
            return ["node(s) didn't match pod topology spread constraints"]
    return []


def included(pod: Tree, node: Tree, c: Tree) -> bool:
    if c.get("nodeAffinityPolicy", "Honor") == "Honor" and not node_picked(pod, node):
        return False
    if c.get("nodeTaintsPolicy", "Ignore") == "Ignore":
        return True
    return all(
        t["effect"] == "PreferNoSchedule" or tolerates(pod, t["key"], t.get("value", ""), t["effect"])
        for t in node["spec"].get("taints", ())
    )


def alike(pod: Tree, c: Tree, others: list[Tree]) -> int:
    """How many of them the constraint counts."""
    return sum(
        1
        for p in others
        if p["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and "deletionTimestamp" not in p["metadata"]
        and selects(c, pod, p)
    )


def selects(c: Tree, pod: Tree, other: Tree) -> bool:
    if "owner" in c:
        return owner_of(other) == c["owner"]
    keys = c.get("matchLabelKeys", ())
    mine, theirs = labels_of(pod), labels_of(other)
    if any(k in mine and theirs.get(k) != mine[k] for k in keys):
        return False
    return selectors.from_label_selector(c.get("labelSelector")).matches(theirs)


def spread_scores(pod: Tree, fitting: list[Tree], world: World) -> list[int]:
    own = pod["spec"].get("topologySpreadConstraints", ())
    soft = [c for c in own if c["whenUnsatisfiable"] == "ScheduleAnyway"]
    if not own:
        chosen = default_selection(pod, world)
        soft = [{"topologyKey": HOST, "maxSkew": 3, **chosen}, {"topologyKey": ZONE, "maxSkew": 5, **chosen}]
        soft = soft if chosen else []
    if not soft:
        return [0] * len(fitting)
    ignored = [bool(own) and any(c["topologyKey"] not in labels_of(n) for c in soft) for n in fitting]
    kept = [n for n, out in zip(fitting, ignored, strict=True) if not out]
    raw = []
    for node, out in zip(fitting, ignored, strict=True):
        total = 0.0
        for c in soft:
            key = c["topologyKey"]
            if out or key not in labels_of(node):
                continue
            if key == HOST:
                count, size = alike(pod, c, world.on(node)), len(kept)
            else:
                size = len({labels_of(n).get(key) for n in kept})
                count = 0
                for other in world.nodes:
                    has_all = not own or all(s["topologyKey"] in labels_of(other) for s in soft)
                    same = labels_of(other).get(key) == labels_of(node)[key]
                    if has_all and same and included(pod, other, c):
                        count += alike(pod, c, world.on(other))
            total += count * log(size + 2) + (c["maxSkew"] - 1)
        raw.append(floor(total + 0.5))
    seen = [r for r, out in zip(raw, ignored, strict=True) if not out]
    low, high = min(seen, default=0), max(seen, default=0)
    return [
        0 if out else 100 if not high else 100 * (high + low - r) // high for r, out in zip(raw, ignored, strict=True)
    ]


def default_selection(pod: Tree, world: World) -> Tree:
    if owner_of(pod):
        return {"owner": owner_of(pod)}
    merged: Tree = {}
    for service in world.services:
        selector = service["spec"].get("selector") or {}
        same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
        if selector and same and all(labels_of(pod).get(k) == v for k, v in selector.items()):
            merged |= selector
    return {"labelSelector": {"matchLabels": merged}} if merged else {}


def affinity_refusal(pod: Tree, node: Tree, labels: Tree, world: World) -> list[str]:
    near = terms(pod, "podAffinity")
    if near:
        together = [p for p in world.pods if world.node_of(p) and all(meant(t, pod, p, world) for t in near)]
        counted = [(t, labels_of(world.node_of(p))) for t in near for p in together]
        anywhere = any(t["topologyKey"] in where for t, where in counted)
        starts = not anywhere and all(meant(t, pod, pod, world) for t in near)
        for t in near:
            key = t["topologyKey"]
            here = any(labels_of(world.node_of(p)).get(key) == labels.get(key) for p in together)
            if key not in labels or not (here or starts):
                return ["node(s) didn't match pod affinity rules"]
    for t in terms(pod, "podAntiAffinity"):
        if any(together_at(t, pod, p, p, labels, world) for p in world.pods):
            return ["node(s) didn't match pod anti-affinity rules"]
    for p in world.pods:
        for t in terms(p, "podAntiAffinity"):
            if together_at(t, p, pod, p, labels, world):
                return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


def together_at(t: Tree, says: Tree, about: Tree, placed: Tree, labels: Tree, world: World) -> bool:
    """Whether `says`' term means the other, and the placed one is in the domain that these labels are in."""
    where = world.node_of(placed)
    key = t["topologyKey"]
    if where is None or key not in labels or labels_of(where).get(key) != labels[key]:
        return False
    return meant(t, says, about, world)


def affinity_scores(pod: Tree, fitting: list[Tree], world: World) -> list[int]:
    raw = []
    for node in fitting:
        labels, total = labels_of(node), 0
        for p in world.pods:
            for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
                for w in preferred(pod, kind):
                    total += sign * w["weight"] * together_at(w["podAffinityTerm"], pod, p, p, labels, world)
                for w in preferred(p, kind):
                    total += sign * w["weight"] * together_at(w["podAffinityTerm"], p, pod, p, labels, world)
            for t in terms(p, "podAffinity"):
                total += together_at(t, p, pod, p, labels, world)
        raw.append(total)
    low, high = min(raw, default=0), max(raw, default=0)
    return [int(100 * ((r - low) / (high - low))) if high > low else 0 for r in raw]


def meant(t: Tree, says: Tree, about: Tree, world: World) -> bool:
    namespace = about["metadata"]["namespace"]
    chosen, named = t.get("namespaceSelector"), t.get("namespaces") or []
    if chosen is None and not named:
        named = [says["metadata"]["namespace"]]
    by_labels = chosen is not None and selectors.from_label_selector(chosen).matches(world.namespaces[namespace])
    if namespace not in named and not by_labels:
        return False
    return selectors.from_label_selector(t.get("labelSelector")).matches(labels_of(about))


def terms(pod: Tree, kind: str) -> list[Tree]:
    return list((pod["spec"].get("affinity", {}).get(kind) or {}).get(REQUIRED, ()))


def preferred(pod: Tree, kind: str) -> list[Tree]:
    return list((pod["spec"].get("affinity", {}).get(kind) or {}).get(PREFERRED, ()))


def least_allocated(pod: Tree, node: Tree, world: World) -> int:
    scores = []
    for resource in ("cpu", "memory"):
        has = units(resource, node["status"]["allocatable"][resource])
        wanted = sum(assumed(p)[resource] for p in [*world.on(node), pod])
        scores.append((has - wanted) * 100 // has if wanted <= has else 0)
    return sum(scores) // 2


def balanced(pod: Tree, node: Tree, world: World) -> int:
    if not any(requests(pod).get(r) for r in ("cpu", "memory")):
        return 0
    shares = []
    for resource in ("cpu", "memory"):
        has = units(resource, node["status"]["allocatable"][resource])
        shares.append(min(sum(requests(p).get(resource, 0) for p in [*world.on(node), pod]) / has, 1.0))
    return int((1 - abs((shares[0] - shares[1]) / 2)) * 100)


def image_locality(pod: Tree, node: Tree, world: World) -> int:
    wanted = [c["image"] for c in pod["spec"]["containers"]]
    total = 0
    for image in wanted:
        with_it = sum(1 for n in world.nodes if image in images(n))
        if image in images(node):
            total += int(images(node)[image] * (with_it / len(world.nodes)))
    most = 1000 * MIB * len(wanted)
    return 100 * (min(max(total, 23 * MIB), most) - 23 * MIB) // (most - 23 * MIB)


def images(node: Tree) -> dict[str, int]:
    return {name: i["sizeBytes"] for i in node["status"].get("images", ()) for name in i["names"]}


def unwelcome(pod: Tree, node: Tree) -> int:
    return sum(
        1
        for t in node["spec"].get("taints", ())
        if t["effect"] == "PreferNoSchedule" and not tolerates(pod, t["key"], t.get("value", ""), t["effect"])
    )


def node_weight(pod: Tree, node: Tree) -> int:
    listed = (pod["spec"].get("affinity", {}).get("nodeAffinity") or {}).get(PREFERRED, ())
    return sum(each["weight"] for each in listed if term_picks(each["preference"], node))


def scaled(raw: list[int], *, reverse: bool) -> list[int]:
    most = max(raw, default=0)
    scores = [100 * r // most if most else 0 for r in raw]
    return [100 - s for s in scores] if reverse else scores


def node_picked(pod: Tree, node: Tree) -> bool:
    spec = pod["spec"]
    if any(labels_of(node).get(k) != v for k, v in spec.get("nodeSelector", {}).items()):
        return False
    needed = (spec.get("affinity", {}).get("nodeAffinity") or {}).get(REQUIRED)
    return needed is None or any(term_picks(t, node) for t in needed["nodeSelectorTerms"])


def term_picks(term: Tree, node: Tree) -> bool:
    expressions = term.get("matchExpressions", ())
    return bool(expressions) and selectors.from_label_selector({"matchExpressions": expressions}).matches(
        labels_of(node)
    )


def tolerates(pod: Tree, key: str, value: str, effect: str) -> bool:
    for t in pod["spec"].get("tolerations", ()):
        if t.get("effect") not in (None, effect) or t.get("key") not in (None, key):
            continue
        if t.get("operator") == "Exists" or (t.get("key") and t.get("value", "") == value):
            return True
    return False


def ports(pod: Tree) -> list[tuple[str, str, int]]:
    listed = [p for c in pod["spec"]["containers"] for p in c.get("ports", ()) if p.get("hostPort")]
    return [(p.get("protocol", "TCP"), p.get("hostIP") or "0.0.0.0", p["hostPort"]) for p in listed]


def clash(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[::2] == other[::2] and (one[1] == other[1] or "0.0.0.0" in (one[1], other[1]))


def requests(pod: Tree) -> dict[str, int]:
    total: dict[str, int] = {}
    for c in pod["spec"]["containers"]:
        for resource, value in c.get("resources", {}).get("requests", {}).items():
            total[resource] = total.get(resource, 0) + units(resource, value)
    return total


def assumed(pod: Tree) -> dict[str, int]:
    total = {"cpu": 0, "memory": 0}
    for c in pod["spec"]["containers"]:
        asked = c.get("resources", {}).get("requests", {})
        total["cpu"] += units("cpu", asked.get("cpu", "100m"))
        total["memory"] += units("memory", asked.get("memory", "200Mi"))
    return total


def units(resource: str, value: str) -> int:
    return quantity.to_milli(value) if resource == "cpu" else quantity.to_int(value)


def name_of(obj: Tree) -> str:
    return str(obj["metadata"]["name"])


def labels_of(obj: Tree | None) -> Tree:
    return (obj or {"metadata": {}})["metadata"].get("labels", {})


def owner_of(pod: Tree) -> str:
    return next((o["uid"] for o in pod["metadata"].get("ownerReferences", ()) if o["kind"] == "ReplicaSet"), "")
