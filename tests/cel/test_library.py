"""The libraries that Kubernetes adds to CEL answer as its documentation says."""

import pytest

from sampan.cel import types
from sampan.cel.environment import Environment
from sampan.cel.program import Authorizer, Budget, Check, CostExceeded, Decision, EvaluationError
from tests.cel.expressions import evaluate

CASES = [
    # Lists.
    ("[1, 2, 2, 3].isSorted() && !['b', 'a'].isSorted() && [].isSorted()", True),
    ("[1, 3].sum() == 4 && [1.0, 3.0].sum() == 4.0 && ['1m', '1s'].map(d, duration(d)).sum() == duration('61s')", True),
    ("[1, 3].max() == 3 && ['b', 'a'].min() == 'a'", True),
    ("[1, 2, 2, 3].indexOf(2) == 1 && ['a', 'b', 'b', 'c'].lastIndexOf('b') == 2 && [1].indexOf(9) == -1", True),
    ("self.list.sum() == 6 && self.list.max() == 3", True),
    # Strings.
    ("'hello'.charAt(4) + 'hello'.substring(1, 3) + 'hello'.substring(4)", "oelo"),
    ("'hello mellow'.indexOf('ello') + 'hello mellow'.indexOf('ello', 2) + 'hello mellow'.lastIndexOf('ello')", 15),
    ("'hello mellow'.lastIndexOf('ello', 6)", 1),
    ("'TacoCat'.lowerAscii() + 'TacoCÆt'.upperAscii()", "tacocatTACOCÆT"),
    ("'hello hello'.replace('he', 'we') + 'hello hello'.replace('he', 'we', 1)", "wello wellowello hello"),
    ("'a,b,c'.split(',') + 'a,b,c'.split(',', 2) + 'ab'.split('')", ["a", "b", "c", "a", "b,c", "a", "b"]),
    ("'  trim\\n '.trim() + ['x', 'y'].join('-') + ['x', 'y'].join()", "trimx-yxy"),
    ("strings.quote('a\"b\\n')", '"a\\"b\\n"'),
    (
        "'%s %d %.1f %b %o %x %X %e'.format([dyn('a'), 1, 2.25, 5, 8, 255, 255, 1500.0])",
        "a 1 2.2 101 10 ff FF 1.500000e+03",
    ),
    ("'%s %s'.format([dyn([1, 2]), {'b': 1, 'a': true ? 2 : 1}])", "[1, 2] {a: 2, b: 1}"),
    ("'100%%'.format([])", "100%"),
    ("'%s-%d %s'.format(['a', 1, [2, true]])", "a-1 [2, true]"),
    # Sets.
    ("sets.contains([1, 2, 3], [2, 1]) && !sets.contains([1], [2])", True),
    ("sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])", True),
    # Regular expressions.
    ("'abc 123'.find('[0-9]*') + 'abc 123'.find('[0-9]+')", "123"),
    ("'123 abc 456'.findAll('[0-9]+') + '123 abc 456'.findAll('[0-9]+', 1)", ["123", "456", "123"]),
    # URLs.
    ("isURL('https://example.com:80/') && isURL('/path') && !isURL('../relative') && !isURL('https://a:b:c/')", True),
    ("isURL('mailto:a@b.c') && url('mailto:a@b.c').getHost() == ''", True),
    ("url('https://example.com:80/path').getScheme() + url('/path').getScheme()", "https"),
    ("url('https://example.com:80/').getHost() + url('https://[::1]:80/').getHostname()", "example.com:80::1"),
    ("url('https://example.com:80/').getPort() + url('https://example.com/').getPort()", "80"),
    ("url('https://example.com/path with spaces/').getEscapedPath()", "/path%20with%20spaces/"),
    ("url('https://e.com/p?k1=a&k2=b&k2=c').getQuery()", {"k1": ["a"], "k2": ["b", "c"]}),
    # Addresses.
    ("isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256') && !isIP(':::1') && !isIP('::ffff:1.2.3.4')", True),
    ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')", True),
    ("ip('127.0.0.1').family() + ip('::1').family()", 10),
    ("ip('0.0.0.0').isUnspecified() && ip('::1').isLoopback() && ip('224.0.0.1').isLinkLocalMulticast()", True),
    ("ip('ff02::1').isLinkLocalMulticast() && ip('fe80::1').isLinkLocalUnicast()", True),
    ("ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", True),
    ("string(ip('2001:DB8::1')) + string(cidr('10.1.0.0/16').ip())", "2001:db8::110.1.0.0"),
    ("isCIDR('192.168.0.0/16') && !isCIDR('192.168.0.0/33') && !isCIDR('1.2.3.4')", True),
    ("cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('10.0.0.0/8').containsIP('11.0.0.1')", True),
    ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", True),
    ("cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24') && cidr('::/64').prefixLength() == 64", True),
    # Quantities.
    ("isQuantity('1.3Gi') && isQuantity('-2k') && !isQuantity('200K') && !isQuantity('Three')", True),
    ("quantity('50k').add(quantity('20')) == quantity('50020') && quantity('50k').sub(20) == quantity('49980')", True),
    ("quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50M').isLessThan(quantity('50Mi'))", True),
    ("quantity('50000000G').isInteger() && !quantity('9999999999999999999999999999999999999G').isInteger()", True),
    ("quantity('50k').asInteger() + quantity('-5').sign()", 49999),
    ("quantity('50.703k').asApproximateFloat()", 50703.0),
    # Formats.
    ("!format.dns1123Label().validate('my-label').hasValue() && format.dns1123Label().validate('A').hasValue()", True),
    ("!format.dns1123LabelPrefix().validate('prefix-').hasValue()", True),
    ("format.named('dns1123Subdomain').hasValue() && !format.named('unknown').hasValue()", True),
    ("format.uuid().validate('x').value()", ["does not match the UUID format"]),
    ("format.byte().validate('!').value() + format.date().validate('x').value()", ["invalid base64", "invalid date"]),
    ("format.datetime().validate('2021-01-01T00:00:00Z').hasValue()", False),
    ("format.uri().validate('x').value()", ['parse "x": invalid URI for request']),
    # Versions.
    ("isSemver('1.0.0') && isSemver('0.1.0-alpha.1') && !isSemver('v1.0') && isSemver('v1.0', true)", True),
    ("semver('1.2.3').compareTo(semver('2.0.0')) + semver('1.2.3').compareTo(semver('0.1.2'))", 0),
    ("semver('1.2.3').major() * 100 + semver('1.2.3').minor() * 10 + semver('1.2.3').patch()", 123),
    (
        "semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.10')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc'))",
        True,
    ),
    ("semver('01.01.01', true) == semver('1.1.1') && semver('1.0.0+a') == semver('1.0.0+b')", True),
    ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
]


