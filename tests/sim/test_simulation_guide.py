"""What the guide to simulation shows is what happens."""

import re
from pathlib import Path

import pytest

from sampan.sim import faults, play, scenario, search
from tests.sim import guide

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = guide.ROOT / "examples" / "sim"


@pytest.mark.slow
def test_commands(tmp_path: Path) -> None:
    """Each command prints what stands there; where it does not any more, `python tests/sim/guide.py` writes it anew."""
    text = guide.GUIDE.read_text()
    assert text.count("$ sampan sim run") >= 4
    assert guide.timeless(text) == guide.timeless(guide.filled(text, tmp_path))


@pytest.mark.slow
def test_the_race_and_its_mending(tmp_path: Path) -> None:
    """The code that is shown to be wrong is the example's; with the other in its place all seeds hold."""
    wrong, mended, _ = PYTHON.findall(guide.GUIDE.read_text())
    program = (EXAMPLES / "queue_controller.py").read_text()
    assert wrong in program
    call = "program.client.create(pods, worker(queue))"
    assert call in program
    file = tmp_path / "planted-race.yaml"
    file.write_text((EXAMPLES / "planted-race.yaml").read_text())
    (tmp_path / "queue_controller.py").write_text(
        mended + program.partition('"""\n\n')[2].replace(call, "ensure(program, pods, queue)")
    )
    assert [found for found in search.search(scenario.load(file), range(1, 61)) if found.failure] == []


def test_the_words(tmp_path: Path) -> None:
    """The scenario of all words is one, and holds; so is the rule in Python."""
    words, rules = YAML.findall(guide.GUIDE.read_text())
    *_, function = PYTHON.findall(guide.GUIDE.read_text())
    file = tmp_path / "words.yaml"
    (tmp_path / "rules.py").write_text(function)
    file.write_text(words)
    assert play.play(scenario.load(file), 1).failure is None
    file.write_text(words.partition("invariants:")[0] + rules)
    assert [rule.name for path in scenario.load(file).rule_files for rule in play.rules_of(path)] == ["few_pods"]
    assert play.play(scenario.load(file), 1).failure is None


def test_every_fault_is_explained() -> None:
    """The table has each fault that a scenario may have."""
    table = guide.GUIDE.read_text().partition("| fault |")[2].partition("\n\n")[0]
    assert {word for word in faults.WORDS if word not in table} == set()
