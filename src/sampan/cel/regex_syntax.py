"""RE2's syntax: a pattern's text to a tree of nodes, with the errors that Go's regexp gives.

Nodes are tuples: ("char", test), ("cat", parts), ("alt", parts), ("repeat", node, least, most, greedy),
("assert", kind), ("empty",). There are no backreferences and no lookaround, so matching is linear.

https://github.com/google/re2/wiki/Syntax
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

Node = tuple[Any, ...]
Test = Callable[[str], bool]

_MAX_REPEAT = 1000
_MAX_DEPTH = 200
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\x00-\x7f",
    "blank": "\t ",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PERL = {"d": "0-9", "w": "0-9A-Za-z_", "s": "\t\n\f\r "}
_CONTROL = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_COUNT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}", re.ASCII)
_FLAGS = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_NAMED = re.compile(r"\(\?P?<([A-Za-z0-9_]+)>")
_CATEGORIES = frozenset(
    [
        "L",
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "M",
        "Mn",
        "Mc",
        "Me",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "S",
        "Sm",
        "Sc",
        "Sk",
        "So",
        "Z",
        "Zs",
        "Zl",
        "Zp",
        "C",
        "Cc",
        "Cf",
        "Co",
    ]
)
_SCRIPTS = {
    "Latin": "LATIN",
    "Greek": "GREEK",
    "Cyrillic": "CYRILLIC",
    "Han": "CJK UNIFIED",
    "Hiragana": "HIRAGANA",
    "Katakana": "KATAKANA",
    "Hangul": "HANGUL",
    "Arabic": "ARABIC",
    "Hebrew": "HEBREW",
    "Thai": "THAI",
    "Devanagari": "DEVANAGARI",
}


class PatternError(ValueError):
    """A pattern that RE2 does not take."""


def _fail(text: str, part: str = "") -> PatternError:
    return PatternError(f"error parsing regexp: {text}" + (f": `{part}`" if part else ""))


class Ranges:
    """A set of characters: is one in it? Answers are kept."""

    __slots__ = ("fold", "known", "negated", "pairs", "tests")

    def __init__(self, text: str = "", *, negated: bool = False, fold: bool = False) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.tests: list[Test] = []
        self.negated = negated
        self.fold = fold
        self.known: dict[str, bool] = {}
        at = 0
        while at < len(text):
            if text[at] == "\\":
                at += 1
            if at + 2 < len(text) and text[at + 1] == "-":
                self.pairs.append((text[at], text[at + 2]))
                at += 3
            else:
                self.pairs.append((text[at], text[at]))
                at += 1

    def __call__(self, char: str) -> bool:
        found = self.known.get(char)
        if found is None:
            if len(self.known) > 4096:
                self.known.clear()
            found = self.known[char] = self._holds(char) != self.negated
        return found

    def _holds(self, char: str) -> bool:
        options = {char, char.lower(), char.upper()} if self.fold else {char}
        if self.fold and char.lower() in {"k", "s", "\u212a", "\u017f"}:
            options |= {"k", "K", "\u212a"} if char.lower() in {"k", "\u212a"} else {"s", "S", "\u017f"}
        return any(a <= c <= b for c in options for a, b in self.pairs) or any(
            t(c) for c in options for t in self.tests
        )


def parse(pattern: str) -> Node:
    """The tree of a pattern. Raises PatternError."""
    parser = _Parser(pattern)
    node = parser.alternatives(0)
    if parser.at < len(pattern):
        raise _fail("unexpected )", pattern)
    return node


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.flags = frozenset[str]()

    def alternatives(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise _fail("expression nests too deeply", self.text)
        outer = self.flags
        parts = [self.sequence(depth)]
        while self.text.startswith("|", self.at):
            self.at += 1
            parts.append(self.sequence(depth))
        self.flags = outer
        return parts[0] if len(parts) == 1 else ("alt", parts)

    def sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            start = self.at
            if self.text[start] in "*+?":
                raise _fail("missing argument to repetition operator", self.text[start])
            if self.text.startswith("\\Q", start):
                parts += self.quoted()
                if not parts:
                    continue
            else:
                parts.append(self.atom(depth))
            parts[-1] = self.repeated(parts[-1], start)
        return parts[0] if len(parts) == 1 else ("cat", parts)

    def quoted(self) -> list[Node]:
        end = self.text.find("\\E", self.at + 2)
        literal = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
        self.at = end + 2 if end >= 0 else len(self.text)
        return [self.char(c) for c in literal]

    def repeated(self, node: Node, start: int) -> Node:
        seen = ""
        while self.at < len(self.text):
            begin, char = self.at, self.text[self.at]
            if char in "*+?":
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
                self.at += 1
            else:
                match = _COUNT.match(self.text, self.at) if char == "{" else None
                if match is None:
                    break
                least = int(match.group(1))
                most = least if match.group(2) is None else int(match.group(3)) if match.group(3) else None
                if least > _MAX_REPEAT or (most is not None and (most > _MAX_REPEAT or most < least)):
                    raise _fail("invalid repeat count", match.group())
                self.at = match.end()
            greedy = "U" not in self.flags
            if self.text.startswith("?", self.at):
                self.at += 1
                greedy = not greedy
            if seen:
                raise _fail("invalid nested repetition operator", seen + self.text[begin : self.at])
            seen = self.text[begin : self.at]
            node = ("repeat", node, least, most, greedy)
        return node

    def char(self, char: str) -> Node:
        if "i" in self.flags and char.lower() != char.upper():
            ranges = Ranges(fold=True)
            ranges.pairs = [(char, char)]
            return ("char", ranges)
        return ("char", char)

    def atom(self, depth: int) -> Node:
        char = self.text[self.at]
        if char == "(":
            return self.group(depth)
        if char == "[":
            return ("char", self.bracket())
        if char == "\\":
            return self.escape()
        self.at += 1
        if char == ".":
            return ("char", Ranges("" if "s" in self.flags else "\n", negated=True))
        if char == "^":
            return ("assert", "line_start" if "m" in self.flags else "start")
        if char == "$":
            return ("assert", "line_end" if "m" in self.flags else "end")
        return self.char(char)

    def group(self, depth: int) -> Node:
        start = self.at
        if self.text.startswith("(?", start):
            named = _NAMED.match(self.text, start)
            flags = _FLAGS.match(self.text, start)
            if named:
                self.at = named.end()
            elif flags and (flags.group(1) or flags.group(2) or flags.group(3) == ":"):
                changed = (self.flags | set(flags.group(1))) - set(flags.group(2) or "")
                self.at = flags.end()
                if flags.group(3) == ")":
                    self.flags = changed
                    return ("empty",)
                outer, self.flags = self.flags, changed
                return self.close(self.alternatives(depth + 1), outer)
            else:
                raise self.bad_group(start)
        else:
            self.at += 1
        return self.close(self.alternatives(depth + 1), self.flags)

    def close(self, node: Node, outer: frozenset[str]) -> Node:
        if not self.text.startswith(")", self.at):
            raise _fail("missing closing )", self.text)
        self.at += 1
        self.flags = outer
        return node

    def bad_group(self, start: int) -> PatternError:
        if self.text.startswith(("(?P<", "(?<"), start) and not self.text.startswith(("(?<=", "(?<!"), start):
            end = self.text.find(">", start)
            return _fail("invalid named capture", self.text[start : end + 1 if end >= 0 else len(self.text)])
        width = 4 if self.text.startswith(("(?<=", "(?<!"), start) else 3
        if len(self.text) <= start + 2:
            return _fail("missing argument to repetition operator", "?")
        return _fail("invalid or unsupported Perl syntax", self.text[start : start + width])

    def escape(self) -> Node:
        if self.at + 1 >= len(self.text):
            raise _fail("trailing backslash at end of expression")
        char = self.text[self.at + 1]
        asserts = {"A": "start", "z": "end", "b": "word", "B": "no_word"}
        if char in asserts:
            self.at += 2
            return ("assert", asserts[char])
        found = self.char_class()
        return ("char", found) if found is not None else self.char(self.escaped())

    def char_class(self) -> Ranges | None:
        r"""\d, \W, \\pL, \\p{Greek} at the cursor, or None."""
        char = self.text[self.at + 1]
        if char.lower() in _PERL:
            self.at += 2
            return Ranges(_PERL[char.lower()], negated=char.isupper())
        if char not in "pP":
            return None
        start = self.at
        if self.text.startswith("{", start + 2):
            end = self.text.find("}", start)
            if end < 0:
                raise _fail("invalid character class range", self.text[start:])
            name, self.at = self.text[start + 3 : end], end + 1
        else:
            name, self.at = self.text[start + 2 : start + 3], start + 3
        negated = (char == "P") != name.startswith("^")
        ranges = Ranges(negated=negated)
        ranges.tests.append(_property(name.removeprefix("^"), self.text[start : self.at]))
        return ranges

    def escaped(self) -> str:
        """The one character that an escape at the cursor stands for."""
        start, char = self.at, self.text[self.at + 1]
        self.at += 2
        if char in _CONTROL:
            return _CONTROL[char]
        if char == "x":
            match = re.compile(r"\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2})").match(self.text, self.at)
            if match and (value := int(match.group(1) or match.group(2), 16)) <= 0x10FFFF:
                self.at = match.end()
                return chr(value)
        elif char == "0" or (char in "1234567" and self.text[self.at : self.at + 1] in tuple("01234567")):
            digits = re.compile(r"[0-7]{1,3}").match(self.text, start + 1)
            assert digits is not None
            self.at = digits.end()
            return chr(int(digits.group(), 8))
        elif ord(char) < 0x80 and not char.isalnum():
            return char
        raise _fail("invalid escape sequence", self.text[start : start + 2])

    def bracket(self) -> Ranges:
        start = self.at
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        ranges = Ranges(negated=negated, fold="i" in self.flags)
        first = True
        while first or not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                raise _fail("missing closing ]", self.text[start:])
            first = False
            if not self.bracket_class(ranges):
                begin = self.at
                low = high = self.bracket_char(start)
                if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in {"]", ""}:
                    self.at += 1
                    high = self.bracket_char(start)
                    if high < low:
                        raise _fail("invalid character class range", self.text[begin : self.at])
                ranges.pairs.append((low, high))
        self.at += 1
        return ranges

    def bracket_class(self, ranges: Ranges) -> bool:
        if self.text.startswith("[:", self.at):
            end = self.text.find(":]", self.at + 2)
            if end >= 0:
                part = self.text[self.at : end + 2]
                name = part[2:-2]
                if name.removeprefix("^") not in _POSIX:
                    raise _fail("invalid character class range", part)
                ranges.tests.append(Ranges(_POSIX[name.removeprefix("^")], negated=name.startswith("^")))
                self.at = end + 2
                return True
        if self.text.startswith("\\", self.at) and self.at + 1 < len(self.text):
            found = self.char_class()
            if found is not None:
                ranges.tests.append(found)
                return True
        return False

    def bracket_char(self, start: int) -> str:
        if self.at >= len(self.text):
            raise _fail("missing closing ]", self.text[start:])
        if self.text[self.at] == "\\":
            if self.at + 1 >= len(self.text):
                raise _fail("trailing backslash at end of expression")
            return self.escaped()
        self.at += 1
        return self.text[self.at - 1]


def _property(name: str, part: str) -> Test:
    if name == "Any":
        return lambda char: True
    if name in _CATEGORIES:
        return lambda char: unicodedata.category(char).startswith(name)
    if name in _SCRIPTS:
        prefix = _SCRIPTS[name]
        return lambda char: unicodedata.name(char, "").startswith(prefix)
    raise _fail("invalid character class range", part)
