"""`sampan sim run`: what a person reads, and what a script goes by."""

from pathlib import Path

import pytest

from sampan.cli import main

Capture = pytest.CaptureFixture[str]
HEAD = "apiVersion: sim.sampan.dev/v1alpha1\nkind: Scenario\nnodes: 0\n"
CONFIG = "- apply: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
RARE = """invariants:
- {name: no seven, object: cm/a, cel: '!object.metadata.uid.startsWith("7")'}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "it.yaml"


def sim(capsys: Capture, *words: object) -> tuple[int, str, str]:
    code = main.run(["sim", "run", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_that_holds(file: Path, capsys: Capture) -> None:
    """The timeline, and a last line with the seed; exit code 0, nothing on stderr."""
    file.write_text(f"{HEAD}steps:\n{CONFIG}")
    code, out, err = sim(capsys, file, "--seed", 3)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].endswith("> apply configmap/a")
    assert lines[-1].startswith("seed 3: held; ")
    assert sim(capsys, file, "--seeds", "1..3", "--jobs", 1)[:2][0] == 0


def test_one_that_fails(file: Path, capsys: Capture) -> None:
    """Rule, what is wrong, and the story of the object; exit code 1."""
    file.write_text(f"{HEAD}steps:\n{CONFIG}- expect: {{object: cm/a, cel: has(object.data)}}\n")
    code, out, _ = sim(capsys, file)
    assert code == 1
    assert "\nseed 1 violates expect:\n    cm/a: has(object.data): it does not hold\n" in out
    assert "\nthe story of configmap/a in default:\n" in out
    assert out.splitlines()[-1].startswith("seed 1: VIOLATED; ")


def test_a_search(file: Path, tmp_path: Path, capsys: Capture) -> None:
    """Ends at the first seed that fails, and the scenario that is written is smaller and fails with that seed."""
    file.write_text(f"{HEAD}steps:\n{CONFIG}- advance: 1h\n- expect: {{objects: cm, labels: a=b, count: 1}}\n")
    small = tmp_path / "small.yaml"
    code, out, _ = sim(capsys, file, "--seeds", "4..9", "--jobs", 1, "--write", small)
    assert code == 1
    assert out.startswith("seed 4 violates expect\n0 of 1 seeds held; ")
    assert out.endswith(f"written to {small}\n\nsee it happen: sampan sim run {small} --seed 4\n")
    text = small.read_text()
    assert text.startswith("# Breaks with seed 4: expect.\napiVersion: sim.sampan.dev/v1alpha1\nkind: Scenario\n")
    assert "advance" not in text
    assert sim(capsys, small, "--seed", 4)[0] == 1
    code, out, _ = sim(capsys, file, "--seeds", "4..6", "--jobs", 1, "--all", "--no-shrink")
    assert code == 1
    assert "\n0 of 3 seeds held; " in out
    assert "smallest" not in out


@pytest.mark.slow
def test_processes(file: Path, capsys: Capture) -> None:
    """Several find the same as one, in the same order."""
    file.write_text(f"{HEAD}steps:\n{CONFIG}{RARE}")
    found = [sim(capsys, file, "--seeds", "1..40", "--all", "--no-shrink", "--jobs", jobs) for jobs in (1, 2)]
    first, second = ([line for line in out.splitlines() if "seeds held" not in line] for _, out, _ in found)
    assert found[0][0] == found[1][0] == 1
    assert 1 <= sum(line.endswith("violates no seven") for line in first) < 40
    assert first == second


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "{file}: No such file or directory"),
        ("steps: [dance: {}]\n", "{file}:4: steps[0]: must be one of apply, patch, scale, delete, wait, expect, "),
        ("steps:\n- apply: none.yaml\n", "{file}:5: steps[0].apply: there is no file "),
    ],
)
def test_what_is_no_scenario(file: Path, capsys: Capture, text: str | None, told: str) -> None:
    """One line on stderr, exit code 2."""
    if text is not None:
        file.write_text(HEAD + text)
    code, out, err = sim(capsys, file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"sampan sim: {told.format(file=file)}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--seed x", "'x' is no seed: use a whole number from 0 on"),
        ("--seeds 3..1", "'3..1' is no range of seeds: use for example 1..1000"),
        ("--seeds 1..2 --seed 3", "not allowed with argument --seeds"),
        ("--seeds 1..2 --seed 1", "not allowed with argument --seeds"),
        ("--jobs 0", "'0' is no number of processes"),
    ],
)
def test_wrong_usage(file: Path, capsys: Capture, words: str, told: str) -> None:
    """It says what would be right."""
    code, out, err = sim(capsys, file, *words.split())
    assert (code, out) == (2, "")
    assert told in err


def test_no_folder_to_write_to(file: Path, tmp_path: Path, capsys: Capture) -> None:
    """That is told before hours of searching."""
    file.write_text(HEAD)
    assert sim(capsys, file, "--seeds", "1..2", "--write", tmp_path / "none" / "a.yaml")[::2] == (
        2,
        f"sampan sim: {tmp_path / 'none'}: there is no such folder\n",
    )
