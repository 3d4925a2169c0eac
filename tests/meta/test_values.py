"""Quantities, selectors, names, timestamps, conditions: texts in, values out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.kit.texts import LONGEST
from sampan.meta import conditions, hashing, intstr, names, quantity, selectors, timestamps, validation


@pytest.mark.parametrize(
    ("text", "shown", "whole", "milli"),
    [
        ("0.5", "500m", 1, 500),
        ("1024Mi", "1Gi", 2**30, 2**30 * 1000),
        ("1.5Gi", "1536Mi", 1610612736, 1610612736000),
        ("1000", "1k", 1000, 1_000_000),
        ("1e3", "1e3", 1000, 1_000_000),
        ("-1.5", "-1500m", -2, -1500),
        ("12E", "12E", 2**63 - 1, (2**63 - 1) * 1000),
        ("9000E", "9e21", 2**63 - 1, (2**63 - 1) * 1000),
        ("12Ei", "9223372036854775807", 2**63 - 1, (2**63 - 1) * 1000),
        ("1n", "1n", 1, 1),
        ("1.125", "1.125", 2, 1125),
        ("1.250", "1.250", 2, 1250),
        ("1.000", "1", 1, 1000),
        ("0.125", "125m", 1, 125),
        ("+5", "+5", 5, 5000),
        ("005Ki", "005Ki", 5120, 5_120_000),
        ("8Ki", "8Ki", 8192, 8_192_000),
        ("5.", "5.", 5, 5000),
        ("1E3", "1E3", 1000, 1_000_000),
        ("m", "0", 0, 0),
        (".", "0", 0, 0),
        ("-", "0", 0, 0),
    ],
)
def test_quantity(text: str, shown: str, whole: int, milli: int) -> None:
    """Printed as upstream prints; rounded away from zero."""
    assert (quantity.canonical(text), quantity.to_int(text), quantity.to_milli(text)) == (shown, whole, milli)


def test_sums_of_quantities() -> None:
    """What is computed prints canonically, whatever the texts were; nothing is lost above 64 bits."""
    assert quantity.add("1.125", "0") == "1125m"
    assert quantity.add("9E", "9E") == "18E"
    assert quantity.compare("12E", "13E") == -1
    assert float(quantity.parse("1e999")) == float("inf")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        *((text, "must match the regular expression") for text in ("", "a", "1Z", "1.2.3", "1 Gi", " 1", "1\n", "٣")),
        *((text, "numeric part") for text in ("Pi", "e-10", "-.e-10")),
        *((text, "quantity's suffix") for text in ("1m5", "1K", "1e", "e", "1Ki5", "1e99999999999")),
    ],
)
def test_not_a_quantity(text: str, fault: str) -> None:
    """Refused with a text that says which part is wrong."""
    assert fault in str(quantity.validate(text))


@given(st.integers(-(10**18), 10**18), st.sampled_from(["", "m", "k", "Ki", "M", "u"]))
def test_quantity_round_trip(number: int, unit: str) -> None:
    """The canonical text means the same number and is its own canonical text."""
    shown = quantity.canonical(f"{number}{unit}")
    assert quantity.compare(shown, f"{number}{unit}") == 0
    assert quantity.canonical(shown) == shown


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a!=b", {}, True),
        ("a in (b,c),!d", {"a": "c"}, True),
        ("a in (b,c),!d", {"a": "c", "d": ""}, False),
        ("a notin (b)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("a>5", {"a": "6"}, True),
        ("a>5", {"a": "x"}, False),
        ("a>5", {"a": "9223372036854775808"}, False),
    ],
)
def test_label_selector(text: str, labels: dict[str, str], matches: bool) -> None:  # noqa: FBT001
    """The syntax of the query parameter."""
    assert selectors.parse_labels(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
    ],
)
def test_bad_label_selector(text: str, error: str) -> None:
    """Upstream's words."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        selectors.parse_labels(text)
    assert str(refused.value) == error


def test_selector_structures() -> None:
    """None picks nothing, {} everything."""
    assert not selectors.from_label_selector(None).matches({"a": "b"})
    assert selectors.from_label_selector({}).matches({})
    chosen = selectors.from_label_selector(
        {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}
    )
    assert str(chosen) == "a=b,c in (d,e)"
    assert chosen.equalities() == {"a": "b"}


