"""The language: operators, macros, optionals and conversions give the values that the specification says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cel import types
from sampan.cel.environment import Environment
from sampan.cel.program import EvaluationError
from tests.cel.expressions import PLAIN, VALUES, evaluate

CASES = [
    ("1 + 2 * 3 - 4", 3),
    ("(1 + 2) * 3", 9),
    ("-x + 5", 2),
    ("- -x", 3),
    ("!!b", True),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("-7 % 3", -1),
    ("7.0 / 2.0", 3.5),
    ("1u + 2u", 3),
    ("0xff", 255),
    ("1.5e3", 1500.0),
    ("'a' + \"b\"", "ab"),
    ("'''a\nb'''", "a\nb"),
    (r"'\u00e9\x41\101\n'", "éAA\n"),
    (r"r'\n'", "\\n"),
    (r"b'\xff'", "/w=="),
    ("x > 2 && s == 'hello' || false", True),
    ("x in [1, 2, 3]", True),
    ("'a' in m && !('z' in m)", True),
    ("1 < 1.5 && 2u > 1", True),
    ("self.list[0] == 1.0", True),
    ("b ? 'yes' : 'no'", "yes"),
    ("has(self.a.b) && !has(self.a.c) && !has(self.n.x)", True),
    ("l.all(i, i > 0) && l.exists(i, i == 2) && l.exists_one(i, i == 3)", True),
    ("l.map(i, i * 2)", [6, 2, 4]),
    ("l.map(i, i > 1, i * 2)", [6, 4]),
    ("l.filter(i, i > 1)", [3, 2]),
    ("m.map(k, k)", ["a", "b"]),
    ("m.all(k, v, size(k) == 1 && v > 0)", True),
    ("m.exists(k, v, k == 'b' && v == 2)", True),
    ("m.existsOne(k, v, v == 2)", True),
    ("l.transformList(i, v, i * v)", [0, 1, 4]),
    ("l.transformList(i, v, i > 0, v)", [1, 2]),
    ("m.transformMap(k, v, v + 1)", {"a": 2, "b": 3}),
    ("m.transformMapEntry(k, v, {string(v): k})", {"1": "a", "2": "b"}),
    ("l.map(i, l.map(i, i + 1))", [[4, 2, 3]] * 3),
    ("[1, 2].exists(x, x == 2) && x == 3", True),
    ("cel.bind(y, x * 2, y + y)", 12),
    ("self.?a.?c.orValue(5)", 5),
    ("self.?a.?b.orValue(5)", 1),
    ("self.?a.b.hasValue()", True),
    ("m[?'a'].orValue(0) + m[?'z'].orValue(10)", 11),
    ("l[?9].hasValue()", False),
    ("optional.of(3).optMap(v, v + 1).value()", 4),
    ("optional.none().or(optional.of(1)).value()", 1),
    ("optional.ofNonZeroValue('').hasValue()", False),
    ("m[?'a'].optFlatMap(v, optional.of(v + 1)).value()", 2),
    ("[1, ?optional.none(), ?optional.of(2)]", [1, 2]),
    ("{'a': 1, ?'b': optional.none()}", {"a": 1}),
    ("optional.unwrap([optional.of(1), optional.none()])", [1]),
    ("l.first().value() + l.last().value()", 5),
    ("size(s) + s.size() + size(l) + m.size()", 15),
    ("int('12') + int(3.9) + int(2u)", 17),
    ("double('1.5') + double(1)", 2.5),
    ("string(1) + string(true) + string(1.5) + string(1000000.0)", "1true1.51e+06"),
    ("bool('true')", True),
    ("string(b'ab') + string(bytes('c'))", "abc"),
    ("type(1) == int && type('') == string && type(1.0) == double && type(null) == null_type", True),
    ("type(l) == list && type(m) == map && type(type(1)) == type", True),
    ("type(timestamp('2026-01-01T00:00:00Z')) == google.protobuf.Timestamp", True),
    ("timestamp('2026-02-03T04:05:06.789Z').getMonth()", 1),
    ("timestamp('2026-02-03T04:05:06.789Z').getMilliseconds()", 789),
    ("timestamp('2026-02-03T04:05:06Z').getHours('+02:00')", 6),
    ("timestamp('2026-02-01T00:00:00Z').getDayOfWeek()", 0),
    ("timestamp('2026-02-03T04:05:06Z') - timestamp('2026-02-03T04:05:00Z') == duration('6s')", True),
    ("timestamp('2026-02-03T04:05:06Z') + duration('1h')", "2026-02-03T05:05:06Z"),
    ("duration('1h30m').getMinutes()", 90),
    ("string(duration('1.5s'))", "1.5s"),
    ("s.matches('^h.*o$') && !s.matches('x')", True),
    ("s.startsWith('he') && s.endsWith('lo') && s.contains('ell')", True),
    ("dyn(1) == 1.0 && dyn(1) != 'a' && dyn(1) != dyn(true)", True),
    ("[1, 2] == [1, 2] && {'a': 1} == {'a': 1} && [1] != [2]", True),
    ("self.n == null && self.a != null", True),
    ("dyn(self)['a']['b'] == 1 && dyn({1: {0: 'x'}})[1][0] == 'x'", True),
    ("false && self.nope || true", True),
    ("self.nope.x || true", True),
    ("[dyn(1), dyn('a')].exists(v, v == 'a')", True),
    ("!(dyn(true) in dyn({1: 2})) && !(dyn(0) in dyn({false: 2})) && dyn(1.0) in dyn({1: 2})", True),
    ("!dyn({1: 2})[?dyn(true)].hasValue() && dyn({true: 2})[?dyn(true)].hasValue()", True),
    ("true // a comment", True),
    ("dyn({1: 'a'}) != dyn({true: 'a'}) && dyn({0: 'a'}) != dyn({false: 'a'})", True),
    ("[dyn({1: [{true: 2}]})] != [dyn({1: [{1: 2}]})] && dyn({1: true}) != dyn({1: 1})", True),
    ("dyn({1: 'a'}) == dyn({1u: 'a'}) && dyn({1u: 'a'}) == dyn({1: 'a'}) && dyn({1: 1}) == dyn({1: 1.0})", True),
    ("sets.contains([dyn({1: 2})], [dyn({true: 2})]) || dyn({1: 2}) in [dyn({true: 2})]", False),
    ("size({dyn(1): 'a', dyn(true): 'b', dyn(1u): 'c'})", 3),
    (
        "cel.bind(v, {dyn(1): 'a', dyn(true): 'b', dyn(1u): 'c', 'd': 'd'}, v[1] + v[dyn(true)] + v[dyn(1u)] + v['d'])",
        "abcd",
    ),
    ("cel.bind(v, {dyn(2u): 'a', dyn(true): 'b'}, v[2] + v[dyn(2.0)])", "aa"),
    ("{dyn(1): 'a', dyn(true): 'b'}.map(k, dyn(k) == true)", [False, True]),
    ("{dyn(1): 'a', dyn(true): 'b'}.transformMap(k, v, v + v)[dyn(true)]", "bb"),
    ("{s: 1, 'hello': 2}", {"hello": 2}),
    ("{'a': 1, ?'a': optional.none()}", {}),
]


@pytest.mark.parametrize(("source", "wanted"), CASES)
def test_values(source: str, wanted: object) -> None:
    """An expression has the value that the specification gives it."""
    assert evaluate(source) == wanted


FAILURES = [
    ("self.a.c == 1", "no such key: c"),
    ("self.n.foo", "no such key: foo"),
    ("m['z']", "no such key: z"),
    ("l[5]", "index out of bounds: 5"),
    ("l[-1]", "index out of bounds: -1"),
    ("1 / 0", "division by zero"),
    ("1 % 0", "modulus by zero"),
    ("9223372036854775807 + x", "integer overflow"),
    ("-9223372036854775808 - x", "integer overflow"),
    ("-9223372036854775808 % (x - 4)", "integer overflow"),
    ("1u - 2u", "unsigned integer overflow"),
    ("int('a')", 'strconv.ParseInt: parsing "a": invalid syntax'),
    ("dyn(1) + 'a'", "no such overload"),
    ("dyn(1).startsWith('a')", "no such overload: startsWith(int, string)"),
    ("optional.none().value()", "optional.none() dereference"),
    ("'abc'.matches(s + '(')", "error parsing regexp: missing closing ): `hello(`"),
    ("self.nope && true", "no such key: nope"),
    ("l.all(i, self.nope == i)", "no such key: nope"),
    ("dyn(1).all(i, true)", "got 'int', expected iterable type"),
    ("l.transformMapEntry(i, v, {(i == 0 ? dyn(1) : dyn(1u)): v})", "insert failed: key 1 already exists"),
    ("{dyn(null): 1}", "unsupported key type: null_type"),
    ("{dyn([1]): 1}", "unsupported key type: list"),
    ("{dyn({}): 1}", "unsupported key type: map"),
    ("dyn({1: 2})[dyn(true)]", "no such key: true"),
    ("dyn({true: 2})[dyn(1)]", "no such key: 1"),
    ("dyn({1: 2})[dyn(null)]", "no such key: null"),
    ("dyn({1: 2})[dyn(2.0)]", "no such key: 2"),
    ("dyn({1: 2})[dyn(1.5e30)]", "no such key: 1.5e+30"),
    ("dyn({1: 2})[dyn(b'ab')]", "no such key: [97 98]"),
    ("dyn({1: 2})[dyn({'a': [dyn(true), null, 'b']})]", "no such key: {a: [true, null, b]}"),
    ("dyn({1: 2})[timestamp('2020-01-01T00:00:00Z')]", "no such key: 2020-01-01T00:00:00Z"),
    ("dyn({1: 2})[duration('1h')]", "no such key: 3600s"),
    ("dyn({1: 2})[type(1)]", "no such key: int"),
    ("[?dyn(b)]", "cannot initialize optional list element from non-optional value true"),
    ("{?'a': dyn(null)}", "cannot initialize optional list element from non-optional value null"),
    (
        "[?dyn({'a': optional.of(b), 'b': optional.none()})]",
        "cannot initialize optional list element from non-optional value {a: optional(true), b: optional(none)}",
    ),
]


@pytest.mark.parametrize(("source", "text"), FAILURES)
def test_failures(source: str, text: str) -> None:
    """An evaluation that fails says so in the reference implementation's words."""
    with pytest.raises(EvaluationError) as caught:
        evaluate(source)
    assert str(caught.value) == text


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_division_truncates(left: int, right: int) -> None:
    """Quotient and remainder fit together and round to zero, or the error says why not."""
    environment = Environment({"a": types.INT, "b": types.INT})
    values = {"a": left, "b": right}
    if right == 0 or (left == -(2**63) and right == -1):
        with pytest.raises(EvaluationError):
            environment.compile("a / b").evaluate(values)
        return
    quotient = environment.compile("a / b").evaluate(values)
    assert quotient * right + environment.compile("a % b").evaluate(values) == left
    assert quotient == int(math.copysign(abs(left) // abs(right), left * right)) or abs(left) > 2**52


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists))
def test_equality_is_reflexive(value: object) -> None:
    """A JSON tree equals itself and comes back unchanged."""
    environment = Environment({"v": types.DYN})
    assert environment.compile("v == v").evaluate({"v": value}) is True
    assert environment.compile("v").evaluate({"v": value}) == value


