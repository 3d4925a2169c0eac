"""Health rules by given/when/then documents: tests/cases/health/*.yaml, most of them as a cluster really was."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.platform.health import text
from tests.platform.health import cases

FOLDER = Path(__file__).parents[2] / "cases" / "health"
Tree = dict[str, Any]


def load(path: Path) -> list[Tree]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text(), Loader=loader)  # noqa: S506  (a safe one)
    return found if isinstance(found, list) else [found]


ALL = [(path.stem, case) for path in sorted(FOLDER.glob("*.yaml")) for case in load(path)]


@pytest.mark.parametrize(("name", "case"), ALL, ids=[f"{name}: {case['promise']}" for name, case in ALL])
def test_case(name: str, case: Tree) -> None:
    """What is expected is said, whatever else is."""
    verdict = cases.asked(case)
    assert verdict is not None
    found, then = cases.said(verdict), case["then"]
    assert {key: found[key] for key in then if key != "says"} == {key: then[key] for key in then if key != "says"}
    assert all(words in text.one(verdict) for words in then.get("says", ()))