def test_field_selector() -> None:
    """Escapes, both operators, an absent field is the empty text."""
    chosen = selectors.parse_fields(r"metadata.name=x\,y,spec.nodeName!=n")
    assert chosen.terms == (("metadata.name", "=", "x,y"), ("spec.nodeName", "!=", "n"))
    assert chosen.matches({"metadata.name": "x,y", "spec.nodeName": ""}.__getitem__)
    assert selectors.parse_fields("=,a\\=b").terms == (("a\\", "=", "b"),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        ("b=1,a", "invalid selector: 'b=1,a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=b\\=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_bad_field_selector(text: str, fault: str) -> None:
    """Refused in upstream's words; an equals sign in a value is escaped or wrong."""
    with pytest.raises(ValueError, match="invalid") as refused:
        selectors.parse_fields(text)
    assert str(refused.value) == fault


@given(st.integers(0, 4_000_000_000))
def test_timestamps(second: int) -> None:
    """Text and back."""
    assert timestamps.parse(timestamps.format(second)) == second
    assert timestamps.format_micro(second + 0.5).endswith(".500000Z")


def test_condition_keeps_its_transition_time() -> None:
    """Only a change of status moves it."""
    first = conditions.set([], "Ready", "False", "A", "", 0)
    same = conditions.set(first, "Ready", "False", "B", "", 60)
    other = conditions.set(same, "Ready", "True", "C", "", 120)
    assert [c[0]["lastTransitionTime"][14:16] for c in (first, same, other)] == ["00", "00", "02"]
    assert other[0]["reason"] == "C"


def test_names() -> None:
    """Good ones pass, bad ones are told why; a newline at the end is no better than elsewhere."""
    assert names.dns1123_subdomain("a.b-c") == names.qualified_name("example.com/Name_1") == []
    assert names.dns1123_subdomain("a\n")
    assert names.dns1123_label("a.b") == ["must not contain dots"]
    assert names.as_prefix(names.dns1123_subdomain, "web-") == []
    assert names.label_value("x" * 64) == ["must be no more than 63 bytes"]


def test_small_things() -> None:
    """Percentages and hashes."""
    assert (intstr.scaled("25%", 10, True), intstr.scaled("25%", 10, False), intstr.scaled(3, 10, True)) == (3, 2, 3)
    assert hashing.template_hash({"a": 1, "b": 2}) == hashing.template_hash({"b": 2, "a": 1})
    assert hashing.template_hash({"a": 1}) != hashing.template_hash({"a": 1}, 1)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        *((text, None) for text in ("", " 1", "1 ", "1e5", "0x1", "²", "٣", "1_0", "9" * 5000)),
    ],
)
def test_whole_numbers_of_annotations(text: str, number: int | None) -> None:
    """As Go reads them: plain digits that 64 bits hold."""
    assert intstr.whole(text) == number


def test_metadata_validation() -> None:
    """All causes at once, as upstream words them."""
    obj = {"metadata": {"name": "A_b", "labels": {"a/b/c": "x"}, "finalizers": ["orphan", "foregroundDeletion"]}}
    causes = validation.new_meta(obj, True, names.dns1123_subdomain)
    assert [c.field for c in causes] == [
        "metadata.name",
        "metadata.namespace",
        "metadata.labels",
        "metadata.finalizers",
    ]
    old = {"metadata": {"name": "a", "uid": "1", "resourceVersion": "1"}}
    new = {"metadata": {"name": "a", "uid": "2", "resourceVersion": "1"}}
    assert [c.text for c in validation.changed_meta(new, old)] == [
        'metadata.uid: Invalid value: "2": field is immutable'
    ]


def test_no_text_is_remembered_that_may_be_of_megabytes() -> None:
    """Of names that were refused, too, so that nobody can fill the memory with them."""
    remembered = (
        names._QUALIFIED_NAMES,
        selectors._BY_LABELS,
        selectors._BY_FIELDS,
        quantity._PARSED,
        timestamps._READ,
    )
    long = "a" * 100_000
    assert names.qualified_name(long)
    assert names.dns1123_label(long)
    assert selectors.parse_labels(f"app in ({',b' * 1000})").requirements
    assert selectors.parse_fields(f"{long}=b").terms
    assert quantity.validate("1" * 100_000)
    assert not timestamps.is_valid(long)
    assert max(len(text) for texts in remembered for text in texts) <= LONGEST


def test_few_moments_are_remembered() -> None:
    """One more comes with each second: what is remembered of them is full after minutes, not after hours."""
    for second in range(3600):
        timestamps.parse(f"2026-01-01T{second // 60 % 24:02}:{second // 1440:02}:{second % 60:02}Z")
    assert len(timestamps._READ) <= 1024
