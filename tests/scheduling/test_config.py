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
        profiles=[
            {"schedulerName": "default-scheduler"},
            {"schedulerName": "bare", "plugins": {"score": {"disabled": [{"name": "*"}]}}},
        ],
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


def test_weights() -> None:
    """As listed; a plugin that is listed without one weighs 1, whatever its default."""
    listed = {"enabled": [{"name": "InterPodAffinity", "weight": 7}, {"name": "TaintToleration"}]}
    found = one(plugins={"score": {**listed, "disabled": [{"name": "*"}]}})
    assert [weight for _, weight in found.fields] == [0, 7]
    assert [weight for _, _, weight in found.signs] == [1]
    assert not found.scores
    rest = one(plugins={"multiPoint": {"enabled": [{"name": "NodeResourcesFit", "weight": 4}]}})
    assert sorted(weight for _, weight in rest.scores) == [1, 4]


def test_several_points_at_once() -> None:
    """What multiPoint leaves out can be let in at one point; what is out at one point is in at the others."""
    necessary = [{"name": name} for name in ("PrioritySort", "DefaultBinder")]
    off = {"disabled": [{"name": "*"}], "enabled": necessary}
    found = one(plugins={"multiPoint": off, "filter": {"enabled": [{"name": "NodeAffinity"}]}})
    assert (len(found.filters), found.signs, found.fields, found.preempts) == (1, [], [], False)
    assert found.enabled == frozenset()
    without = one(plugins={"filter": {"disabled": [{"name": "InterPodAffinity"}]}})
    assert len(without.fields) == 2


def test_plugins_that_know_other_objects() -> None:
    """Each of those for volumes can be left out."""
    found = one(plugins={"filter": {"disabled": [{"name": "VolumeBinding"}, {"name": "VolumeZone"}]}})
    assert found.enabled == {"VolumeRestrictions", "NodeVolumeLimits", "DynamicResources"}


def test_extenders_of_a_document(field: Field) -> None:
    """In order, the ignorable ones last; what only they look at, the scheduler does not."""
    found = read(
        extenders=[
            {"urlPrefix": "http://one", "filterVerb": "filter", "ignorable": True, "httpTimeout": "1m30s"},
            {
                "urlPrefix": "https://two",
                "prioritizeVerb": "rate",
                "weight": 3,
                "enableHTTPS": True,
                "nodeCacheCapable": True,
                "managedResources": [{"name": "example.com/fpga", "ignoredByScheduler": True}],
            },
        ]
    )
    two, first = found.extenders
    assert (first.url, first.filter_verb, first.seconds, first.is_ignorable) == ("http://one", "filter", 90, True)
    assert (two.weight, two.seconds, two.is_caching, two.resources) == (3, 5, True, {"example.com/fpga"})
    field.add(node("a"))
    asked = pod("p", {"example.com/fpga": "1"})
    assert chosen(field, found.profiles["default-scheduler"], asked) == "a"
    assert two.is_interested(of(asked))
    assert not two.is_interested(of(pod("q")))


def test_the_share_of_nodes_to_score_is_accepted() -> None:
    """For all profiles and for one; all nodes are looked at in any case."""
    assert read(percentageOfNodesToScore=30, profiles=[{"percentageOfNodesToScore": 0}]) is not None


PROFILE, ARGS = "profiles[0]", "profiles[0].pluginConfig[0].args"


def args(name: str, **given: Any) -> Any:
    return {"profiles": [{"pluginConfig": [{"name": name, "args": given}]}]}


