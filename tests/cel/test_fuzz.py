"""Whatever is written as an expression, it compiles or is refused, and evaluates or fails: nothing else happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cel.environment import CompileError
from sampan.cel.program import Budget, EvaluationError
from sampan.cel.values import plain
from tests.cel.expressions import PLAIN, VALUES

WORDS = [
    *[
        "self",
        "x",
        "f",
        "s",
        "l",
        "m",
        "b",
        "i",
        "a",
        ".a",
        ".b",
        ".n",
        ".name",
        ".list",
        "[0]",
        "['a']",
        "[?0]",
        ".?a",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        "in",
    ],
    *[
        "1",
        "2u",
        "1.5",
        "'a'",
        "b'a'",
        "true",
        "null",
        ".all(",
        ".exists(",
        ".map(",
        ".filter(",
        "i,",
        "k,v,",
        "has(",
        "size(",
        "int(",
        "string(",
        "type(",
        "dyn(",
        "cel.bind(",
    ],
    *[
        ".size()",
        ".orValue(1)",
        ".value()",
        ".hasValue()",
        ".matches('a+')",
        ".startsWith(",
        ".sum()",
        ".max()",
        ".join()",
        ".split(',')",
    ],
    *[
        "optional.of(",
        "optional.none()",
        "duration('1s')",
        "timestamp(",
        "ip('::1')",
        "cidr(",
        "quantity('1')",
        "url(",
        "Object{",
        "a:",
    ],
]

LEAVES = st.sampled_from(
    ["self", "x", "f", "s", "l", "m", "b", "1", "'a'", "1.5", "2u", "true", "null", "[]", "{}", "i"]
)


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.sampled_from(
        [
            "-{}",
            "!{}",
            "dyn({})",
            "size({})",
            "string({})",
            "int({})",
            "double({})",
            "type({})",
            "[{}]",
            "{}.a",
            "{}.?b",
            "has({}.a)",
            "{}[0]",
            "{}['a']",
            "{}.size()",
            "optional.of({})",
            "{}.orValue(1)",
            "{}.sum()",
            "{}.max()",
            "{}.isSorted()",
            "{}.split('a')",
            "duration({})",
            "timestamp({})",
            "ip({})",
            "quantity({})",
            "url({})",
            "semver({})",
            "{}.getHours()",
            "{}.value()",
            "{}.trim()",
            "{}.all(i,true)",
            "{}.map(i,i)",
        ]
    )
    two = st.sampled_from(
        [
            "({}+{})",
            "({}-{})",
            "({}*{})",
            "({}/{})",
            "({}%{})",
            "({}=={})",
            "({}<{})",
            "({}&&{})",
            "({}||{})",
            "({})in({})",
            "[{},{}]",
            "{}.all(i,{})",
            "{}.exists(i,{})",
            "{}.map(i,{})",
            "{}.filter(i,{})",
            "{}[{}]",
            "{}[?{}]",
            "{}.matches({})",
            "{}.format([{}])",
            "{}.join({})",
            "{}.all(k,i,{})",
            "{}.transformMap(i,v,{})",
            "cel.bind(i,{},{})",
            "{}.indexOf({})",
            "{}.contains({})",
            "{}.findAll({})",
            "sets.contains({},{})",
            "{}.orValue({})",
            "{}.transformMapEntry(k,i,{})",
        ]
    )
    return st.one_of(
        st.tuples(one, inner).map(lambda t: t[0].replace("{}", t[1])),
        st.tuples(two, inner, inner).map(lambda t: t[0].replace("{}", t[1], 1).replace("{}", t[2], 1)),
    )


def attempt(source: str) -> None:
    try:
        program = PLAIN.compile(source)
    except CompileError as wrong:
        assert str(wrong).startswith("compilation failed: ERROR: <input>:")  # noqa: PT017
        return
    assert 0 <= program.cost.min <= program.cost.max
    budget = Budget()
    try:
        plain(program.value(VALUES, budget))
    except EvaluationError as wrong:
        assert str(wrong)  # noqa: PT017
    assert budget.remaining > Budget().remaining - 1_000_000


@given(st.text(max_size=40))
def test_any_text(source: str) -> None:
    """Any text."""
    attempt(source)


@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_any_words(words: list[str]) -> None:
    """Any sequence of the language's words."""
    attempt(" ".join(words))


@pytest.mark.slow
@given(st.recursive(LEAVES, grow, max_leaves=6))
def test_any_shape(source: str) -> None:
    """Any shape of expression, of whatever types."""
    attempt(source)


@pytest.mark.slow
@given(st.recursive(LEAVES.map(lambda leaf: f"dyn({leaf})"), grow, max_leaves=5))
def test_any_dynamic_shape(source: str) -> None:
    """Any shape of expression whose types are known only at run time."""
    attempt(source)
