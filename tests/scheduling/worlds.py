"""Random clusters: nodes, pods and their wishes, few values each, so that they meet."""

from typing import Any

from hypothesis import strategies as st

from tests.scheduling.oracle import HOST, MIB, PREFERRED, REQUIRED, ZONE, Tree

NAMESPACES = {"one": {"team": "x"}, "two": {"team": "y"}}
KEYS = (HOST, ZONE, "rack")
APPS = ("web", "db", "cache")


def maybe(strategy: Any) -> Any:
    return st.one_of(st.none(), strategy)


@st.composite
def nodes(draw: Any, name: str) -> Tree:
    labels = {HOST: draw(st.sampled_from((name, name, name, "shared")))}
    for key, values in ((ZONE, "ab"), ("rack", "rs"), ("disk", "hd")):
        if (value := draw(maybe(st.sampled_from(values)))) is not None:
            labels[key] = value
    effects = draw(st.lists(st.sampled_from(("NoSchedule", "PreferNoSchedule", "NoExecute")), max_size=1))
    spec: Tree = {"taints": [{"key": "dedicated", "value": "db", "effect": effect} for effect in effects]}
    if draw(st.integers(0, 9)) == 0:
        spec["unschedulable"] = True
    size = st.sampled_from(("1", "2", "3"))
    allocatable = {"cpu": draw(size), "memory": f"{draw(size)}Gi", "pods": draw(st.sampled_from(("3", "6", "9")))}
    sizes = st.sampled_from((10 * MIB, 400 * MIB, 900 * MIB))
    present = [{"names": [f"{app}:1"], "sizeBytes": draw(sizes)} for app in APPS if draw(st.integers(0, 3)) == 0]
    status = {"allocatable": allocatable, "images": present}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def selector() -> Any:
    one = st.sampled_from(APPS).map(lambda app: {"matchLabels": {"app": app}})
    some = st.lists(st.sampled_from(APPS), min_size=1, max_size=2, unique=True).map(
        lambda apps: {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]}
    )
    return st.one_of(one, some, st.just({"matchExpressions": [{"key": "app", "operator": "Exists"}]}))


@st.composite
def terms(draw: Any) -> Tree:
    term: Tree = {"topologyKey": draw(st.sampled_from(KEYS)), "labelSelector": draw(selector())}
    match draw(st.integers(0, 5)):
        case 0:
            term["namespaceSelector"] = draw(st.sampled_from(({}, {"matchLabels": {"team": "y"}})))
        case 1:
            term["namespaces"] = draw(st.sampled_from((["two"], ["one", "two"])))
    return term


@st.composite
def affinities(draw: Any) -> Tree:
    weighted = st.builds(lambda w, t: {"weight": w, "podAffinityTerm": t}, st.sampled_from((1, 10, 100)), terms())
    found: Tree = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if draw(st.integers(0, 3)) == 0:
            found[kind] = {
                REQUIRED: draw(st.lists(terms(), max_size=2)),
                PREFERRED: draw(st.lists(weighted, max_size=2)),
            }
    if draw(st.integers(0, 4)) == 0:
        operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
        expression: Tree = {"key": draw(st.sampled_from(("disk", "rack"))), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = ["h", "r"]
        term = {"matchExpressions": [expression]}
        if draw(st.booleans()):
            found["nodeAffinity"] = {REQUIRED: {"nodeSelectorTerms": [term]}}
        else:
            found["nodeAffinity"] = {PREFERRED: [{"weight": draw(st.sampled_from((1, 50))), "preference": term}]}
    return found


@st.composite
def constraints(draw: Any) -> Tree:
    found: Tree = {
        "topologyKey": draw(st.sampled_from(KEYS)),
        "maxSkew": draw(st.integers(1, 2)),
        "whenUnsatisfiable": draw(st.sampled_from(("DoNotSchedule", "ScheduleAnyway"))),
        "labelSelector": draw(selector()),
    }
    if found["whenUnsatisfiable"] == "DoNotSchedule" and draw(st.integers(0, 3)) == 0:
        found["minDomains"] = draw(st.integers(1, 3))
    for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if (value := draw(maybe(st.sampled_from(("Honor", "Ignore"))))) is not None:
            found[policy] = value
    if draw(st.integers(0, 3)) == 0:
        found["matchLabelKeys"] = ["version"]
    return found


@st.composite
def pods(draw: Any, name: str) -> Tree:
    app = draw(st.sampled_from(APPS))
    labels = {"app": app, "version": draw(st.sampled_from("12"))}
    metadata: Tree = {"name": name, "namespace": draw(st.sampled_from(("one", "one", "two"))), "uid": f"uid-{name}"}
    metadata["labels"] = labels
    container: Tree = {"name": "c", "image": f"{app}:1"}
    requests = {
        resource: draw(st.sampled_from(amounts))
        for resource, amounts in (("cpu", ("100m", "500m", "1")), ("memory", ("100Mi", "700Mi")))
        if draw(st.integers(0, 2))
    }
    container["resources"] = {"requests": requests}
    if draw(st.integers(0, 5)) == 0:
        address = draw(st.sampled_from(("", "10.0.0.1", "10.0.0.2")))
        container["ports"] = [{"containerPort": 80, "hostPort": 80, "hostIP": address}]
    spec: Tree = {"containers": [container]}
    if draw(st.integers(0, 2)) == 0:
        spec["affinity"] = draw(affinities())
    if draw(st.integers(0, 2)) == 0:
        spec["topologySpreadConstraints"] = draw(st.lists(constraints(), min_size=1, max_size=2))
    if draw(st.integers(0, 6)) == 0:
        spec["nodeSelector"] = {"disk": "h"}
    if draw(st.integers(0, 3)) == 0:
        spec["tolerations"] = [draw(st.sampled_from(({"operator": "Exists"}, {"key": "dedicated", "value": "db"})))]
    if draw(st.integers(0, 2)) == 0:
        owner = f"{metadata['namespace']}-{draw(st.sampled_from('12'))}"
        metadata["ownerReferences"] = [{"uid": owner, "kind": "ReplicaSet", "controller": True}]
    return {"metadata": metadata, "spec": spec}


SERVICES = [
    {"metadata": {"name": "web", "namespace": "one"}, "spec": {"selector": {"app": "web"}}},
    {"metadata": {"name": "first", "namespace": "two"}, "spec": {"selector": {"version": "1"}}},
]
