"""What a scenario may say, and what its author is told of what it may not."""

from pathlib import Path

import pytest

from sampan.meta.wire import yaml
from sampan.sim import faults, scenario, steps
from sampan.sim.reading import Span, Value, Wrong, duration

HEAD = "apiVersion: sim.sampan.dev/v1alpha1\nkind: Scenario\n"

WRONG = {
    "nodes: two": "3: nodes: must be a whole number from 0 on, not 'two'",
    "nodes: 1001": "3: nodes: there may be 1000 nodes at most",
    "nodes: [{name: a}, {name: a}]": "3: nodes[1].name: must be a node's name, and no other node's",
    "nodes: [{name: a, memory: much}]": "3: nodes[0].memory: 'much' is no amount of memory, such as 4Gi",
    "stepps: []": "3: stepps: no such field; there are apiVersion, kind, description, nodes, featureGates",
    "featureGates: {Other: true}": "3: featureGates: unrecognized feature gate: Other; there are: HPA",
    "featureGates: {MaxUnavailableStatefulSet: 'on'}": "3: featureGates: invalid value of MaxUnavailableStatefulSet=on",
    "steps: {}": "3: steps: must be a list, not a mapping",
    "steps: [dance: 1m]": "3: steps[0]: must be one of apply, patch, scale",
    "steps: [apply: none.yaml]": "3: steps[0].apply: there is no file ",
    "steps: [apply: {kind: Pod}]": "3: steps[0].apply: an object must have apiVersion, kind and metadata.name",
    "steps: [advance: soon]": "3: steps[0].advance: must be a duration such as 30s, 1h30m or 250ms, not 'soon'",
    "steps: [advance: 2m..1m]": "3: steps[0].advance: 2m..1m ends before it begins",
    "steps: [{wait: {object: pod/a}, at: 5s}]": "3: steps[0].at: wait goes in order with the other steps",
    "steps: [wait: {object: web}]": "3: steps[0].wait.object: 'web' is not KIND/NAME",
    "steps: [wait: {objects: pods}]": "3: steps[0].wait: say count, cel or both",
    "steps: [wait: {objects: pods, labels: a in b, count: 1}]": "3: steps[0].wait.labels: ",
    "steps: [wait: {object: pod/a, cel: 1 + 1}]": "3: steps[0].wait.cel: ",
    "steps: [patch: {object: pod/a}]": "3: steps[0].patch: say one of merge, strategic, json",
    "steps: [together: [advance: 1m]]": "3: steps[0].together[0]: only apply, patch, scale and delete",
    "faults: [crashNodes: {}]": "3: faults[0]: must be one of crashNode, crashAgent, partition",
    "faults: [crashNode: {node: node-9}]": "3: faults[0].crashNode.node: there is no node 'node-9'; there are node-1",
    "faults: [lateWatches: {}]": "3: faults[0].lateWatches: by is missing",
    "faults: [{errors: {}, sometimes: 200%}]": "3: faults[0].sometimes: must be a chance such as 5%, not '200%'",
    "faults: [{dropWatches: {}, every: 0}]": "3: faults[0].every: must be longer than nothing",
    "programs: [none.py]": "3: programs[0].file: there is no file ",
    "programs: [broken.py]": "3: programs[0]: ",
    "containers: [{of: a, do: {runs: 1}}]": "3: containers[0].do: ",
    "invariants: [{objects: pods, count: 1}]": "3: invariants[0]: name is missing",
}


def load(folder: Path, text: str) -> scenario.Scenario:
    file = folder / "it.yaml"
    file.write_text(text)
    return scenario.load(file)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong(tmp_path: Path, text: str) -> None:
    """The message has the file, the line, the path of the field, and what is allowed there."""
    (tmp_path / "broken.py").write_text("def run(program): pass\n")
    with pytest.raises(scenario.ScenarioError) as error:
        load(tmp_path, HEAD + text + "\n")
    assert str(error.value).startswith(f"{tmp_path / 'it.yaml'}:{WRONG[text]}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Scenario", ":1: apiVersion is missing"),
        ("apiVersion: v1\nkind: Scenario", ":1: apiVersion: must be sim.sampan.dev/v1alpha1"),
        ("- a", ":1: must be a mapping, not a list"),
        ("a: b: c", ": line 1: mapping values are not allowed in this context"),
    ],
)
def test_what_is_no_scenario(tmp_path: Path, text: str, told: str) -> None:
    """It says so."""
    with pytest.raises(scenario.ScenarioError) as error:
        load(tmp_path, text)
    assert str(error.value) == f"{tmp_path / 'it.yaml'}{told}"


def test_a_scenario_written_elsewhere(tmp_path: Path) -> None:
    """It is the same one: its files are found from there, and it says first what people say first."""
    (tmp_path / "there").mkdir()
    (tmp_path / "web.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n")
    (tmp_path / "program.py").write_text("async def run(program): pass\n")
    given = load(tmp_path, HEAD + "steps: [apply: web.yaml]\nprograms: [program.py]\n")
    text = scenario.written(given, tmp_path / "there")
    assert text.splitlines()[:2] == HEAD.splitlines()
    assert yaml.decode(text.encode())["steps"] == [{"apply": "../web.yaml"}]
    assert load(tmp_path / "there", text).programs[0].file.resolve() == tmp_path / "program.py"
    assert load(tmp_path, scenario.written(given)).tree == given.tree


@pytest.mark.parametrize(
    ("written", "seconds"), [("1h30m", 5400), ("2.5s", 2.5), ("250ms", 0.25), ("2d", 172800), (90, 90)]
)
def test_durations(written: object, seconds: float) -> None:
    """Both ways."""
    assert Value(written).seconds() == seconds
    assert Value(duration(seconds)).seconds() == seconds


def test_a_range_of_time() -> None:
    """It has two ends."""
    assert Value("10s..1m").span() == Span(10, 60)
    with pytest.raises(Wrong, match="must be a duration"):
        Value("10s..").span()


def test_every_word_is_known() -> None:
    """Steps and faults have no word in common, so neither can be taken for the other."""
    assert not set(steps.WORDS) & set(faults.WORDS)
