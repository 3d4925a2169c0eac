"""What the guide to testing shows works as it stands there: its examples are a project, which is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.testing import case, report, setups, traces  # noqa: F401 (runs inside this process share what is loaded)
from tests.testing import plugged

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "testing.md"
BLOCK = re.compile(r"^```\w+\n# ([\w/.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """The files of the guide."""
    for name, text in BLOCK.findall(GUIDE.read_text()):
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return pytester.path


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_the_examples(pytester: pytest.Pytester) -> None:
    """All pass but the one that is shown to fail, which tells what the guide says that it tells."""
    result = pytester.runpytest_inprocess(*plugged.ARGUMENTS)
    result.assert_outcomes(passed=17, failed=1)
    (shown,) = SHOWN.findall(GUIDE.read_text())
    known = [_nameless(line) for line in result.outlines]
    missing = [line for line in shown.splitlines() if line.strip(" .") and _nameless(line) not in known]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("command", ["-m unittest case_web", "case_web.py", "script.py"])
def test_programs(project: Path, command: str) -> None:
    """They end well."""
    subprocess.run([sys.executable, *command.split()], cwd=project, capture_output=True, check=True)


def _nameless(line: str) -> str:
    """Without the ends of generated names."""
    return re.sub(r"-[bcdfghjklmnpqrstvwxz0-9]{6,10}\b(-\w{5}\b)?", "-...", line)
