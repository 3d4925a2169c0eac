"""Tokens of an expression: names, numbers, strings, bytes and punctuation.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

import re
from dataclasses import dataclass
from typing import Any

from sampan.cel.syntax import SourceError

_TOKEN = re.compile(
    r"""(?P<space>[\t\n\f\r ]+|//[^\n]*)
    |(?P<string>[bB]?[rR]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
    |(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
    |(?P<int>0x[0-9a-fA-F]+|[0-9]+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_RAW = re.compile(
    r"""[bB]?[rR][bB]?(?:\"\"\"(?:.*?)\"\"\"|'''(?:.*?)'''|"[^"\r\n]*"|'[^'\r\n]*')""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))", re.DOTALL
)
_LONGEST_NUMBER = 4000
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_RAW_START = re.compile(r"""[bB]?[rR]["']""")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is name, int, uint, float, string, bytes, end, or the sign itself; `text` is what was written."""

    kind: str
    text: str
    at: int
    value: Any = None


def tokens(source: str) -> list[Token]:
    """All tokens, the last of kind "end". Raises SourceError for what is no token."""
    found: list[Token] = []
    problems: list[tuple[int, str]] = []
    at = 0
    while at < len(source):
        match = (_RAW.match(source, at) if _RAW_START.match(source, at) else None) or _TOKEN.match(source, at)
        if match is None:
            problems.append((at, f"Syntax error: token recognition error at: '{source[at]}'"))
            at += 1
            continue
        kind = match.lastgroup or "string"
        if kind != "space":
            try:
                found.append(_token(kind, match.group(), at))
            except ValueError as wrong:
                problems.append((at, str(wrong)))
        at = match.end()
    if problems:
        raise SourceError(problems)
    found.append(Token("end", "<EOF>", len(source)))
    return found


def _token(kind: str, text: str, at: int) -> Token:
    if kind == "sign":
        return Token(text, text, at)
    if kind in {"int", "uint", "float"} and len(text) > _LONGEST_NUMBER:
        raise ValueError(f"invalid {kind.replace('float', 'double')} literal")
    if kind == "string":
        return _string(text, at)
    if kind == "int":
        return Token("int", text, at, int(text, 16 if text.startswith("0x") else 10))
    if kind == "uint":
        value = int(text[:-1], 16 if text.startswith("0x") else 10)
        if value >= 1 << 64:
            raise ValueError("invalid uint literal")
        return Token("uint", text, at, value)
    if kind == "float":
        return Token("float", text, at, float(text))
    return Token(kind, text, at, text)


def _string(text: str, at: int) -> Token:
    quote = min(i for i in (text.find('"'), text.find("'")) if i >= 0)
    prefix, body = text[:quote].lower(), text[quote:]
    width = 3 if len(body) >= 6 and body[:3] in {'"""', "'''"} else 1
    body = body[width:-width].replace("\r\n", "\n").replace("\r", "\n")
    as_bytes = "b" in prefix
    if "r" in prefix or "\\" not in body:
        return Token("bytes", text, at, body.encode()) if as_bytes else Token("string", text, at, body)
    if as_bytes:
        return Token("bytes", text, at, _unescape_bytes(body))
    return Token("string", text, at, _ESCAPE.sub(_text_escape, body))


def _text_escape(match: "re.Match[str]") -> str:
    simple, hexadecimal, four, eight, octal, _ = match.groups()
    if simple:
        return _SIMPLE.get(simple, simple)
    code = hexadecimal or four or eight
    if code is None and octal is None:
        raise ValueError(f"Syntax error: token recognition error at: '{match.group()}'")
    value = int(code, 16) if code else int(octal, 8)
    if value > 0x10FFFF or 0xD800 <= value < 0xE000:
        raise ValueError(f"invalid unicode code point: {match.group()}")
    return chr(value)


def _unescape_bytes(body: str) -> bytes:
    out = bytearray()
    last = 0
    for match in _ESCAPE.finditer(body):
        out += body[last : match.start()].encode()
        _, hexadecimal, four, eight, octal, _ = match.groups()
        if four or eight:
            raise ValueError("unable to unescape string")
        if hexadecimal or octal:
            out.append(int(hexadecimal, 16) if hexadecimal else int(octal, 8))
        else:
            out += _text_escape(match).encode()
        last = match.end()
    return bytes(out + body[last:].encode())
