"""KubeSchedulerConfiguration: what it makes of the plugins, and what it refuses."""

from typing import Any

import pytest
from making import Field, node, of, pod

from sampan.scheduling import config, cycle
from sampan.scheduling.config import ConfigError, Configuration
from sampan.scheduling.cycle import Terms
from sampan.scheduling.profile import Profile

FIT = "NodeResourcesFit"


def read(**fields: Any) -> Configuration:
    return config.read({"apiVersion": config.API_VERSION, "kind": config.KIND, **fields})


def one(**fields: Any) -> Profile:
    return read(profiles=[fields]).profiles["default-scheduler"]


def chosen(field: Field, profile: Profile, asked: Any) -> str:
    return cycle.decide(of(asked), field.snapshot, Terms(profile)).node


def test_the_defaults() -> None:
    """An empty document is one profile with upstream's back-offs."""
    found = read()
    assert list(found.profiles) == ["default-scheduler"]
    assert (found.first_backoff_seconds, found.last_backoff_seconds) == (1, 10)


def test_several_profiles() -> None:
    """Each has its own plugins; a pod finds its own by schedulerName."""
    found = read(
        profiles=[{}, {"schedulerName": "bare", "plugins": {"score": {"disabled": [{"name": "*"}]}}}],
        podInitialBackoffSeconds=2,
        podMaxBackoffSeconds=4,
    )
    assert list(found.profiles) == ["default-scheduler", "bare"]
    assert not found.profiles["bare"].scores
    assert found.profiles["bare"].filters
    assert (found.first_backoff_seconds, found.last_backoff_seconds) == (2, 4)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "LeastAllocated"}, "b"),
        ({"type": "MostAllocated"}, "a"),
        ({"type": "MostAllocated", "resources": [{"name": "example.com/gpu", "weight": 5}]}, "c"),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
                "resources": [{"name": "cpu", "weight": 1}],
            },
            "a",
        ),
    ],
)
def test_scoring_strategies(field: Field, strategy: Any, expected: str) -> None:
    """Spread out, pack, or follow a shape, over the resources that are named."""
    gpus = {"example.com/gpu": "4"}
    field.add(node("a", **gpus), node("b", **gpus), node("c", **gpus))
    field.place("a", pod("x", {"cpu": "2", "memory": "4Gi"}))
    field.place("c", pod("y", {"cpu": "1", "memory": "2Gi", "example.com/gpu": "2"}))
    profile = one(
        pluginConfig=[{"name": FIT, "args": {"scoringStrategy": strategy}}],
        plugins={"score": {"disabled": [{"name": "*"}], "enabled": [{"name": FIT}]}},
    )
    assert chosen(field, profile, pod("p", {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"})) == expected


def test_a_filter_that_is_off(field: Field) -> None:
    """It refuses nobody."""
    field.add(node("a", spec={"taints": [{"key": "x", "effect": "NoSchedule"}]}))
    assert chosen(field, one(), pod("p")) == ""
    profile = one(plugins={"filter": {"disabled": [{"name": "TaintToleration"}]}})
    assert chosen(field, profile, pod("p")) == "a"


def test_ignored_resources(field: Field) -> None:
    """They are not looked at."""
    field.add(node("a"))
    asked = pod("p", {"example.com/foo": "1", "other.com/bar": "1"})
    args = {"ignoredResources": ["example.com/foo"], "ignoredResourceGroups": ["other.com"]}
    assert chosen(field, one(pluginConfig=[{"name": FIT, "args": args}]), asked) == "a"


def test_added_affinity(field: Field) -> None:
    """It binds every pod of the profile."""
    field.add(node("a"), node("b", labels={"disk": "ssd"}))
    terms = [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    profile = one(pluginConfig=[{"name": "NodeAffinity", "args": {"addedAffinity": required}}])
    assert chosen(field, profile, pod("p")) == "b"
    field.snapshot.remove_node("b")
    message = cycle.decide(of(pod("p")), field.snapshot, Terms(profile)).message
    assert "1 node(s) didn't match scheduler-enforced node affinity." in message


def test_default_constraints(field: Field) -> None:
    """A list of one's own takes the place of the system's."""
    for name in "ab":
        field.add(node(name, labels={"rack": name}))
    args = {
        "defaultingType": "List",
        "defaultConstraints": [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}],
    }
    profile = one(pluginConfig=[{"name": "PodTopologySpread", "args": args}])
    field.place("a", pod("x", owner="rs"))
    field.add(node("b", labels={"rack": "b"}, cpu="0"))
    message = cycle.decide(of(pod("p", {"cpu": "1"}, owner="rs")), field.snapshot, Terms(profile)).message
    assert "1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints." in message


def test_preemption_that_is_off(field: Field) -> None:
    """Nobody is pushed out, and nothing is said of it."""
    field.add(node("a", cpu="1")).place("a", pod("x", {"cpu": "1"}))
    profile = one(plugins={"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}})
    decision = cycle.decide(of(pod("p", {"cpu": "1"}, priority=5)), field.snapshot, Terms(profile))
    assert (decision.outcome.node, decision.message) == ("", "0/1 nodes are available: 1 Insufficient cpu.")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"nonsense": 1}, 'unknown field "nonsense"'),
        ({"profiles": [{}, {}]}, r"profiles\[1\].schedulerName: Duplicate value"),
        ({"profiles": [{"plugins": {"filter": {"disabled": [{"name": "No"}]}}}]}, 'plugin "No" does not exist'),
        ({"podInitialBackoffSeconds": 0}, "must be greater than 0"),
        ({"podInitialBackoffSeconds": 20}, "must be greater than or equal to PodInitialBackoffSeconds"),
        ({"extenders": [{"urlPrefix": "http://x"}]}, "extenders: not supported"),
        (
            {"profiles": [{"pluginConfig": [{"name": FIT, "args": {"scoringStrategy": {"type": "Odd"}}}]}]},
            'Unsupported value: "Odd"',
        ),
    ],
)
def test_what_is_refused(fields: Any, complaint: str) -> None:
    """With the place of the mistake."""
    with pytest.raises(ConfigError, match=complaint):
        read(**fields)


def test_another_document_is_refused() -> None:
    """Kind and version are part of it."""
    with pytest.raises(ConfigError, match="this is no KubeSchedulerConfiguration"):
        config.read({"apiVersion": "v1", "kind": "Pod"})