@pytest.mark.parametrize(("source", "wanted"), CASES)
def test_values(source: str, wanted: object) -> None:
    """A library's function has the value that its documentation gives."""
    assert evaluate(source) == wanted


FAILURES = [
    ("[].map(i, 1).max()", "max called on empty list"),
    ("'abc'.charAt(4)", "index out of range: 4"),
    ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
    ("'%d'.format(['a'])", "error during formatting: decimal clause can only be used on integers, was given string"),
    ("url('../x')", 'URL parse error during conversion from string: parse "../x": invalid URI for request'),
    (
        "ip('1.2.3')",
        'IP Address "1.2.3" parse error during conversion from string: ParseAddr("1.2.3"): unable to parse IP',
    ),
    ("quantity('1.5').asInteger()", "cannot convert value to integer"),
    ("semver('1.0')", "No Major.Minor.Patch elements found"),
    ("semver('v1.0.0')", 'Invalid character(s) found in major number "v1"'),
]


@pytest.mark.parametrize(("source", "text"), FAILURES)
def test_failures(source: str, text: str) -> None:
    """A library's function says what it could not do."""
    with pytest.raises(EvaluationError) as caught:
        evaluate(source)
    assert str(caught.value) == text


class TestAuthorizer:
    """`authorizer` asks the callback."""

    environment = Environment({"authorizer": types.AUTHORIZER})

    def ask(self, source: str, resource: Check | None = None) -> tuple[object, list[Check]]:
        asked: list[Check] = []

        def decide(check: Check) -> Decision:
            asked.append(check)
            return Decision(check.verb == "get", "because", "" if check.verb != "fail" else "broken")

        program = self.environment.compile(source)
        return program.evaluate({"authorizer": Authorizer(decide, resource)}, Budget()), asked

    def test_resource(self) -> None:
        """All of a resource's attributes arrive."""
        value, asked = self.ask(
            "authorizer.group('apps').resource('deployments').subresource('scale').namespace('ns').name('web')"
            ".fieldSelector('a=b').labelSelector('c=d').check('get').allowed()"
        )
        assert value is True
        assert asked == [
            Check("get", "", "apps", "deployments", "scale", "ns", "web", field_selector="a=b", label_selector="c=d")
        ]

    def test_path(self) -> None:
        """A path is asked for as a non-resource."""
        value, asked = self.ask("authorizer.path('/healthz').check('post').reason()")
        assert (value, asked) == ("because", [Check("post", "/healthz")])

    def test_service_account(self) -> None:
        """Another identity may be asked about, if its name is one."""
        value, asked = self.ask("authorizer.serviceAccount('ns', 'bot').path('/x').check('fail').error()")
        assert (value, asked[0].user) == ("broken", "system:serviceaccount:ns:bot")
        with pytest.raises(EvaluationError, match="Invalid service account namespace"):
            self.ask("authorizer.serviceAccount('a b', 'bot').path('/x').check('get').errored()")

    def test_request_resource(self) -> None:
        """The request's own resource stands ready."""
        value, asked = self.ask("authorizer.requestResource.check('get').allowed()", Check(resource="pods"))
        assert (value, asked) == (True, [Check("get", resource="pods")])

    def test_empty(self) -> None:
        """Nothing is no resource and no path."""
        for source, text in (("path(' ')", "path must"), ("group('').resource('')", "resource must")):
            with pytest.raises(EvaluationError, match=f"{text} not be empty"):
                self.ask(f"authorizer.{source}.check('get').allowed()")

    def test_two_checks_an_expression(self) -> None:
        """Checks are so dear that a third goes over the limit."""
        one = "authorizer.path('/x').check('get').allowed()"
        assert self.ask(f"{one} && {one}")[0] is True
        with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
            self.ask(f"{one} && {one} && {one}")
