"""What RUN, COPY and ADD ask for, made of their text: commands with mounts, files with their owners. Pure."""

import re
from dataclasses import dataclass

from sampan.node.images.building import effects, expansion, stages
from sampan.node.images.building.containerfile import (
    ContainerfileError,
    Heredoc,
    Instruction,
    heredoc_name,
    quoted_words,
)
from sampan.node.images.building.effects import State

_MODE = re.compile("[0-7]{1,4}")
_CHECKSUM = re.compile("sha256:[a-f0-9]{64}")
_GIT = re.compile(r"(?:git@|git://|ssh://).*|.*\.git(?:#.*)?")
_FLAGS = {
    "COPY": {"from", "chown", "chmod", "link", "exclude", "parents"},
    "ADD": {"chown", "chmod", "link", "exclude", "checksum", "unpack"},
    "RUN": {"mount", "network"},
}
SCRIPT = "/dev/shm/sampan-build-script"
"""Where a here-document with an interpreter of its own lies while it is run."""


@dataclass(frozen=True, slots=True)
class RunMount:
    """`RUN --mount`: kind is bind, cache or tmpfs."""

    kind: str
    target: str
    source: str = "/"
    origin: str = ""
    """Stage or image of a bind; empty for the context."""
    id: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A command that is run in the stage's files."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    user: str
    directory: str
    script: str = ""
    mounts: tuple[RunMount, ...] = ()
    has_network: bool = True


@dataclass(frozen=True, slots=True)
class Copy:
    """Files that come into the stage. `origin` is a stage or an image, empty for the context."""

    sources: tuple[str, ...]
    target: str
    """Absolute; it ends with a slash if it is to be a directory."""
    origin: str = ""
    owner: str = ""
    mode: int | None = None
    excluded: tuple[str, ...] = ()
    keeps_parents: bool = False
    may_fetch: bool = False
    unpacks: bool = False
    checksum: str = ""
    documents: tuple[tuple[str, str], ...] = ()
    """Files that stand in the Containerfile itself: name and text."""


def run(instruction: Instruction, state: State, escape: str) -> Run:
    """Raises ContainerfileError."""
    _check_flags(instruction)
    network = instruction.flag("network", "default")
    if network not in ("default", "host", "none"):
        raise ContainerfileError(instruction.line, f"RUN --network={network}: it can be default, host or none")
    arguments, script = _command(instruction, state)
    variables = {**state.arguments, **state.environment}
    mounts = tuple(_mount(instruction, value, state, escape) for name, value in instruction.flags if name == "mount")
    return Run(
        tuple(arguments),
        tuple(variables.items()),
        str(state.config.get("User") or ""),
        state.directory,
        script,
        mounts,
        network != "none",
    )


def copy(instruction: Instruction, state: State, escape: str) -> Copy:
    """Raises ContainerfileError."""
    _check_flags(instruction)
    parts = effects.words(instruction, state, escape)
    if len(parts) < 2:
        raise ContainerfileError(
            instruction.line, f"{instruction.name} requires at least two arguments: a source and the destination"
        )
    *sources, target = parts
    documents = [each for each in instruction.heredocs if each.name in {heredoc_name(word) for word in sources}]
    files = [source for source in sources if not heredoc_name(source) or not documents]
    if len(sources) > 1 and not target.endswith("/") and target not in (".", ".."):
        raise ContainerfileError(
            instruction.line,
            f"when using {instruction.name} with more than one source file, the destination must be a directory "
            "and end with a /",
        )
    if instruction.name == "ADD":
        for source in files:
            if _GIT.fullmatch(source):
                raise ContainerfileError(instruction.line, f"ADD {source}: git repositories can't be added; clone it")
    is_directory = target.endswith(("/", "/.", "/..")) or target in (".", "..")
    path = effects.joined(state.directory, target)
    value = {name: stages.expanded(instruction, text, state.variables, escape) for name, text in instruction.flags}
    return Copy(
        tuple(files),
        path + "/" if is_directory and path != "/" else path,
        value.get("from", ""),
        value.get("chown", ""),
        _mode(instruction, value.get("chmod", "")),
        tuple(stages.expanded(instruction, text, state.variables, escape) for text in _all(instruction, "exclude")),
        "parents" in value and value["parents"] != "false",
        instruction.name == "ADD",
        _unpacks(instruction, value.get("unpack")),
        _checksum(instruction, value.get("checksum", "")),
        tuple(_document(instruction, each, state) for each in documents),
    )


