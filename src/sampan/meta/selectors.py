"""Selectors: which objects a label or field selector picks.

Labels: `a=b, c in (d,e), !f`; the LabelSelector structure; plain maps. Fields: `metadata.name=x`.
A text that is no selector raises ValueError in upstream's words.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sampan.kit.texts import Texts
from sampan.meta import intstr, names
from sampan.meta.status import show

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),><]|[^=!(),><\s]+)")
_BINARY = ("in", "notin", "=", "==", "!=", ">", "<")
_FROM_STRUCTURE = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


class Requirement(NamedTuple):
    """One condition on one label. `operator`: in, notin, =, ==, !=, exists, !, >, <."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet the condition."""
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        number, bound = intstr.whole(value), int(self.values[0])
        if number is None:
            return False
        return number > bound if self.operator == ">" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


class Selector(NamedTuple):
    """All of its requirements must hold; `nothing` matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is picked."""
        if self.nothing:
            return False
        given = labels or {}
        for requirement in self.requirements:
            if requirement.operator == "=":  # nearly always
                if given.get(requirement.key) != requirement.values[0]:
                    return False
            elif not requirement.matches(given):
                return False
        return True

    def equalities(self) -> dict[str, str]:
        """Labels that every picked object has with one known value, for an index."""
        single = (r for r in self.requirements if r.operator in {"in", "=", "=="} and len(r.values) == 1)
        return {r.key: r.values[0] for r in single}

    @property
    def is_empty(self) -> bool:
        """Whether it picks everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def from_map(labels: Mapping[str, str] | None) -> Selector:
    """Objects that have all these labels; an empty or absent map picks everything."""
    return _of([Requirement(key, "=", (value,)) for key, value in (labels or {}).items()])


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector structure: None picks nothing, {} everything. ValueError for an unknown operator."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(k, "=", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _FROM_STRUCTURE.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        requirements.append(Requirement(expression["key"], operator, tuple(expression.get("values") or ())))
    return _of(requirements)


def parse_labels(text: str) -> Selector:
    """The selector a `labelSelector` query parameter says."""
    return _BY_LABELS[text]


_BY_LABELS = Texts(lambda text: _of(_Parser(text).requirements()), 256)


def _of(requirements: list[Requirement]) -> Selector:
    return Selector(tuple(sorted(requirements, key=lambda r: r.key)))


class _Parser:
    """Reads a label selector text token by token."""

    def __init__(self, text: str) -> None:
        self._tokens = [found[1] for found in _TOKEN.finditer(text)]
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while (token := self._peek()) is not None:
            if token != "!" and not _is_word(token):
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if separator is None:
                break
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if following is None or (following != "!" and not _is_word(following)):
                raise ValueError(f"found '{following or ''}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        key = self._next()
        negated = key == "!"
        if negated:
            key = self._next()
        if key is None or not _is_word(key):
            raise ValueError(f"found '{key or ''}', expected: identifier")
        if errors := names.qualified_name(key):
            raise ValueError(f"<nil>: Invalid value: {show(key)}: {'; '.join(errors)}")
        if negated:
            return Requirement(key, "!")
        if self._peek() in {None, ","}:
            return Requirement(key, "exists")
        operator = self._next() or ""
        if operator not in _BINARY:
            raise ValueError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._values() if operator in {"in", "notin"} else self._exact_value()
        _check_values(key, operator, values)
        return Requirement(key, operator, values)

    def _values(self) -> tuple[str, ...]:
        opening = self._next()
        if opening != "(":
            raise ValueError(f"found '{opening or ''}' expected: '('")
        values: set[str] = set()
        pending = True  # a value may be empty: "(,a)", "()"
        while (token := self._next()) != ")":
            if token == ",":
                values |= {""} if pending else set()
                pending = True
            elif token is None or not _is_word(token, keywords=True) or not pending:
                raise ValueError(f"found '{token or ''}', expected: ',' or ')'")
            else:
                values.add(token)
                pending = False
        return tuple(sorted(values | ({""} if pending else set())))

    def _exact_value(self) -> tuple[str, ...]:
        if self._peek() in {None, ","}:
            return ("",)
        token = self._next() or ""
        if not _is_word(token, keywords=True):
            raise ValueError(f"found '{token}', expected: identifier")
        return (token,)

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> str | None:
        token = self._peek()
        self._at += 1
        return token


def _is_word(token: str, *, keywords: bool = True) -> bool:
    return token[0] not in "=!(),><" and (keywords or token not in {"in", "notin"})


def _check_values(key: str, operator: str, values: tuple[str, ...]) -> None:
    errors = []
    if operator in {">", "<"} and intstr.whole(values[0]) is None:
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        errors.append(f"values[0]: Invalid value: {show(values[0])}: {why}")
    for index, value in enumerate(values):
        if found := names.label_value(value):
            errors.append(f"values[{index}][{key}]: Invalid value: {show(value)}: {'; '.join(found)}")
    if errors:
        raise ValueError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms (path, op, value), op "=" or "!="; all must hold. An absent field reads as ""."""

    terms: tuple[tuple[str, str, str], ...] = ()

    def matches(self, getter: Callable[[str], str]) -> bool:
        """Whether the object is picked; `getter` gives a field's text by its path."""
        return all((getter(path) == value) == (op == "=") for path, op, value in self.terms)

    def equalities(self) -> dict[str, str]:
        """Fields that every picked object has with one known value, for an index."""
        return {path: value for path, op, value in self.terms if op == "="}

    @property
    def is_empty(self) -> bool:
        """Whether it picks everything."""
        return not self.terms

    def __str__(self) -> str:
        return ",".join(f"{path}{op}{_escape(value)}" for path, op, value in self.terms)


def parse_fields(text: str) -> FieldSelector:
    """The selector a `fieldSelector` query parameter says."""
    return _BY_FIELDS[text]


def _fields(text: str) -> FieldSelector:
    terms = []
    for part in sorted(re.findall(r"(?:[^\\,]|\\.?)+", text, re.DOTALL)):
        found = re.match(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        if found[1] or found[3]:  # a bare "=" says nothing
            terms.append((found[1], "!=" if found[2] == "!=" else "=", _unescape(found[3])))
    return FieldSelector(tuple(sorted(terms, key=lambda term: term[0])))


_BY_FIELDS = Texts(_fields, 256)


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _unescape(value: str) -> str:
    if "\\" not in value and "=" not in value:
        return value
    for found in re.finditer(r"\\(.?)|=", value, re.DOTALL):
        if found[0] == "=":
            raise ValueError("invalid field selector: unescaped character in value: 61")
        if found[1] not in ("\\", ",", "="):
            raise ValueError(f"invalid field selector: invalid escape sequence: {found[0]}")
    return re.sub(r"\\([\\,=])", r"\1", value)
