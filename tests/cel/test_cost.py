"""Costs: estimates from a schema's bounds, charges at run time, and the limits of both."""

from typing import Any

import pytest

from sampan.cel import types
from sampan.cel.environment import Environment
from sampan.cel.program import (
    ESTIMATE_LIMIT,
    Budget,
    BudgetExceeded,
    CostExceeded,
    EvaluationError,
    Lazy,
    excess_text,
)
from tests.cel.expressions import of_schema

STRING = {"type": "string"}
MOST = 2**64 - 1


def spec(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def estimate(node: dict[str, Any], source: str) -> int:
    return Environment({"self": of_schema(node)}).compile(source).cost.max


def array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return spec(a={"type": "array", "items": items} | more)


CASES = [
    (spec(x={"type": "integer"}), "self.x > 1", 3),
    (spec(x={"type": "integer"}), "self.x > 1 && self.x < 5", 6),
    (spec(s={"type": "string", "maxLength": 10}), "self.s == 'abc'", 3),
    (spec(s={"type": "string", "maxLength": 10}), "self.s.startsWith('abcdefghijk')", 4),
    (spec(s={"type": "string", "maxLength": 10}), "self.s.contains('abc')", 6),
    (spec(s={"type": "string", "maxLength": 10}), "self.s.matches('abcde')", 12),
    (spec(s={"type": "string", "enum": ["aa", "bbb"]}), "self.s + self.s == 'x'", 6),
    (array({"type": "integer"}, maxItems=10), "self.a.all(x, x > 0)", 53),
    (array({"type": "integer"}, maxItems=10), "self.a.exists(x, x > 0)", 63),
    (array({"type": "integer"}, maxItems=10), "self.a.map(x, x + 1).size() > 0", 155),
    (array({"type": "integer"}, maxItems=10), "self.a.filter(x, x > 1).size() == 1", 165),
    (array({"type": "integer"}, maxItems=10), "self.a.all(x, self.a.all(y, x == y))", 563),
    (array({"type": "string", "maxLength": 5}, maxItems=10), "self.a.exists(x, x == 'abc')", 63),
    (array({"type": "integer"}, maxItems=10), "5 in self.a", 12),
    (
        spec(m={"type": "object", "maxProperties": 4, "additionalProperties": STRING}),
        "self.m.all(k, k.startsWith('a'))",
        23,
    ),
    (spec(x={"type": "integer"}), "has(self.x)", 1),
    (spec(), "cel.bind(v, [1, 2], v.all(x, x > 1))", 32),
]


@pytest.mark.parametrize(("node", "source", "most"), CASES)
def test_estimates(node: dict[str, Any], source: str, most: int) -> None:
    """The most that an expression can cost follows from the schema's bounds."""
    assert estimate(node, source) == most


# Estimates that are known from the reference implementation: (expression, least, most).
KNOWN = [
    ("[1, 2, 3, 4, 5].sum()", 15, 15),
    ("[1.0, 2.0, 3.0, 4.0, 5.0].max()", 15, 15),
    ("[uint(1), uint(2), uint(3), uint(4), uint(5)].isSorted()", 20, 20),
    ("[duration('1s'), duration('2s'), duration('3s'), duration('4s'), duration('5s')].min()", 20, 20),
    ("'01234567890123456789012345678901234567890123456789'.indexOf('123')", 5, 5),
    ("url('https:://kubernetes.io/').getScheme()", 4, 4),
    ("ip('192.168.0.1')", 2, 2),
    ("ip('192.168.0.1').family()", 3, 3),
    ("ip('192.168.0.1') == ip('192.168.0.1')", 5, 5),
    ("ip.isCanonical('192.168.0.1')", 3, 3),
    ("cidr('192.168.0.0/16').prefixLength()", 3, 3),
    ("cidr('192.168.0.0/16').containsCIDR(cidr('192.0.0.0/30'))", 7, 11),
    ("cidr('192.168.0.0/16').containsCIDR('192.0.0.0/30')", 7, 11),
    ("cidr('192.168.0.0/16').containsIP(ip('192.169.0.1'))", 5, 8),
    ("cidr('192.168.0.0/16').containsIP('192.0.0.1')", 4, 7),
    ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", 3, 3),
    ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 7, 9),
    ("strings.quote('ABCDEFGHIJ abcdefghij') == strings.quote('ABCDEFGHIJ abcdefghij')", 7, 11),
    ("'abc 123 def 123'.replace('123', '456')", 3, 3),
    ("'abc 123 def 123'.split(' ', 1)", 3, 3),
    ("'abc 123 def 123'.substring(5, 8)", 2, 2),
    ("'abc 123 def 123'.findAll('123')", 2, 2),
    ("jsonpatch.escapeKey('abc/def~ abc/def~')", 2, 2),
    ("quantity('50k').add(20).sub(quantity('100k')).asInteger() > 0", 6, 6),
    ("quantity('200M') == quantity('0.2G') && quantity('0.2G') == quantity('200M')", 3, 6),
    ("format.named('dns1123Subdomain').value().validate('my-name')", 34, 34),
    ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29),
    ("sets.equivalent([1, 1], [1])", 25, 25),
    ("!sets.intersects([1], [])", 22, 22),
    ("semver('1234.56789012345.67890123456789')", 4, 4),
    ("semver('1.0.0').isLessThan(semver('1.1.0'))", 3, 3),
    ("{'a': 1, 'b': 2}.all(k, v, v > 0)", 37, 41),
    ("{'a': 1, 'b': 2}.exists(k, v, v > 0)", 39, 43),
    ("{'a': 1, 'b': 2}.existsOne(k, v, v > 0)", 38, 40),
    ("{'a': 1, 'b': 2}.transformMap(k, v, v + 1)", 71, 71),
    ("{'a': 1, 'b': 2}.transformMap(k, v, v < 5, v + 1)", 67, 75),
    ("{'a': 1, 'b': 2}.transformMapEntry(k, v, v < 5, {k: v + 1})", 67, 135),
    ("[1, 2].transformList(i, v, v + 1)", 49, 49),
    ("[1, 2].transformList(i, v, v < 5, v + 1)", 27, 53),
    ("authorizer.path('/healthz').check('get').allowed()", 350003, 350003),
    ("authorizer.group('').resource('pods').fieldSelector('" + "x" * 71 + "')", 1821, 1821),
]


