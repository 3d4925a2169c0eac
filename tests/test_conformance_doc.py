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
    """116 lines of T1, 94 of T2 (those of T3 and T5 beside them say so), 178 of T3 and 26 of T6; none without a test."""
    text = (ROOT / "docs/conformance.md").read_text()
    lines = {
        part.partition(":")[0]: re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]*) \|(.*)", part, re.MULTILINE)
        for part in text.split("\n## ")
    }
    own = {
        table: [number for number, _, beside in rows if not re.match(r" T[35]\b", beside)]
        for table, rows in lines.items()
    }
    assert [len(own[table]) for table in ("T1", "T2", "T3", "T6")] == [116, 94, 178, 26]
    assert all(numbers == sorted(set(numbers), key=int) for numbers in own.values())
    assert [number for rows in lines.values() for number, tests, _ in rows if "::test_" not in tests] == []
