"""Expressions that do not compile are refused with the texts that the reference server prints."""

import subprocess
import sys

import pytest

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from tests.cel.expressions import PLAIN

START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
CASES = [
    ("y + 1", "1:1: undeclared reference to 'y' (in container '')"),
    ("x + y", "1:5: undeclared reference to 'y' (in container '')"),
    ("foo(1)", "1:4: undeclared reference to 'foo' (in container '')"),
    ("s.foo()", "1:6: undeclared reference to 'foo' (in container '')"),
    ("x + 'a'", "1:3: found no matching overload for '_+_' applied to '(int, string)'"),
    ("s.startsWith(1)", "1:13: found no matching overload for 'startsWith' applied to 'string.(int)'"),
    ("x == null", "1:3: found no matching overload for '_==_' applied to '(int, null)'"),
    ("x == 1.0", "1:3: found no matching overload for '_==_' applied to '(int, double)'"),
    ("l == m", "1:3: found no matching overload for '_==_' applied to '(list(int), map(string, int))'"),
    ("x && b", "1:3: found no matching overload for '_&&_' applied to '(int, bool)'"),
    ("b ? 1 : 'a'", "1:3: found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
    ("x.foo", "1:2: type 'int' does not support field selection"),
    ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
    ("l.all(i, i)", "1:10: expected type 'bool' but found 'int'"),
    (
        "x.all(i, true)",
        "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
    ),
    ("has(x)", "1:5: invalid argument to has() macro"),
    ("l.all(1, true)", "1:7: argument must be a simple name"),
    ("s.matches('(?=a)')", "1:11: invalid matches argument"),
    ("duration('x')", "1:10: invalid duration argument"),
    ("timestamp('x')", "1:11: invalid timestamp argument"),
    ("Object{a: 1}", "1:7: undeclared reference to 'Object' (in container '')"),
    ("1 +", f"1:4: Syntax error: mismatched input '<EOF>' expecting {START}"),
    ("", f"1:1: Syntax error: mismatched input '<EOF>' expecting {START}"),
    ("x )", "1:3: Syntax error: extraneous input ')' expecting <EOF>"),
    ("x # y", "1:3: Syntax error: token recognition error at: '#'"),
    ("for", "1:1: reserved identifier: for"),
    ("9223372036854775808", "1:1: invalid int literal"),
]


@pytest.mark.parametrize(("source", "text"), CASES)
def test_texts(source: str, text: str) -> None:
    """The error names the place and says what is wrong."""
    with pytest.raises(CompileError) as caught:
        PLAIN.compile(source)
    assert str(caught.value).splitlines()[0] == f"compilation failed: ERROR: <input>:{text}"


def test_shows_line_and_caret() -> None:
    """The line of the source follows, with a caret under the place; all errors are told."""
    with pytest.raises(CompileError) as caught:
        PLAIN.compile("x > 1 &&\n  y && z")
    assert str(caught.value) == (
        "compilation failed: ERROR: <input>:2:3: undeclared reference to 'y' (in container '')\n"
        " |   y && z\n"
        " | ..^\n"
        "ERROR: <input>:2:8: undeclared reference to 'z' (in container '')\n"
        " |   y && z\n"
        " | .......^"
    )


def test_undefined_field() -> None:
    """A field that an object type lacks is undefined."""
    held = types.object_of("object", {"a": types.INT})
    with pytest.raises(CompileError, match="<input>:1:5: undefined field 'b'"):
        Environment({"self": held}).compile("self.b > 1")


def test_result_type() -> None:
    """An expression of another type than wanted is refused by name; dyn is no bool."""
    with pytest.raises(CompileError, match=r"^must evaluate to bool but got int$"):
        PLAIN.compile("x", (types.BOOL,))
    with pytest.raises(CompileError, match=r"^must evaluate to bool but got dyn$"):
        PLAIN.compile("self.a", (types.BOOL,))
    with pytest.raises(CompileError, match=r"^must evaluate to one of \[string null_type\] but got int$"):
        PLAIN.compile("x", (types.STRING, types.NULL))
    assert PLAIN.compile("x > 1", (types.BOOL,)).result_type == types.BOOL


@pytest.mark.parametrize("source", ["(" * 5000 + "1" + ")" * 5000, "[" * 3000, "-(" * 3000, "1" + " + 1" * 20000])
def test_deep_nesting(source: str) -> None:
    """Nesting without end is refused, not a crash."""
    with pytest.raises(CompileError, match="expression recursion limit exceeded: 250"):
        PLAIN.compile(source)


def test_long_chains() -> None:
    """A long chain of && is no nesting."""
    assert PLAIN.compile(" && ".join(["x > 1"] * 3000)).evaluate({"x": 2}) is True


def test_loads_nothing_before_first_use() -> None:
    """Importing the environment leaves the language itself for the first compile."""
    code = "import sys, sampan.cel.environment; print('sampan.cel.checker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_size_limit() -> None:
    """An expression of absurd length is refused before it is read."""
    with pytest.raises(CompileError) as caught:
        PLAIN.compile("1" + " " * 100_000)
    assert str(caught.value) == (
        "compilation failed: ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000"
    )