@pytest.mark.parametrize(("source", "least", "most"), KNOWN)
def test_known_estimates(source: str, least: int, most: int) -> None:
    """Library calls are estimated as the reference implementation estimates them."""
    program = Environment({"authorizer": types.AUTHORIZER}).compile(source)
    assert (program.cost.min, program.cost.max) == (least, most)


# Charges at run time that are known likewise; a list or map of constants alone is made once, at no charge.
CHARGED = [
    ("url('https:://kubernetes.io/').getScheme()", 4),
    ("ip('2001:db8:3333:4444:5555:6666:7777:8888').isLoopback()", 5),
    ("cidr('192.168.0.0/16').containsIP('192.169.0.1')", 5),
    ("cidr('192.168.0.0/16').containsCIDR('192.0.0.0/30')", 7),
    ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 9),
    ("'abc 123 def 123'.split(' ')", 3),
    ("'abc 123 def 123'.find('123')", 2),
    ("quantity('50k').sub(20) == quantity('49980')", 4),
    ("format.named('dns1123Subdomain').value().validate('my-name')", 17),
    ("format.named('dns1123Label').value().validate('my-name')", 10),
    ("semver('1234.56789012345.67890123456789')", 4),
    ("{'a': 1, 'b': 2}.all(k, v, v > 0)", 41),
    ("{'a': 1, 'b': 2}.existsOne(k, v, v > 0)", 40),
    ("{'a': 1, 'b': 2}.transformMap(k, v, v < 5, v + 1)", 75),
    ("{'a': 1, 'b': 2}.transformMapEntry(k, v, {k: v + 1})", 131),
]


@pytest.mark.parametrize(("source", "cost"), CHARGED)
def test_known_charges(source: str, cost: int) -> None:
    """Calls are charged as the reference implementation charges them."""
    budget = Budget()
    Environment({}).compile(source).value({}, budget)
    assert Budget().remaining - budget.remaining == cost


