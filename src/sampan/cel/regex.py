"""Regular expressions that match in linear time, whatever the pattern: RE2's language on a lazy automaton.

`search` runs a deterministic automaton whose states are made as they are met; `find` follows all threads at
once by priority, for the leftmost match that Perl would choose. Both take time in proportion to text times pattern.

https://swtch.com/~rsc/regexp/regexp2.html
"""

import functools
from collections.abc import Iterator
from typing import Any

from sampan.cel import patience, regex_syntax
from sampan.cel.values import EvaluationError, too_costly

_MAX_SIZE = 50_000
_MAX_STATES = 1000
_MAX_TRANSITIONS = 20_000
_MAX_STEPS = 4_000_000
_CHAR, _SPLIT, _ASSERT, _MATCH = range(4)
_START, _OTHER, _WORD, _LINE = range(4)
_END = ""

Instruction = tuple[int, Any, Any]


@functools.lru_cache(maxsize=300)
def compiled_or_error(pattern: str) -> "Pattern":
    """The automaton of a pattern. Raises ValueError with Go's text for a pattern that RE2 does not take."""
    return Pattern(pattern)


def compiled(pattern: str) -> "Pattern":
    """The automaton of a pattern. Raises EvaluationError."""
    try:
        return compiled_or_error(pattern)
    except ValueError as wrong:
        raise EvaluationError(str(wrong)) from None


class _State:
    """Threads that wait for the next character, and what came before it."""

    __slots__ = ("before", "following", "threads")

    def __init__(self, threads: tuple[int, ...], before: int) -> None:
        self.threads = threads
        self.before = before
        self.following: dict[str, _State | None] = {}


class Pattern:
    """A compiled pattern."""

    def __init__(self, pattern: str) -> None:
        """Raises ValueError."""
        self.pattern = pattern
        self.code = _Assembler(pattern).assemble()
        patience.spend(len(self.code))
        self._states: dict[tuple[tuple[int, ...], int], _State] = {}
        self._transitions = 0
        self._steps = 0
        self._first = self._state((0,), _START)

    @property
    def states(self) -> int:
        """How many states the automaton has so far."""
        return len(self._states)

    def search(self, text: str) -> bool:
        """Does it match anywhere in the text?"""
        state = self._first
        patience.spend(len(text) >> 4)
        self._steps = 0
        for char in text:
            try:
                following = state.following[char]
            except KeyError:
                following = self._follow(state, char)
            if following is None:
                return True
            state = following
        return self._follow(state, _END) is None

    def _state(self, threads: tuple[int, ...], before: int) -> _State:
        state = self._states.get((threads, before))
        if state is None:
            if len(self._states) >= _MAX_STATES:
                self._forget()
            state = self._states[threads, before] = _State(threads, before)
        return state

    def _forget(self) -> None:
        """Start over, so that no text makes the automaton grow without end."""
        self._transitions = 0
        self._states.clear()
        self._first.following.clear()

    def _follow(self, state: _State, char: str) -> _State | None:
        """The state after a character; None when there is a match before it."""
        if char in state.following:
            return state.following[char]
        ready = self._closure(state.threads, state.before, char)
        following: _State | None = None
        if ready and ready[-1] >= 0:
            threads = [self.code[pc][2] for pc in ready if char and _takes(self.code[pc][1], char)]
            following = self._state((*dict.fromkeys(threads), 0), _context(char))
        elif not ready:
            following = self._state((0,), _context(char))
        self._work(len(ready) + len(state.threads))
        self._transitions += 1
        if self._transitions > _MAX_TRANSITIONS:
            self._forget()
        state.following[char] = following
        return following

    def _work(self, steps: int) -> None:
        """Counts what a match takes. Raises EvaluationError for a pattern and text that would take minutes."""
        patience.spend(1 + (steps >> 2))
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise too_costly()

    def _closure(self, threads: tuple[int, ...], before: int, char: str) -> list[int]:
        """The character instructions reached, by priority; ends in -1 where a match is reached."""
        found: list[int] = []
        seen: set[int] = set()
        stack = list(reversed(threads))
        while stack:
            pc = stack.pop()
            if pc in seen:
                continue
            seen.add(pc)
            kind, one, other = self.code[pc]
            if kind == _CHAR:
                found.append(pc)
            elif kind == _SPLIT:
                stack.append(other)
                stack.append(one)
            elif kind == _ASSERT:
                if _holds(one, before, char):
                    stack.append(other)
            else:
                found.append(-1)
                return found
        return found

    def find(self, text: str, at: int = 0) -> tuple[int, int] | None:
        """The leftmost match from `at` on, as Perl chooses it: (start, end)."""
        best: tuple[int, int] | None = None
        threads: list[tuple[int, int]] = []
        before = _START if at == 0 else _context(text[at - 1])
        self._steps = 0 if at == 0 else self._steps
        for place in range(at, len(text) + 1):
            char = text[place] if place < len(text) else _END
            if best is None:
                threads.append((0, place))
            if not threads:
                break
            threads, ended = self._step(threads, before, char)
            self._work(1 + len(threads))
            if ended is not None:
                best = (ended, place)
            before = _context(char) if char else before
        return best

    def _step(self, threads: list[tuple[int, int]], before: int, char: str) -> tuple[list[tuple[int, int]], int | None]:
        """Threads after a character, and the start of the match that ends before it, if one does."""
        following: list[tuple[int, int]] = []
        waiting: set[int] = set()
        seen: set[int] = set()
        for first, start in threads:
            stack = [first]
            while stack:
                pc = stack.pop()
                if pc in seen:
                    continue
                seen.add(pc)
                kind, one, other = self.code[pc]
                if kind == _CHAR:
                    if char and other not in waiting and _takes(one, char):
                        waiting.add(other)
                        following.append((other, start))
                elif kind == _SPLIT:
                    stack += (other, one)
                elif kind == _MATCH:
                    return following, start
                elif _holds(one, before, char):
                    stack.append(other)
        return following, None

    def find_all(self, text: str, limit: int = -1) -> Iterator[str]:
        """Successive matches that do not overlap, at most `limit` of them unless that is negative."""
        at, last, count = 0, -1, 0
        while at <= len(text) and (limit < 0 or count < limit):
            span = self.find(text, at)
            if span is None:
                return
            start, end = span
            if start == end == last:
                at = start + 1
                continue
            yield text[start:end]
            count += 1
            last = end
            at = end if end > start else end + 1