def test_program_is_kept() -> None:
    """The same expression is compiled once."""
    assert PLAIN.compile("x + 41") is PLAIN.compile("x + 41")


def test_uses_names_variables() -> None:
    """A program tells which of the environment's variables occur in it, not the macros' own."""
    assert PLAIN.compile("l.all(x, x > 0) && b").uses == {"l", "b"}


def test_values_are_not_changed() -> None:
    """Evaluation leaves the trees that it was given alone."""
    before = repr(VALUES)
    evaluate("l + [4] == l && self.list + [1] == self.list")
    assert repr(VALUES) == before


def test_absurd_texts() -> None:
    """Texts of absurd length are refused like any other wrong text."""
    environment = Environment({"t": types.STRING})
    for function in ("int", "uint", "double", "duration", "timestamp", "quantity", "ip", "cidr", "semver", "url"):
        for text in ("9" * 5000, "1." * 3000, "9" * 5000 + ".0.0", "-" * 5000, "1" * 5000 + "s"):
            try:
                environment.compile(f"{function}(t)").value({"t": text})
            except EvaluationError as wrong:
                assert str(wrong)  # noqa: PT017


def test_a_message_shows_only_the_beginning_of_a_large_value() -> None:
    """As much as a reader may want."""
    with pytest.raises(EvaluationError) as caught:
        evaluate(f"dyn({{'a': 1}})[dyn(['{'x' * 3000}', 'y'])]")
    assert str(caught.value) == f"no such key: [{'x' * 999}..."
