"""What the node turns away."""

import pytest

from sampan.node import admission, critical_pods
from sampan.node.critical_pods import Candidate

ALLOCATABLE = {"pods": "3", "cpu": "2", "memory": "1Gi"}


def pod(**requests):
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}


def refusal(wanted, used, allocatable=ALLOCATABLE):
    short = admission.shortages(wanted, used, allocatable)
    return short[0].reason if short else None


def test_what_fits_is_taken():
    """Up to the last bit, and nothing asked for is always there."""
    others = [admission.needs(pod(cpu="1", memory="512Mi"))]
    assert refusal(admission.needs(pod(cpu="1", memory="512Mi")), others) is None
    assert refusal(admission.needs(pod()), others * 2) is None


def test_what_does_not_fit_says_by_how_much():
    """Places first, then cpu in thousandths, then memory in bytes. What the node knows nothing of is not its business."""
    others = [admission.needs(pod(cpu="1500m"))]
    text = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
    assert refusal(admission.needs(pod(cpu="600m", memory="2Gi")), others) == ("OutOfcpu", text)
    text = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    assert refusal(admission.needs(pod(cpu="9")), [{"pods": 1}] * 3) == ("OutOfpods", text)
    wanted = admission.needs(pod(**{"x/y": "1"}))
    assert refusal(wanted, []) is None
    assert refusal(wanted, [], ALLOCATABLE | {"x/y": "0"})[0] == "OutOfx/y"


NODE = {
    "metadata": {"name": "n", "labels": {"disk": "ssd", "kubernetes.io/os": "linux"}},
    "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]},
}
TOLERANT = {"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}


def wanting(key, *values, field="matchExpressions"):
    terms = [{field: [{"key": key, "operator": "In", "values": list(values)}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}, **TOLERANT}


@pytest.mark.parametrize(
    ("spec", "reason", "text"),
    [
        ({"nodeSelector": {"disk": "ssd"}, **TOLERANT}, None, ""),
        (wanting("disk", "ssd"), None, ""),
        (wanting("metadata.name", "n", field="matchFields"), None, ""),
        ({"nodeSelector": {"disk": "hdd"}, **TOLERANT}, "NodeAffinity", "didn't match Pod's node affinity/selector"),
        (wanting("disk", "hdd"), "NodeAffinity", "didn't match Pod's node affinity/selector"),
        (
            wanting("metadata.name", "m", field="matchFields"),
            "NodeAffinity",
            "didn't match Pod's node affinity/selector",
        ),
        ({"nodeName": "m", **TOLERANT}, "NodeName", "didn't match the requested node name"),
        ({}, "TaintToleration", "had taints that the pod didn't tolerate"),
    ],
)
def test_where_a_pod_may_be(spec, reason, text):
    """Selector, affinity, name and the taints that end pods; those that only the scheduler minds are not looked at."""
    found = admission.misplaced({"metadata": {}, "spec": {"containers": [], **spec}}, [], NODE)
    assert found == (None if reason is None else (reason, f"Predicate {reason} failed: node(s) {text}"))


def test_static_pods_are_not_driven_off():
    """No taint keeps a pod of the node's own file away."""
    static = {"metadata": {"annotations": {"kubernetes.io/config.source": "file"}}, "spec": {"containers": []}}
    assert admission.misplaced(static, [], NODE) is None


def test_another_operating_system():
    """By the pod's field, or by a label of its own."""
    windows = {"metadata": {}, "spec": {"containers": [], "os": {"name": "windows"}}}
    assert admission.wrong_system(windows, NODE)[0] == "PodOSNotSupported"
    labelled = {"metadata": {"labels": {"kubernetes.io/os": "windows"}}, "spec": {"containers": []}}
    assert admission.wrong_system(labelled, NODE)[0] == "PodOSSelectorNodeLabelDoesNotMatch"
    assert admission.wrong_system(pod() | {"metadata": {}}, NODE) is None


def candidate(name, priority=0, **requests):
    made = {"metadata": {"name": name}, "spec": {**pod(**requests)["spec"], "priority": priority}}
    limits = {"resources": {"requests": requests, "limits": requests}}
    if name.startswith("guaranteed"):
        made["spec"]["containers"] = [{"name": "c", **limits}]
    return Candidate(made, admission.needs(made))


def making_way(candidates, **wanted):
    critical = {"metadata": {}, "spec": {**pod(**wanted)["spec"], "priority": 2_000_000_000}}
    used = [each.needs for each in candidates]
    short = admission.shortages(admission.needs(critical), used, ALLOCATABLE | {"pods": str(max(1, len(candidates)))})
    return [each.pod["metadata"]["name"] for each in critical_pods.victims(critical, candidates, short)]


def test_who_makes_way_for_a_critical_pod():
    """The least of the better classes, and of each class those that come closest to what is missing."""
    big, small = candidate("big", cpu="1"), candidate("small", cpu="300m")
    free = candidate("free")
    assert making_way([big, small, free], cpu="800m") == ["small"]
    assert making_way([small, big, free], cpu="1500m") == ["big"]
    assured = candidate("guaranteed", cpu="1", memory="1Gi")
    assert making_way([assured, small], cpu="800m") == ["small"]
    assert making_way([assured, small], cpu="800m", memory="1Gi") == ["guaranteed"]
    assert making_way([free]) == ["free"]


def test_critical_pods_do_not_make_way_for_each_other():
    """Unless one has the higher priority."""
    with pytest.raises(critical_pods.NoRoom) as error:
        making_way([candidate("other", 2_000_000_000, cpu="2")], cpu="1")
    assert str(error.value) == (
        "no set of running pods found to reclaim resources: [(res: pods, q: 1), (res: cpu, q: 1000), ]"
    )
