"""Variables in a Containerfile's words: $name, ${name:-default} and the like, quotes and escapes. Pure.

See https://docs.docker.com/reference/dockerfile/#environment-replacement.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")
_MAX_DEPTH = 50
_MAX_LENGTH = 1 << 20


class ExpansionError(ValueError):
    """A word that can't be expanded."""


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The word with its variables replaced and its quotes taken away. Raises ExpansionError."""
    return _Expansion(text, variables, escape).whole()


def expand_document(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables replaced; quotes and backslashes are the text's own. Raises ExpansionError."""
    return _Expansion(text, variables, "\\", is_document=True).whole()


class _Expansion:
    """One text being read from left to right."""

    def __init__(
        self, text: str, variables: Mapping[str, str], escape: str, depth: int = 0, *, is_document: bool = False
    ) -> None:
        if depth > _MAX_DEPTH:
            raise ExpansionError("substitutions are nested too deeply")
        self._text, self._variables, self._escape, self._depth = text, variables, escape, depth
        self._at = 0
        self._is_document = is_document

    def whole(self) -> str:
        parts: list[str] = []
        length = 0
        while self._at < len(self._text):
            parts.append(self._next())
            length += len(parts[-1])
            if length > _MAX_LENGTH:
                raise ExpansionError("a word becomes longer than 1 MiB")
        return "".join(parts)

    def _next(self) -> str:
        sign = self._take()
        if self._is_document and sign in ("'", '"', self._escape):
            return sign + (self._take() if sign == self._escape else "")
        if sign == "'":
            end = self._text.find("'", self._at)
            if end < 0:
                raise ExpansionError("unexpected end of statement while looking for matching single-quote")
            inner, self._at = self._text[self._at : end], end + 1
            return inner
        if sign == '"':
            return self._double_quoted()
        if sign == self._escape:
            return self._take()
        return self._variable() if sign == "$" else sign

    def _double_quoted(self) -> str:
        parts: list[str] = []
        while True:
            if self._at >= len(self._text):
                raise ExpansionError("unexpected end of statement while looking for matching double-quote")
            sign = self._take()
            if sign == '"':
                return "".join(parts)
            if sign == "$":
                parts.append(self._variable())
            elif sign == self._escape:
                following = self._take()
                parts.append(following if following in ('"', "$", self._escape) else sign + following)
            else:
                parts.append(sign)

    def _variable(self) -> str:
        if self._text[self._at : self._at + 1] != "{":
            found = _NAME.match(self._text, self._at)
            if not found:
                return "$"
            self._at = found.end()
            return self._variables.get(found[0], "")
        self._at += 1
        found = _NAME.match(self._text, self._at)
        if not found:
            raise ExpansionError(f"bad substitution: {self._text[self._at - 2 :][:60]}")
        self._at = found.end()
        value = self._variables.get(found[0])
        operator = self._operator()
        if operator == "}":
            return value or ""
        operand = self._operand()
        return self._applied(found[0], value, operator, operand)

    def _operator(self) -> str:
        for operator in ("}", ":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/"):
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        raise ExpansionError(f"unsupported modifier in substitution: {self._text[self._at :][:20]!r}")

    def _operand(self) -> str:
        """What stands up to the closing brace."""
        depth, start = 1, self._at
        while self._at < len(self._text):
            sign = self._take()
            if sign == self._escape:
                self._at += 1
            elif sign == "{" and self._text[self._at - 2] == "$":
                depth += 1
            elif sign == "}":
                depth -= 1
                if not depth:
                    return self._text[start : self._at - 1]
        raise ExpansionError("syntax error: missing '}'")

    def _applied(self, name: str, value: str | None, operator: str, operand: str) -> str:
        is_given = bool(value) if operator.startswith(":") else value is not None
        if operator in (":-", "-"):
            return (value or "") if is_given else self._inner(operand)
        if operator in (":+", "+"):
            return self._inner(operand) if is_given else ""
        if operator in (":?", "?"):
            if not is_given:
                raise ExpansionError(f"{name}: {self._inner(operand) or 'not set'}")
            return value or ""
        if operator in ("/", "//"):
            pattern, _, replacement = operand.partition("/")
            new = self._inner(replacement)
            return re.sub(_glob(self._inner(pattern)), lambda _: new, value or "", count=0 if operator == "//" else 1)
        return _trimmed(value or "", operator, _glob(self._inner(operand)))

    def _inner(self, text: str) -> str:
        return _Expansion(text, self._variables, self._escape, self._depth + 1, is_document=self._is_document).whole()

    def _take(self) -> str:
        sign = self._text[self._at : self._at + 1]
        self._at += 1
        return sign


def _glob(pattern: str) -> str:
    """A shell pattern of `*` and `?` as a regular expression."""
    return "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)


def _trimmed(value: str, operator: str, pattern: str) -> str:
    """Without the shortest (one sign) or longest (two) match at the begin (#) or the end (%)."""
    ends = range(len(value) + 1)
    matcher = re.compile(pattern, re.DOTALL)
    if operator.startswith("#"):
        order = ends if operator == "#" else reversed(ends)
        return next((value[end:] for end in order if matcher.fullmatch(value, 0, end)), value)
    order = reversed(ends) if operator == "%" else ends
    return next((value[:start] for start in order if matcher.fullmatch(value, start)), value)
