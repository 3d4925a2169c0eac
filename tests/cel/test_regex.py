"""Regular expressions are RE2's: the same matches as Python's where both agree, and linear time always."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cel import regex

MATCHES = [
    ("abc", "xabcx", True),
    ("^abc$", "xabc", False),
    ("^(a|b)*$", "abab", True),
    ("(?i)HeLLo", "hello", True),
    ("a.c", "a\nc", False),
    ("(?s)a.c", "a\nc", True),
    ("(?m)^b$", "a\nb\nc", True),
    (r"\bfoo\b", "a foo b", True),
    (r"\Bfoo", "a foo", False),
    (r"^\d{2,3}$", "1234", False),
    (r"^[[:alpha:]_]+$", "ab_c", True),
    (r"^[^a-c]+$", "xyz", True),
    (r"^[a\]\-]+$", "]a-", True),
    (r"^\pL+$", "äβ", True),
    (r"^\p{Greek}+$", "αβ", True),
    (r"^\P{Lu}$", "A", False),
    (r"\x41\x{1F600}", "A😀", True),
    (r"\Qa.b\E+", "a.bb", True),
    (r"^(?P<name>a)(?:b)(?<other>c)$", "abc", True),
    (r"\Aab\z", "ab", True),
    ("", "", True),
    ("x*", "y", True),
    ("a{0}b", "b", True),
    ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-name-1", True),
    ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-name-", False),
    ("a{,2}", "a{,2}", True),
]


@pytest.mark.parametrize(("pattern", "text", "wanted"), MATCHES)
def test_search(pattern: str, text: str, wanted: bool) -> None:
    """A pattern is found in a text, or not."""
    assert regex.compiled_or_error(pattern).search(text) is wanted


ERRORS = [
    ("(a", "missing closing ): `(a`"),
    ("a)", "unexpected ): `a)`"),
    ("[a", "missing closing ]: `[a`"),
    ("*a", "missing argument to repetition operator: `*`"),
    ("a**", "invalid nested repetition operator: `**`"),
    ("a{1001}", "invalid repeat count: `{1001}`"),
    ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
    ("(?<=a)", "invalid or unsupported Perl syntax: `(?<=`"),
    (r"(a)\1", r"invalid escape sequence: `\1`"),
    ("[z-a]", "invalid character class range: `z-a`"),
    ("a\\", "trailing backslash at end of expression"),
    ("(?P<a", "invalid named capture: `(?P<a`"),
    (r"\pX", r"invalid character class range: `\pX`"),
    ("((a{1000}){1000}){1000}", "expression too large: `((a{1000}){1000}){1000}`"),
    ("((){1000}){1000}", "expression too large: `((){1000}){1000}`"),
    ("(" * 300 + ")" * 300, "expression nests too deeply"),
]


@pytest.mark.parametrize(("pattern", "text"), ERRORS)
def test_errors(pattern: str, text: str) -> None:
    """What RE2 does not take is refused as Go refuses it."""
    with pytest.raises(ValueError) as caught:
        regex.compiled_or_error(pattern)
    assert str(caught.value).startswith(f"error parsing regexp: {text}")


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", "^", "$", r"\b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{1,2}", "{2}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("ab c\n", max_size=8))
def test_agrees_with_python(pattern: str, text: str) -> None:
    """Searching agrees with Python's own engine, whose `$` also matches before a last newline."""
    theirs = re.search(pattern.replace("$", r"\Z"), text, re.ASCII)
    assert regex.compiled_or_error(pattern).search(text) is (theirs is not None)


@given(PATTERNS.filter(lambda p: "*" not in p.replace("(?:a)*", "").replace("(?:b)*", "")), st.text("ab ", max_size=8))
def test_finds_what_python_finds(pattern: str, text: str) -> None:
    """The leftmost match is the one that Perl's rules choose."""
    theirs = re.search(pattern.replace("$", r"\Z"), text, re.ASCII)
    mine = regex.compiled_or_error(pattern).find(text)
    if theirs is None or mine is None:
        assert theirs is None
        assert mine is None
    else:
        assert mine[0] == theirs.start()


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "(a+)+$b", "(.*)*x", "(a|aa)+c", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_no_catastrophe(pattern: str) -> None:
    """Patterns that ruin backtracking engines take linear time here: the number of states stays small."""
    compiled = regex.compiled_or_error(pattern)
    assert compiled.search("a" * 20_000) is False
    assert compiled.find("a" * 2_000) is None
    assert compiled.states < 50


def test_find_all() -> None:
    """Matches do not overlap; empty ones do not follow directly upon another match."""
    assert list(regex.compiled("a*").find_all("baaac")) == ["", "aaa", ""]
    assert list(regex.compiled("[0-9]+").find_all("1 22 333", 2)) == ["1", "22"]
    assert list(regex.compiled("x").find_all("abc")) == []
    assert regex.compiled("a|ab").find("xab") == (1, 2)
    assert regex.compiled("a+?").find("aaa") == (0, 1)
