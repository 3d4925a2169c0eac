"""docs/conformance.md names tests; each of them exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_is_named_exists() -> None:
    """A test that is renamed or deleted would leave a line of the table without proof."""
    text = (ROOT / "docs/conformance.md").read_text()
    named = set(re.findall(r"`([a-z_/]+\.py)(?:::(\w+))?`", text))
    assert len(named) > 100
    for path, name in sorted(named):
        file = ROOT / path if (ROOT / path).exists() else ROOT / "tests" / path
        assert file.exists(), path
        functions = {node.name for node in ast.parse(file.read_text()).body if hasattr(node, "name")}
        assert not name or name in functions, f"{path}::{name}"


def test_every_line_of_the_tables_has_a_test() -> None:
    """116 lines of T1 and 26 of T6, and none that is empty anywhere."""
    text = (ROOT / "docs/conformance.md").read_text()
    lines = {
        part.partition(":")[0]: re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]*) \|", part, re.MULTILINE)
        for part in text.split("\n## ")
    }
    assert [len({number for number, _ in lines[table]}) for table in ("T1", "T6")] == [116, 26]
    assert [number for rows in lines.values() for number, tests in rows if "::test_" not in tests] == []
