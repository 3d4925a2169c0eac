"""Containerfiles as text: instructions with their flags, arguments and here-documents. Pure.

The language is that of Dockerfiles (https://docs.docker.com/reference/dockerfile/): parser directives, comments, line
continuations, JSON and shell forms. What the arguments mean is for `stages.py` and `effects.py`.
"""

import json
import re
from dataclasses import dataclass

_NAMES = (
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME"
    " WORKDIR"
)
NAMES = frozenset(_NAMES.split())
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"\d*<<(-?)(['\"]?)([^\s<>'\"]+)\2")
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_WITH_FLAGS = frozenset({"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"})
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document in the file: its mark, its text, and whether variables in it are expanded."""

    name: str
    text: str
    expands: bool = True


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `text` is what follows the name and the flags, on one line."""

    line: int
    name: str
    text: str
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str, default: str = "") -> str:
        """The flag's last value."""
        return dict(self.flags).get(name, default)

    @property
    def form(self) -> list[str] | None:
        """The arguments if they are written as a JSON list of texts, else None."""
        if not self.text.startswith("["):
            return None
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None

    def __str__(self) -> str:
        flags = "".join(f"--{name}={value} " if value else f"--{name} " for name, value in self.flags)
        return f"{self.name} {flags}{self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Containerfile:
    """A file that was read; `escape` is the character that continues lines and takes signs as they are."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"


class ContainerfileError(ValueError):
    """What is wrong, and in which line of the file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


def parse(text: str) -> Containerfile:
    """Reads a file's text. Raises ContainerfileError."""
    if len(text) > MAX_BYTES:
        raise ContainerfileError(0, f"the file is larger than {MAX_BYTES} bytes")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    reader = _Reader(lines, escape)
    found = []
    while (entry := reader.logical()) is not None:
        found.append(_instruction(*entry, reader))
    if not found:
        raise ContainerfileError(0, "the file has no instructions")
    return Containerfile(tuple(found), escape)


def single(line: int, text: str) -> Instruction:
    """An instruction by itself, as ONBUILD and images carry it. Raises ContainerfileError."""
    return _instruction(line, text, _Reader([], "\\"))


class _Reader:
    """The lines of a file, taken one after the other."""

    def __init__(self, lines: list[str], escape: str) -> None:
        self._lines, self._at = lines, 0
        self._continued = re.compile(rf"{re.escape(escape)}[ \t]*$")

    def logical(self) -> tuple[int, str] | None:
        """The next instruction's text on one line, with the number of its first line."""
        parts: list[str] = []
        start = 0
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if not line.strip() or line.lstrip().startswith("#"):
                continue  # also within a continued line
            start = start or self._at
            more = self._continued.search(line)
            parts.append(line[: more.start()] if more else line)
            if not more:
                break
        joined = "".join(parts).strip()
        if joined or not parts:
            return (start, joined) if joined else None
        return self.logical()

    def heredoc(self, line: int, name: str, *, strips_tabs: bool) -> str:
        """The lines up to the mark."""
        taken: list[str] = []
        while self._at < len(self._lines):
            text = self._lines[self._at]
            self._at += 1
            text = text.lstrip("\t") if strips_tabs else text
            if text == name:
                return "".join(f"{each}\n" for each in taken)
            taken.append(text)
        raise ContainerfileError(line, f"unterminated heredoc: there is no line {name!r}")


def _escape(lines: list[str]) -> str:
    """What the directives at the top of the file say."""
    seen: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.fullmatch(line.strip())
        name = found[1].lower() if found else ""
        if not found or name not in ("syntax", "escape", "check"):
            break
        if name in seen:
            raise ContainerfileError(number, f"only one {name} parser directive can be used")
        seen[name] = found[2]
        if name == "escape" and found[2] not in ("\\", "`"):
            raise ContainerfileError(number, f"invalid escape token {found[2]!r}: it must be \\ or `")
    return seen.get("escape", "\\")


def _instruction(line: int, text: str, reader: _Reader) -> Instruction:
    word, *others = text.split(maxsplit=1)
    name, rest = word.upper(), others[0] if others else ""
    if name not in NAMES:
        raise ContainerfileError(line, f"unknown instruction: {word}")
    flags: list[tuple[str, str]] = []
    while name in _WITH_FLAGS and (found := _FLAG.match(rest)):
        flags.append((found[1], found[2] or ""))
        rest = rest[found.end() :]
    if not rest:
        raise ContainerfileError(line, f"{name} requires at least one argument")
    heredocs = tuple(_heredocs(line, name, rest, reader))
    return Instruction(line, name, rest, tuple(flags), heredocs)


def _heredocs(line: int, name: str, text: str, reader: _Reader) -> list[Heredoc]:
    if name not in _WITH_HEREDOCS or "<<" not in text or text.startswith("["):
        return []
    found = []
    for word in quoted_words(text):
        if mark := _HEREDOC.fullmatch(word):
            body = reader.heredoc(line, mark[3], strips_tabs=bool(mark[1]))
            found.append(Heredoc(mark[3], body, not mark[2]))
    return found


def heredoc_name(word: str) -> str:
    """The mark, if the word is one of a here-document."""
    found = _HEREDOC.fullmatch(word)
    return found[3] if found else ""


def quoted_words(text: str, escape: str = "\\") -> list[str]:
    """Splits at blanks outside of quotes; quotes and escapes stay in the words."""
    words, word, quote, at = list[str](), "", "", 0
    while at < len(text):
        sign = text[at]
        if sign == escape and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign.isspace():
            words += [word] if word else []
            word, at = "", at + 1
            continue
        word += sign
        at += 1
    return [*words, word] if word else words
