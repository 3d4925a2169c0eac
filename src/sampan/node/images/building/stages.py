"""A Containerfile's stages, and which of them a build needs. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sampan.node.images.building import expansion
from sampan.node.images.building.containerfile import Containerfile, ContainerfileError, Instruction, quoted_words

SCRATCH = "scratch"
_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
PREDEFINED = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"})


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next: what it stands on (an image, `scratch`, or an earlier stage by its number)."""

    number: int
    name: str
    line: int
    image: str
    parent: int | None
    instructions: tuple[Instruction, ...]

    @property
    def label(self) -> str:
        """How people call it."""
        return self.name or f"stage-{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages that are carried out, in their order; the last one is the result."""

    stages: tuple[Stage, ...]
    all_stages: tuple[Stage, ...]
    arguments: Mapping[str, str]
    """What ARG may take from outside of the stages: those before the first FROM, and the platform's."""
    given: Mapping[str, str]
    unused: tuple[str, ...]
    """Arguments that were given and that no ARG asks for."""
    escape: str

    def find(self, reference: str) -> Stage | None:
        """The stage that `--from` means: by name or by number."""
        return _find(self.all_stages, reference)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a build is asked for, besides its file."""

    arguments: Mapping[str, str]
    target: str = ""
    architecture: str = "amd64"


def plan(file: Containerfile, wish: Wish) -> Plan:
    """Raises ContainerfileError."""
    arguments = dict(_platform(wish.architecture))
    asked = set(PREDEFINED)
    found: list[Stage] = []
    for position, instruction in enumerate(file.instructions):
        if instruction.name == "FROM":
            found.append(_stage(file, position, found, arguments))
        elif not found:
            if instruction.name != "ARG":
                raise ContainerfileError(instruction.line, f"no build stage: {instruction.name} stands before FROM")
            for name, value in argument_pairs(instruction, arguments, file.escape):
                asked.add(name)
                arguments[name] = wish.arguments.get(name, value if value is not None else arguments.get(name, ""))
        elif instruction.name == "ARG":
            asked.update(name for name, _ in argument_pairs(instruction, None, file.escape))
    if not found:
        raise ContainerfileError(0, "there is no FROM")
    stages = tuple(found)
    needed = _needed(stages, _target(stages, wish.target))
    unused = tuple(sorted(name for name in wish.arguments if name not in asked and name.upper() not in asked))
    return Plan(needed, stages, arguments, wish.arguments, unused, file.escape)


def argument_pairs(
    instruction: Instruction, variables: Mapping[str, str] | None, escape: str
) -> list[tuple[str, str | None]]:
    """What ARG declares: names with their defaults; these are not expanded without variables. ContainerfileError."""
    found: list[tuple[str, str | None]] = []
    scope = dict(variables or {})
    for word in quoted_words(instruction.text, escape):
        name, mark, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ContainerfileError(instruction.line, f"ARG: {name!r} can't be a name")
        if variables is not None and mark:
            value = expanded(instruction, value, scope, escape)
            scope[name] = value
        found.append((name, value if mark else None))
    return found


def expanded(instruction: Instruction, text: str, variables: Mapping[str, str], escape: str) -> str:
    """The word with its variables replaced. Raises ContainerfileError."""
    try:
        return expansion.expand(text, variables, escape)
    except (expansion.ExpansionError, RecursionError) as error:
        why = str(error) if isinstance(error, expansion.ExpansionError) else "nested too deeply"
        raise ContainerfileError(instruction.line, f"{instruction.name}: {why}") from error


def _stage(file: Containerfile, position: int, earlier: list[Stage], arguments: Mapping[str, str]) -> Stage:
    instruction = file.instructions[position]
    words = instruction.text.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise ContainerfileError(instruction.line, "FROM requires either one or three arguments: FROM IMAGE [AS NAME]")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not _NAME.fullmatch(name):
        raise ContainerfileError(instruction.line, f"invalid name for a build stage: {words[2]!r}")
    if any(stage.name == name for stage in earlier if name):
        raise ContainerfileError(instruction.line, f"there are two stages with the name {name!r}")
    image = expanded(instruction, words[0], arguments, file.escape)
    if not image:
        raise ContainerfileError(instruction.line, f"base name ({words[0]}) should not be blank")
    _check_platform(instruction, arguments, file.escape)
    rest = file.instructions[position + 1 :]
    own = next((rest[:number] for number, each in enumerate(rest) if each.name == "FROM"), rest)
    parent = next((stage.number for stage in earlier if stage.name and stage.name == image.lower()), None)
    return Stage(len(earlier), name, instruction.line, image, parent, own)


def _check_platform(instruction: Instruction, arguments: Mapping[str, str], escape: str) -> None:
    text = expanded(instruction, instruction.flag("platform"), arguments, escape)
    if text and text not in (arguments["TARGETPLATFORM"], "linux"):
        known = arguments["TARGETPLATFORM"]
        raise ContainerfileError(instruction.line, f"platform {text}: only {known} can be built on this machine")


def _target(stages: tuple[Stage, ...], target: str) -> Stage:
    if not target:
        return stages[-1]
    found = _find(stages, target)
    if found is None:
        names = ", ".join(stage.label for stage in stages)
        raise ContainerfileError(0, f"there is no stage {target!r}; there are: {names}")
    return found


def _find(stages: tuple[Stage, ...], reference: str) -> Stage | None:
    for stage in stages:
        if stage.name and stage.name == reference.lower():
            return stage
    if reference.isascii() and reference.isdecimal() and int(reference[:9]) < len(stages):
        return stages[int(reference[:9])]
    return None


def _needed(stages: tuple[Stage, ...], target: Stage) -> tuple[Stage, ...]:
    found, waiting = {target.number}, [target]
    while waiting:
        stage = waiting.pop()
        wanted = [] if stage.parent is None else [stages[stage.parent]]
        for reference, line in _sources(stage):
            other = _find(stages, reference)
            if other is not None and other.number >= stage.number:
                raise ContainerfileError(line, f"stage {reference!r} is not made yet at this place")
            wanted += [other] if other else []
        for other in wanted:
            if other.number not in found:
                found.add(other.number)
                waiting.append(other)
    return tuple(stage for stage in stages if stage.number in found)


def _sources(stage: Stage) -> Iterator[tuple[str, int]]:
    """The stages or images that its instructions take files from."""
    for instruction in stage.instructions:
        for name, value in instruction.flags:
            if name == "from" and value:
                yield value, instruction.line
            elif name == "mount":
                yield from ((part[5:], instruction.line) for part in value.split(",") if part.startswith("from="))


def _platform(architecture: str) -> Iterator[tuple[str, str]]:
    for side in ("TARGET", "BUILD"):
        yield f"{side}PLATFORM", f"linux/{architecture}"
        yield f"{side}OS", "linux"
        yield f"{side}ARCH", architecture
        yield f"{side}VARIANT", ""