def is_remote(source: str) -> bool:
    """Whether a source of ADD is fetched."""
    return source.startswith(("http://", "https://"))


def _check_flags(instruction: Instruction) -> None:
    for name, _ in instruction.flags:
        if name not in _FLAGS[instruction.name]:
            raise ContainerfileError(instruction.line, f"{instruction.name} --{name} is not supported")


def _command(instruction: Instruction, state: State) -> tuple[list[str], str]:
    """The command, and the script that it runs, if there is one."""
    if not instruction.heredocs:
        return effects.command(instruction, state), ""
    mark = quoted_words(instruction.text)
    if len(mark) == 1:
        text = instruction.heredocs[0].text
        return ([SCRIPT], text) if text.startswith("#!") else ([*state.shell, text], "")
    lines = [instruction.text, *(f"{each.text}{each.name}" for each in instruction.heredocs)]
    return [*state.shell, "\n".join(lines) + "\n"], ""


def _mount(instruction: Instruction, value: str, state: State, escape: str) -> RunMount:
    parts = dict(part.partition("=")[::2] for part in value.split(","))
    parts = {name: stages.expanded(instruction, text, state.variables, escape) for name, text in parts.items()}
    kind = parts.pop("type", "bind")
    if kind not in ("bind", "cache", "tmpfs"):
        raise ContainerfileError(
            instruction.line, f"RUN --mount=type={kind} is not supported: use bind, cache or tmpfs"
        )
    target = next((parts[name] for name in ("target", "dst", "destination") if parts.get(name)), "")
    known = {"target", "dst", "destination", "source", "src", "from", "id", "ro", "readonly", "rw", "readwrite"}
    unknown = sorted(set(parts) - known - {"sharing", "size", "mode", "uid", "gid"})
    if unknown or not target:
        what = f"{unknown[0]!r} is not supported" if unknown else "target is missing"
        raise ContainerfileError(instruction.line, f"RUN --mount: {what}")
    path = effects.joined(state.directory, target)
    is_writable = any(parts.get(name, "false") in ("", "true") for name in ("rw", "readwrite"))
    is_fixed = any(parts.get(name, "false") in ("", "true") for name in ("ro", "readonly"))
    source = effects.joined("/", parts.get("source") or parts.get("src") or "/")
    if kind == "bind" and is_writable:
        raise ContainerfileError(instruction.line, "RUN --mount=type=bind,rw is not supported: it is read-only")
    if path == "/":
        raise ContainerfileError(instruction.line, "RUN --mount: the target can't be /")
    return RunMount(kind, path, source, parts.get("from", ""), parts.get("id") or path, kind == "bind" or is_fixed)


def _mode(instruction: Instruction, text: str) -> int | None:
    if not text:
        return None
    if not _MODE.fullmatch(text):
        raise ContainerfileError(instruction.line, f"invalid chmod parameter: {text!r}: it must be an octal number")
    return int(text, 8)


def _checksum(instruction: Instruction, text: str) -> str:
    if text and not _CHECKSUM.fullmatch(text):
        raise ContainerfileError(instruction.line, f"ADD --checksum={text}: it must be sha256: and 64 digits")
    return text


def _unpacks(instruction: Instruction, value: str | None) -> bool:
    if value not in (None, "false", "true", ""):
        raise ContainerfileError(instruction.line, f"ADD --unpack={value}: it can be true or false")
    return instruction.name == "ADD" and value != "false"


def _all(instruction: Instruction, name: str) -> list[str]:
    return [value for flag, value in instruction.flags if flag == name]


def _document(instruction: Instruction, each: Heredoc, state: State) -> tuple[str, str]:
    if not each.expands:
        return each.name, each.text
    try:
        return each.name, expansion.expand_document(each.text, state.variables)
    except (expansion.ExpansionError, RecursionError) as error:
        raise ContainerfileError(instruction.line, f"{instruction.name}: {error}") from error
