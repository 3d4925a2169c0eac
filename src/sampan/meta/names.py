"""Names: which texts may name objects, labels, keys and ports, with Kubernetes' own words when not.

Every function returns a list of what is wrong, empty when the text is fine.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""

import re
from collections.abc import Callable

from sampan.kit.texts import Texts

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PERCENT = "[0-9]+%"

_MAX_LABEL = 63
_MAX_SUBDOMAIN = 253
_MAX_PORT_NAME = 15

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_C_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of "
    "alphanumeric characters or '_'"
)


def regex_error(text: str, pattern: str, *examples: str) -> str:
    """A complaint with examples and the pattern, punctuated as upstream does."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def max_length(limit: int) -> str:
    """The complaint about a text that is too long."""
    return f"must be no more than {limit} bytes"


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _checker(pattern: str, limit: int, complaint: str, *examples: str) -> Callable[[str], list[str]]:
    compiled = re.compile(pattern)

    def errors(text: str) -> tuple[str, ...]:
        found = []
        if limit and _length(text) > limit:
            found.append(max_length(limit))
        if compiled.fullmatch(text) is None:
            found.append(regex_error(complaint, pattern, *examples))
        return tuple(found)

    known = Texts(errors, 512)
    return lambda text: list(known[text])


_label = _checker(_LABEL, _MAX_LABEL, _LABEL_TEXT, "my-name", "123-abc")
dns1123_subdomain = _checker(_SUBDOMAIN, _MAX_SUBDOMAIN, _SUBDOMAIN_TEXT, "example.com")
dns1035_label = _checker(_LABEL_1035, _MAX_LABEL, _LABEL_1035_TEXT, "my-name", "abc-123")
label_value = _checker(f"({_QUALIFIED})?", _MAX_LABEL, _LABEL_VALUE_TEXT, "MyValue", "my_value", "12345")
c_identifier = _checker(_C_IDENTIFIER, 0, _C_IDENTIFIER_TEXT, "my_name", "MY_NAME", "MyName")
percent = _checker(
    _PERCENT, 0, "a valid percent string must be a numeric string followed by an ending '%'", "1%", "93%"
)


def dns1123_label(text: str) -> list[str]:
    """A namespace, a container: 63 bytes of lower case letters, digits and inner dashes."""
    errors = _label(text)
    if errors and re.fullmatch(_SUBDOMAIN, text) and "." in text:
        return [*errors[:-1], "must not contain dots"]
    return errors


def _qualified_name(text: str) -> tuple[str, ...]:
    errors: list[str] = []
    prefix, slash, name = text.rpartition("/")
    if slash and "/" in prefix:
        head = f"a valid label key {_QUALIFIED_TEXT}"
        tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return (regex_error(head, _QUALIFIED, "MyName", "my.name", "123-abc") + tail,)
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        errors.extend(f"prefix part {error}" for error in dns1123_subdomain(prefix))
    if not name:
        errors.append("name part must be non-empty")
    elif _length(name) > _MAX_LABEL:
        errors.append(f"name part {max_length(_MAX_LABEL)}")
    if re.fullmatch(_QUALIFIED, name) is None:
        errors.append("name part " + regex_error(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return tuple(errors)


def qualified_name(text: str) -> list[str]:
    """A label key, an annotation key, a finalizer: an optional DNS prefix, a slash, a name."""
    return list(_QUALIFIED_NAMES[text])


_QUALIFIED_NAMES = Texts(_qualified_name, 1024)


def path_segment(text: str) -> list[str]:
    """A name that is only bound to fit into a URL path (RBAC objects)."""
    if text in {".", ".."}:
        return [f"may not be '{text}'"]
    return [f"may not contain '{mark}'" for mark in "/%" if mark in text]


def config_map_key(text: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data."""
    errors = []
    if _length(text) > _MAX_SUBDOMAIN:
        errors.append(max_length(_MAX_SUBDOMAIN))
    if re.fullmatch(_CONFIG_KEY, text) is None:
        errors.append(regex_error(_CONFIG_KEY_TEXT, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text in {".", ".."}:
        errors.append(f"must not be '{text}'")
    elif text.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_var_name(text: str) -> list[str]:
    """A container's environment variable: printable ASCII without "="."""
    if not text:
        return ["environment variable name must be non-empty"]
    return [] if text.isascii() and text.isprintable() and "=" not in text else [_ENV_TEXT]


def port_name(text: str) -> list[str]:
    """A container port's name (IANA service name)."""
    errors = []
    if _length(text) > _MAX_PORT_NAME:
        errors.append(max_length(_MAX_PORT_NAME))
    if re.fullmatch("[-a-z0-9]+", text) is None:
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if re.search("[a-z]", text) is None:
        errors.append("must contain at least one letter (a-z)")
    if "--" in text:
        errors.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(port: int) -> list[str]:
    """1 to 65535."""
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def as_prefix(check: Callable[[str], list[str]], prefix: str) -> list[str]:
    """Checks a generateName: a trailing dash is fine, since a suffix follows."""
    masked = prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
    return check(masked)
