"""A play: the same seed the same bytes, whatever is broken is told with its story, and the smallest scenario is found."""

from pathlib import Path
from typing import Any

import pytest

from sampan.sim import outcome as outcomes
from sampan.sim import play, scenario, timeline
from sampan.sim.outcome import Outcome
from sampan.sim.scenario import Scenario
from sampan.sim.shrink import shrink
from tests.sim.test_deployment import outcome, start

EXAMPLES = Path(__file__).parents[2] / "examples" / "sim"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
READY = {"wait": {"object": "pod/web", "is": "Ready"}}


def made(folder: Path, **given: Any) -> Scenario:
    return scenario.of_tree({"apiVersion": scenario.API_VERSION, "kind": scenario.KIND, **given}, folder / "it.yaml")


def played(folder: Path, **given: Any) -> Outcome:
    return play.play(made(folder, **given), 1)


def failure(folder: Path, **given: Any) -> tuple[str, str]:
    found = played(folder, **given).failure
    assert found is not None
    return found.rule, found.text


@pytest.mark.slow
def test_the_same_seed_is_the_same_history() -> None:
    """Byte for byte, in other processes and under other hash seeds; another seed is another one."""
    script = "import sys; from pathlib import Path; from sampan.sim import play, scenario, timeline; "
    script += "o = play.play(scenario.load(Path(sys.argv[1])), int(sys.argv[2])); "
    script += "print(o.digest, *timeline.lines(o), sep='\\n')"
    file = str(EXAMPLES / "mixed.yaml")
    runs = [start(["-c", script, file, seed], hashes) for seed, hashes in (("5", "0"), ("5", "1"), ("6", "0"))]
    first, second, other = map(outcome, runs)
    assert len(first.splitlines()) > 100
    assert first == second
    assert first.splitlines()[0] != other.splitlines()[0]


def test_another_seed_is_another_order(tmp_path: Path) -> None:
    """What the seed decides is not only names."""
    many = [{**CONFIG, "metadata": {"name": name}} for name in "abcdef"]
    given = made(tmp_path, nodes=0, steps=[{"together": [{"apply": one} for one in many]}])
    orders = {
        tuple(change.key for change in found.changes[found.first :] if change.resource == "configmaps")
        for found in (play.play(given, seed) for seed in range(5))
    }
    assert len(orders) > 1


def test_a_timeline(tmp_path: Path) -> None:
    """Steps, faults and what came of them, in the order of time; the middle of a long one can be left out."""
    steps = [{"apply": POD}, READY, {"delete": {"object": "pod/web"}}, {"wait": {"object": "pod/web", "is": "gone"}}]
    found = played(tmp_path, steps=steps, jitter=0, faults=[{"latency": {"by": 0}, "for": "1s"}])
    assert found.failure is None
    told = [" ".join(line.split()[1:]) for line in timeline.lines(found)]
    assert [line for line in told if line.startswith(">")] == [
        "> apply pod/web",
        "> wait for pod/web: Ready",
        "> delete pod/web",
        "> wait for pod/web: gone",
    ]
    assert [line.removeprefix("pod/web ") for line in told if line.startswith("pod/web")] == [
        "made",
        "goes to node-1",
        "running, ready",
        "being deleted",
        "succeeded",
        "gone",
    ]
    assert told.index("pod/web running, ready") < told.index("> delete pod/web") < told.index("pod/web being deleted")
    assert any(line.startswith("! latency") for line in told)
    assert any(line.startswith("! end of latency") for line in told)
    short = timeline.lines(found, 6)
    assert len(short) == 7
    assert short[2].strip() == f"... {len(told) - 6} lines left out"


def test_a_wait_that_is_not_met(tmp_path: Path) -> None:
    """It says what is missing, after what time, and what had happened to the object."""
    found = played(tmp_path, nodes=0, steps=[{"apply": POD}, {"wait": {**READY["wait"], "within": "2m"}}]).failure
    assert found is not None
    assert (found.rule, found.text) == (outcomes.WAIT, "pod/web: Ready: not after 2m: Ready is not told")
    assert found.story.startswith("pod/web in default\nphase: Pending\nPodScheduled: False Unschedulable")


def test_what_else_may_be_broken(tmp_path: Path) -> None:
    """An expectation, a step, an invariant in CEL, and the program under test."""
    (tmp_path / "program.py").write_text("async def run(program):\n    raise ValueError('mine')\n")
    expect = {"expect": {"objects": "pods", "count": 2}}
    assert failure(tmp_path, steps=[expect]) == (outcomes.EXPECT, "pods: number 2: there are 0: none")
    patch = {"patch": {"object": "pod/none", "merge": {}}}
    assert failure(tmp_path, steps=[patch])[0] == outcomes.STEP
    few = {"name": "few", "objects": "configmaps", "labels": "app=web", "cel": "objects.size() == 0"}
    config = {**CONFIG, "metadata": {"name": "a", "labels": {"app": "web"}}}
    rule, text = failure(tmp_path, steps=[{"apply": config}], invariants=[few])
    assert (rule, text.splitlines()[0]) == ("few", "it does not hold for a")
    rule, text = failure(tmp_path, programs=["program.py"], steps=[{"advance": 1}])
    assert rule == outcomes.PROGRAM
    assert text.startswith("program-1 fails\n")
    assert text.endswith("ValueError: mine")


