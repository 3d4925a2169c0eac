"""What the guide to devices shows works as it stands there."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "devices.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """Each behind as many empty lines as it has lines before it, so that a failure names the right one."""
    guide = GUIDE.read_text()
    return ["\n" * guide.count("\n", 0, m.start(2)) + m[2] for m in BLOCK.finditer(guide) if m[1] == language]


@pytest.mark.parametrize("number", range(2))
def test_the_examples(number: int) -> None:
    """Each runs with the objects that are shown before it."""
    (manifest,) = blocks("yaml")
    examples = blocks("python")
    assert len(examples) == 2
    exec(compile(examples[number], str(GUIDE), "exec"), {"MANIFEST": manifest})  # noqa: S102
