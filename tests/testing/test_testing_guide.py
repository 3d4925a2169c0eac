"""What the guide to testing and the README show works as it stands there: the examples are projects, which are run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.testing import case, report, setups, traces  # noqa: F401 (runs inside this process share what is loaded)
from tests.testing import plugged

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
GUIDE = PROJECT / "docs" / "guide" / "testing.md"
README = PROJECT / "README.md"
TEST = re.compile(r"^```python\n(import pytest\n.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```\w+\n# ([\w/.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given in plugged.ENVIRONMENT.items():
        monkeypatch.setenv(name, given)


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """The files of the guide."""
    for name, text in BLOCK.findall(GUIDE.read_text()):
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return pytester.path


@pytest.mark.usefixtures("project")
def test_the_examples(pytester: pytest.Pytester) -> None:
    """All pass but the one that is shown to fail, which tells what the guide says that it tells."""
    result = pytester.runpytest_inprocess(*plugged.ARGUMENTS, *plugged.ASYNCIO)
    result.assert_outcomes(passed=21, failed=1)
    (shown,) = SHOWN.findall(GUIDE.read_text())
    known = [_nameless(line) for line in result.outlines]
    wanted = [_nameless(line) for line in shown.splitlines() if line.strip(" .")]
    ends = tuple(line.removesuffix(" ...") for line in wanted if line.endswith(" ..."))
    assert ends == tuple(end for end in ends if any(line.startswith(end) for line in known))
    assert [line for line in wanted if line not in known] == [f"{end} ..." for end in ends]


@pytest.mark.parametrize("command", ["-m unittest case_web", "case_web.py", "script.py"])
def test_programs(project: Path, command: str) -> None:
    """They end well."""
    subprocess.run([sys.executable, *command.split()], cwd=project, capture_output=True, check=True)


@pytest.mark.usefixtures("project")
def test_the_readme(pytester: pytest.Pytester) -> None:
    """Its test passes with a Deployment beside it, and fails while no replica is replaced yet."""
    (shown,) = TEST.findall(README.read_text())
    Path("web.yaml").rename("deployment.yaml")
    Path("pytest.ini").unlink()
    test = pytester.makepyfile(test_readme=shown)
    pytester.runpytest_inprocess(*plugged.ARGUMENTS, test).assert_outcomes(passed=1)
    test.write_text(shown.replace("minutes=10", "minutes=2"))
    pytester.runpytest_inprocess(*plugged.ARGUMENTS, test).assert_outcomes(failed=1)


def _nameless(line: str) -> str:
    """Without the ends of generated names."""
    return re.sub(r"-[bcdfghjklmnpqrstvwxz0-9]{6,10}\b(-\w{5}\b)?", "-...", line)