def _takes(test: Any, char: str) -> bool:
    return test == char if type(test) is str else bool(test(char))


def _context(char: str) -> int:
    if char == "\n":
        return _LINE
    return _WORD if char.isascii() and (char.isalnum() or char == "_") else _OTHER


def _holds(kind: str, before: int, char: str) -> bool:
    if kind == "start":
        return before == _START
    if kind == "end":
        return not char
    if kind == "line_start":
        return before in {_START, _LINE}
    if kind == "line_end":
        return not char or char == "\n"
    boundary = (before == _WORD) != (bool(char) and _context(char) == _WORD)
    return boundary if kind == "word" else not boundary


class _Assembler:
    """Instructions from a tree, after Thompson."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.code: list[Instruction] = []
        self.emitted = 0

    def assemble(self) -> list[Instruction]:
        """The program; its entry is instruction 0."""
        self.code.append((_SPLIT, 1, 1))
        self.emit(regex_syntax.parse(self.pattern))
        self.code.append((_MATCH, None, None))
        return self.code

    def add(self, kind: int, one: Any, other: Any) -> int:
        self.code.append((kind, one, other))
        return len(self.code) - 1

    def emit(self, node: regex_syntax.Node) -> None:
        """Code for a node; what follows it comes next."""
        self.emitted += 1
        if self.emitted > _MAX_SIZE:
            raise regex_syntax.PatternError(f"error parsing regexp: expression too large: `{self.pattern}`")
        kind = node[0]
        if kind == "char":
            self.add(_CHAR, node[1], len(self.code) + 1)
        elif kind == "assert":
            self.add(_ASSERT, node[1], len(self.code) + 1)
        elif kind == "cat":
            for part in node[1]:
                self.emit(part)
        elif kind == "alt":
            self.emit_alternatives(node[1])
        elif kind == "repeat":
            self.emit_repeat(*node[1:])

    def emit_alternatives(self, parts: list[regex_syntax.Node]) -> None:
        ends = []
        for part in parts[:-1]:
            split = self.add(_SPLIT, None, None)
            self.emit(part)
            ends.append(self.add(_SPLIT, None, None))
            self.code[split] = (_SPLIT, split + 1, len(self.code))
        self.emit(parts[-1])
        for end in ends:
            self.code[end] = (_SPLIT, len(self.code), len(self.code))

    def emit_repeat(self, node: regex_syntax.Node, least: int, most: int | None, greedy: bool) -> None:
        for _ in range(least):
            self.emit(node)
        if most is None:
            split = self.add(_SPLIT, None, None)
            self.emit(node)
            self.add(_SPLIT, split, split)
            self.code[split] = self.fork(split + 1, len(self.code), greedy=greedy)
            return
        splits = []
        for _ in range(most - least):
            splits.append(self.add(_SPLIT, None, None))
            self.emit(node)
        for split in splits:
            self.code[split] = self.fork(split + 1, len(self.code), greedy=greedy)

    def fork(self, inside: int, outside: int, *, greedy: bool) -> Instruction:
        return (_SPLIT, inside, outside) if greedy else (_SPLIT, outside, inside)