def test_request_size_bounds_what_has_no_bound() -> None:
    """Without maxItems, as many items count as fit into a request: the longer each must be, the fewer."""
    numbers = estimate(array({"type": "integer"}), "self.a.all(x, x > 0)")
    assert numbers == (3145728 - 2) // 2 * 5 + 3
    named = {"type": "object", "required": ["name"], "properties": {"name": STRING}}
    objects = estimate(array(named), "self.a.all(x, has(x.name))")
    assert objects == (3145728 - 2) // (2 + 4 + 2 + 4 + 1) * 4 + 3
    assert estimate(array(STRING), "self.a.all(x, x.contains('abcd'))") > ESTIMATE_LIMIT
    assert estimate(spec(s={"type": "string", "format": "date-time"}), "self.s == self.s") == 8


def test_quadratic_rules_are_over_the_limit() -> None:
    """A rule over all pairs of an unbounded list exceeds the limit; a bound saves it."""
    rule = "self.a.all(x, self.a.exists(y, x == y))"
    cost = estimate(array(STRING), rule)
    assert cost > ESTIMATE_LIMIT
    assert excess_text("estimated rule cost", cost, ESTIMATE_LIMIT) == (
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert estimate(array({"type": "string", "maxLength": 10}, maxItems=100), rule) < ESTIMATE_LIMIT


def test_excess_factors() -> None:
    """Close to the limit the factor has more digits."""
    assert "factor of 1.250000x (" in excess_text("x", 125, 100)
    assert "factor of 2.5x (" in excess_text("x", 250, 100)


def test_cardinality() -> None:
    """How often a value fits into a request follows from how short it can be."""
    assert types.max_cardinality(of_schema({"type": "integer"})) == 3145728 // 2


def test_run_time_limit() -> None:
    """An expression that goes on for too long is cancelled, even where errors are absorbed."""
    environment = Environment({"l": types.list_of(types.INT)})
    program = environment.compile("l.all(x, l.all(y, l.all(z, x + y + z >= 0))) || true")
    with pytest.raises(CostExceeded, match=r"^operation cancelled: actual cost limit exceeded$"):
        program.evaluate({"l": list(range(200))}, Budget())


def test_shared_budget() -> None:
    """Expressions that share a budget use it up together."""
    program = Environment({"l": types.list_of(types.INT)}).compile("l.all(x, x >= 0)")
    budget = Budget(1000)
    program.evaluate({"l": list(range(100))}, budget)
    assert budget.remaining == 1000 - 502
    with pytest.raises(BudgetExceeded, match="running out of cost budget, no further validation rules will be run"):
        program.evaluate({"l": list(range(100))}, budget)


def test_string_growth_is_charged() -> None:
    """Doubling a string again and again runs into the limit before memory does."""
    source = "s"
    for _ in range(40):
        source = f"cel.bind(d, {source}, d + d)"
    program = Environment({"s": types.STRING}).compile(f"({source}).size() > 0")
    with pytest.raises(CostExceeded):
        program.evaluate({"s": "x" * 1000}, Budget())


def test_list_growth_is_charged() -> None:
    """Doubling a list again and again runs into the limit before memory does."""
    source = "l"
    for _ in range(40):
        source = f"cel.bind(d, {source}, d + d)"
    program = Environment({"l": types.list_of(types.INT)}).compile(f"({source}).size() > 0")
    with pytest.raises(CostExceeded):
        program.evaluate({"l": [1] * 1000}, Budget())


def test_lazy_variables() -> None:
    """Variables are evaluated at their first use, once; a failure names the variable."""
    environment = Environment({"object": types.DYN})
    programs = {}
    for name, source in (("a", "object.x + 1"), ("b", "variables.a * 2"), ("bad", "object.nope")):
        programs[name] = environment.compile(source)
        environment = environment.declare(name, programs[name].result_type)
    activation: dict[str, Any] = {"object": {"x": 1}}
    budget = Budget()
    activation["variables"] = Lazy(programs, activation, budget)
    assert environment.compile("variables.b + variables.a").evaluate(activation, budget) == 6
    with pytest.raises(EvaluationError, match=r'^composited variable "bad" fails to evaluate: no such key: nope$'):
        environment.compile("variables.bad == 1").evaluate(activation, budget)
    assert environment.compile("has(variables.b)").evaluate(activation, budget) is True