def plugins(**points: Any) -> Any:
    return {"profiles": [{"plugins": points}]}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"nonsense": 1}, 'strict decoding error: unknown field "nonsense"'),
        ({"profiles": [{"more": 1}]}, 'strict decoding error: unknown field "profiles[0].more"'),
        (args(FIT, more=1), f'strict decoding error: unknown field "{ARGS}.more"'),
        (
            {"profiles": [{}, {"schedulerName": "a"}, {"schedulerName": "a"}]},
            (
                "[profiles[0].schedulerName: Required value, "
                "profiles[2].schedulerName: Duplicate value: profiles[1].schedulerName]"
            ),
        ),
        (
            plugins(filter={"disabled": [{"name": "No"}]}),
            f'{PROFILE}.plugins.filter.disabled[0]: Invalid value: "No": plugin "No" does not exist',
        ),
        (
            plugins(filter={"enabled": [{"name": "ImageLocality"}]}),
            'initializing profiles: plugin "ImageLocality" does not extend Filter plugin',
        ),
        (
            plugins(multiPoint={"disabled": [{"name": "*"}], "enabled": [{"name": "PrioritySort"}]}),
            (
                "initializing profiles: at least one bind plugin is needed for profile with scheduler name "
                '"default-scheduler"'
            ),
        ),
        (
            plugins(queueSort={"disabled": [{"name": "*"}]}),
            (
                "initializing profiles: only one queue sort plugin required for profile with scheduler name "
                '"default-scheduler", but got 0'
            ),
        ),
        (
            plugins(filter={"enabled": [{"name": "EBSLimits"}]}),
            (
                f'{PROFILE}.plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version '
                f'"{config.API_VERSION}" (KubeSchedulerConfiguration is version "{config.API_VERSION}")'
            ),
        ),
        ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (
            {"percentageOfNodesToScore": 101},
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            {"profiles": [{"percentageOfNodesToScore": -1}]},
            f"{PROFILE}.percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]",
        ),
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"podInitialBackoffSeconds": 20},
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            args(FIT, scoringStrategy={"type": "Odd"}),
            (
                f'{ARGS}.scoringStrategy.type: Unsupported value: "Odd": supported values: "LeastAllocated", '
                '"MostAllocated", "RequestedToCapacityRatio"'
            ),
        ),
        (
            args(FIT, scoringStrategy={"resources": [{"name": "cpu", "weight": 101}]}),
            (
                f"{ARGS}.scoringStrategy.resources[0].weight: Invalid value: 101: "
                "resource weight of cpu not in valid range (0, 100]"
            ),
        ),
        (
            args(FIT, scoringStrategy={"type": "RequestedToCapacityRatio"}),
            (
                f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Required value: "
                "must be specified when type is RequestedToCapacityRatio"
            ),
        ),
        (
            args("InterPodAffinity", hardPodAffinityWeight=101),
            f"{ARGS}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            args("PodTopologySpread", defaultConstraints=[{"topologyKey": "z", "maxSkew": 0}]),
            (
                f'[{ARGS}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty, '
                f"{ARGS}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), "
                f"{ARGS}.defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty]"
            ),
        ),
        (
            args("DefaultPreemption", minCandidateNodesPercentage=0, minCandidateNodesAbsolute=0),
            (
                f"[{ARGS}.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as "
                f"minCandidateNodesAbsolute, {ARGS}.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the "
                "same time as minCandidateNodesPercentage]"
            ),
        ),
        (
            args("NodeResourcesBalancedAllocation", resources=[{"name": "cpu", "weight": 2}]),
            f"{ARGS}.resources[0].weight: Invalid value: 2: must be 1",
        ),
        (
            args("VolumeBinding", bindTimeoutSeconds=-1),
            f"{ARGS}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            args("DynamicResources", bindingTimeout="10ms"),
            f'{ARGS}.bindingTimeout: Invalid value: "10ms": must be at least 1 second',
        ),
        (
            {"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "rate"}]},
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            {"extenders": [{"bindVerb": "b"}, {"bindVerb": "b"}]},
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
        ),
        (
            {"extenders": [{"managedResources": [{"name": "cpu"}]}]},
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
    ],
)
def test_what_is_refused(fields: Any, complaint: str) -> None:
    """With the place of the mistake, in upstream's words."""
    with pytest.raises(ConfigError) as found:
        read(**fields)
    assert str(found.value) == complaint


def test_another_document_is_refused() -> None:
    """Kind and version are part of it."""
    with pytest.raises(ConfigError, match="this is no KubeSchedulerConfiguration"):
        config.read({"apiVersion": "v1", "kind": "Pod"})
