"""What instructions that make no files do to an image's configuration. Pure.

The configuration is the `config` object of an OCI image (https://github.com/opencontainers/image-spec/blob/main/config.md)
with Docker's additions: Healthcheck, Shell, OnBuild.
"""

import dataclasses
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.node.images.building import stages
from sampan.node.images.building.containerfile import ContainerfileError, Instruction, quoted_words, single

Tree = dict[str, Any]

DEFAULT_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]*(?:[+-]\d+)?|\d{1,2}")
_NO_TRIGGER = frozenset({"FROM", "MAINTAINER", "ONBUILD"})


@dataclass(frozen=True, slots=True)
class State:
    """A stage as far as it has come: its configuration, and the arguments that are declared in it."""

    config: Tree
    arguments: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    has_cmd: bool = False
    """Whether the stage itself has said CMD: else an ENTRYPOINT drops the one of the base."""

    @property
    def environment(self) -> dict[str, str]:
        """ENV."""
        pairs = (str(item).partition("=") for item in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def variables(self) -> dict[str, str]:
        """What words are expanded with: ENV goes before ARG."""
        return {**self.arguments, **self.environment}

    @property
    def directory(self) -> str:
        """Where commands run, and what relative paths are relative to."""
        return str(self.config.get("WorkingDir") or "/")

    @property
    def shell(self) -> list[str]:
        """What runs commands that are no JSON list."""
        return list(self.config.get("Shell") or DEFAULT_SHELL)

    def with_config(self, **changes: Any) -> "State":
        """With these fields of the configuration; None takes a field away."""
        merged = {**self.config, **changes}
        return dataclasses.replace(self, config={name: value for name, value in merged.items() if value is not None})


def applied(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    """The stage after the instruction, as far as its configuration is concerned. Raises ContainerfileError."""
    effect = _EFFECTS.get(instruction.name)
    return effect(state, instruction, plan) if effect else state


def words(instruction: Instruction, state: State, escape: str) -> list[str]:
    """The arguments, expanded: those of the JSON list, or those between blanks. Raises ContainerfileError."""
    found = instruction.form
    parts = found if found is not None else quoted_words(instruction.text, escape)
    return [stages.expanded(instruction, part, state.variables, escape) for part in parts]


def joined(directory: str, path: str) -> str:
    """The path below the directory, clean; an absolute one is itself."""
    return "/" + posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")


def triggers(config: Tree) -> list[Instruction]:
    """What an image says with ONBUILD that is to be done when it is a base. Raises ContainerfileError."""
    return [single(0, str(text)) for text in config.get("OnBuild") or ()]


def pairs(instruction: Instruction, state: State, escape: str) -> list[tuple[str, str]]:
    """Names and values of ENV and LABEL, in both forms. Raises ContainerfileError."""
    parts = quoted_words(instruction.text, escape)
    if "=" not in parts[0]:
        name, _, rest = instruction.text.partition(parts[0])[2].partition(" ")
        if not rest.strip():
            raise ContainerfileError(instruction.line, f"{instruction.name} must have two arguments")
        value = stages.expanded(instruction, rest.strip(), state.variables, escape)
        return [(stages.expanded(instruction, parts[0] + name, state.variables, escape), value)]
    found = []
    for part in parts:
        name, mark, value = part.partition("=")
        if not mark:
            raise ContainerfileError(
                instruction.line, f"syntax error: can't find = in {part!r}: must be of the form name=value"
            )
        expanded = (stages.expanded(instruction, text, state.variables, escape) for text in (name, value))
        found.append((next(expanded), next(expanded)))
    for name, _ in found:
        if not name:
            raise ContainerfileError(instruction.line, f"{instruction.name} names can not be blank")
    return found


def _arg(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    known = dict(state.arguments)
    for name, default in stages.argument_pairs(instruction, state.variables, plan.escape):
        value = plan.given.get(name, default if default is not None else plan.arguments.get(name))
        if value is not None:
            known[name] = value
    return dataclasses.replace(state, arguments=known)


def _env(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    known = {**state.environment, **dict(pairs(instruction, state, plan.escape))}
    return state.with_config(Env=[f"{name}={value}" for name, value in known.items()])


def _label(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    known = {**(state.config.get("Labels") or {}), **dict(pairs(instruction, state, plan.escape))}
    return state.with_config(Labels=known)


def _workdir(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    path = stages.expanded(instruction, instruction.text, state.variables, plan.escape)
    if not path:
        raise ContainerfileError(instruction.line, "WORKDIR requires a path")
    return state.with_config(WorkingDir=joined(state.directory, path))


def _user(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    user = stages.expanded(instruction, instruction.text, state.variables, plan.escape)
    if not user or len(user.split()) != 1:
        raise ContainerfileError(instruction.line, "USER requires exactly one argument")
    return state.with_config(User=user)


def _expose(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    known = dict(state.config.get("ExposedPorts") or {})
    for word in " ".join(words(instruction, state, plan.escape)).split():
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not found or not 0 < first <= last < 65536:
            raise ContainerfileError(instruction.line, f"invalid containerPort: {word}")
        known |= {f"{port}/{(found[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    return state.with_config(ExposedPorts=dict(sorted(known.items())))


def _volume(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    paths = words(instruction, state, plan.escape)
    if not paths or not all(path.strip() for path in paths):
        raise ContainerfileError(instruction.line, "VOLUME specified can not be an empty string")
    known = {**(state.config.get("Volumes") or {}), **{joined("/", path): {} for path in paths}}
    return state.with_config(Volumes=dict(sorted(known.items())))


def _stop_signal(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    signal = stages.expanded(instruction, instruction.text, state.variables, plan.escape)
    if not _SIGNAL.fullmatch(signal):
        raise ContainerfileError(instruction.line, f"invalid signal: {signal}")
    return state.with_config(StopSignal=signal)


def _shell(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    if not instruction.form:
        raise ContainerfileError(instruction.line, "SHELL requires the arguments to be in JSON form")
    return state.with_config(Shell=instruction.form)


def command(instruction: Instruction, state: State) -> list[str]:
    """What is run: the JSON list, or the text by the shell."""
    form = instruction.form
    return form if form is not None else [*state.shell, instruction.text]


def _cmd(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    return dataclasses.replace(state.with_config(Cmd=command(instruction, state) or None), has_cmd=True)


def _entrypoint(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    changed = state.with_config(Entrypoint=command(instruction, state) or None)
    return changed if state.has_cmd else changed.with_config(Cmd=None)


def _maintainer(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    return dataclasses.replace(state, author=instruction.text)


def _on_build(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    trigger = single(instruction.line, instruction.text)
    if trigger.name in _NO_TRIGGER:
        raise ContainerfileError(instruction.line, f"{trigger.name} isn't allowed as an ONBUILD trigger")
    return state.with_config(OnBuild=[*(state.config.get("OnBuild") or ()), instruction.text])


def _health_check(state: State, instruction: Instruction, plan: stages.Plan) -> State:
    kind, _, rest = instruction.text.partition(" ")
    if kind.upper() == "NONE" and not rest.strip():
        return state.with_config(Healthcheck={"Test": ["NONE"]})
    if kind.upper() != "CMD" or not rest.strip():
        raise ContainerfileError(instruction.line, "HEALTHCHECK requires CMD and a command, or NONE")
    asked = dataclasses.replace(instruction, text=rest.strip(), flags=())
    test = ["CMD", *asked.form] if asked.form else ["CMD-SHELL", asked.text]
    found: Tree = {"Test": test}
    for name, value in instruction.flags:
        if name == "retries" and value.isdecimal() and len(value) < 10:
            found["Retries"] = int(value)
        elif name in _HEALTH_TIMES:
            found[_HEALTH_TIMES[name]] = _nanoseconds(instruction, value)
        else:
            raise ContainerfileError(instruction.line, f"HEALTHCHECK: --{name}={value} can't be")
    return state.with_config(Healthcheck=found)


_HEALTH_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def _nanoseconds(instruction: Instruction, text: str) -> int:
    found = [(number, unit) for number, unit in _DURATION.findall(text) if len(number) < 16]
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ContainerfileError(instruction.line, f"{instruction.name}: invalid duration {text!r}")
    return int(sum(float(number) * _NANOSECONDS[unit] for number, unit in found))


_EFFECTS: dict[str, Callable[[State, Instruction, stages.Plan], State]] = {
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health_check,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