def test_a_program_is_started_again(tmp_path: Path) -> None:
    """After an error of the API and after it was killed, with globals as new."""
    (tmp_path / "program.py").write_text(
        "lives = 0\n"
        "async def run(program):\n"
        "    global lives\n"
        "    lives += 1\n"
        "    data = {'lives': str(lives), 'at': str(round(program.now() % 1000))}\n"
        "    made = {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'seen', 'namespace': 'default'}}\n"
        "    await program.client.create(program.kind('cm'), {**made, 'data': data})\n"
    )
    steps = [{"advance": "10s"}, {"expect": {"object": "cm/seen", "cel": "object.data.lives == '1'"}}]
    found = played(tmp_path, nodes=0, programs=["program.py"], steps=steps, faults=[])
    assert found.failure is None
    kill = [{"killProgram": {"program": "program"}, "at": "3s"}]
    found = played(tmp_path, nodes=0, programs=["program.py"], steps=steps, faults=kill)
    ends = [note.text for note in found.notes if "ends" in note.text]
    assert ends
    assert set(ends) == {'! program-1 ends: configmaps "seen" already exists'}


@pytest.mark.parametrize(
    "fault",
    [
        {"crashNode": {"node": "node-1"}, "at": "5s", "for": "1m"},
        {"partition": {}, "at": "5s", "for": "1m"},
        {"freeze": {}, "at": "5s", "for": "20s"},
        {"crashControlPlane": {}, "every": "10s..30s", "for": "5s"},
        {"duplicateControllers": {"late": "5s"}, "at": "1s", "for": "30s"},
        {"jumpClock": {"by": "-1h"}, "at": "5s"},
    ],
)
def test_faults(tmp_path: Path, fault: dict[str, Any]) -> None:
    """Each befalls the cluster as the timeline says, and is over in the end."""
    steps = [{"apply": POD}, READY, {"advance": "2m"}]
    found = played(tmp_path, nodes=2, steps=steps, faults=[fault])
    assert found.failure is None
    assert any(note.text.startswith("! ") for note in found.notes)


@pytest.mark.slow
def test_shrinking(tmp_path: Path) -> None:
    """What is not needed for the same failure goes: faults, steps, objects, nodes and most of the time."""
    others = [{**CONFIG, "metadata": {"name": name}} for name in ("b", "c")]
    given = made(
        tmp_path,
        nodes=2,
        containers=[{"of": "web", "do": {"start": "1s"}}],
        steps=[
            {"apply": others[0]},
            {"apply": [CONFIG, *others]},
            {"advance": "1m..2m"},
            {"expect": {"objects": "configmaps", "count": 4}},
            {"delete": {"object": "configmap/b"}, "at": "3m"},
        ],
        faults=[{"crashNode": {}, "at": "5s..10s", "for": "1m"}, {"dropWatches": {}}],
        invariants=[{"name": "no a", "object": "cm/a", "is": "gone"}],
    )
    failed = play.play(given, 3).failure
    assert failed is not None
    assert failed.rule == "no a"
    heard: list[int] = []
    found = shrink(given, 3, failed, heard.append)
    assert {name: found.scenario.tree.get(name) for name in ("nodes", "steps", "faults", "containers")} == {
        "nodes": 0,
        "steps": [{"apply": [CONFIG]}],
        "faults": None,
        "containers": None,
    }
    assert found.failure.rule == "no a"
    assert heard == list(range(1, found.plays + 1))
    again = play.play(made(tmp_path, **dict(list(found.scenario.tree.items())[2:])), 3).failure
    assert again == found.failure


def test_a_defect_of_the_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where it happened."""

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(play, "carry_out", broken)
    rule, text = failure(tmp_path, nodes=0, steps=[{"apply": CONFIG}])
    assert rule == outcomes.CRASH
    assert text.endswith("ZeroDivisionError: planted")


@pytest.mark.slow
def test_nodes_that_are_well_stay_ready(tmp_path: Path) -> None:
    """Nothing happens for minutes, and heartbeats take as long as all messages do."""
    found = played(tmp_path, nodes=2, jitter="50ms", steps=[{"advance": "1m"}, {"advance": "1h"}])
    assert found.failure is None
    assert not [line for line in timeline.lines(found) if "ready" in line]
