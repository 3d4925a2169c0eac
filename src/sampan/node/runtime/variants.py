"""Which OCI runtimes make containers here, by the names that RuntimeClasses give as handlers.

Known by name are runc, crun and runsc (gVisor), where they are installed; others come from a file:

    handlers:
      kata: {path: /opt/kata/bin/kata-runtime, arguments: [--rootless=false]}
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.meta import names
from sampan.meta.status import ApiError
from sampan.meta.wire import yaml
from sampan.node.images import rooted
from sampan.node.runtime import checks, programs
from sampan.node.runtime.protocol import ContainerConfig, Features, RuntimeFailure, Sandbox

KNOWN: Mapping[str, tuple[str, ...]] = {
    "runc": (),
    "crun": (),
    # Its own network stack needs a sandbox for the whole pod, so containers use the kernel's, in the pod's namespace.
    "runsc": ("--network=host",),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A runtime's program, and the arguments that come before all others."""

    path: str
    arguments: tuple[str, ...] = ()

    @property
    def is_sandbox(self) -> bool:
        """Whether each container has a kernel of its own, of which nothing can be shared."""
        return os.path.basename(self.path).startswith(("runsc", "kata"))


class Tools:
    """The programs for each handler; "" is the usual runtime, and what is known of their abilities."""

    def __init__(self, usual: Variant, conmon: str, state_dir: str, exit_dir: str) -> None:
        self._conmon, self._state_dir, self._exit_dir = conmon, state_dir, exit_dir
        self._found = {"": usual}
        self.features: dict[str, Features] = {"": Features(False, False)}

    def find(self, files: Sequence[str]) -> None:
        """Looks which there are. ValueError for a file that can't be meant so."""
        self._found |= find(files)
        self.features = {name: Features(False, False) for name in self._found}

    async def ask(self, handler: str) -> None:
        """Has the runtime say what it can do."""
        if not self._found[handler].is_sandbox:
            self.features[handler] = checks.features(await self.of(handler).features())

    async def ask_others(self) -> None:
        """All that are not the usual one again."""
        usual = self._found[""].path
        for name, variant in self._found.items():
            if variant.path == usual:
                self.features[name] = self.features[""]
            elif name:
                with contextlib.suppress(OSError):
                    await self.ask(name)

    def of(self, handler: str) -> programs.Programs:
        """The programs. RuntimeFailure for a handler that isn't here."""
        variant = self._found.get(handler)
        if variant is None:
            raise unknown(handler)
        state_dir = f"{self._state_dir}-{handler}" if handler else self._state_dir
        return programs.Programs(variant.path, self._conmon, state_dir, self._exit_dir, variant.arguments)

    def check(self, sandbox: Sandbox) -> None:
        """RuntimeFailure when the pod can't be here."""
        if sandbox.handler not in self._found:
            raise unknown(sandbox.handler)
        if sandbox.own_users and not self.features[sandbox.handler].user_namespaces:
            text = f'runtime handler "{sandbox.handler}" does not support user namespaces'
            raise RuntimeFailure("FailedCreatePodSandBox", text)

    def check_container(self, config: ContainerConfig) -> None:
        """The same for a container."""
        self.check(Sandbox(config.pod_uid, config.handler, config.own_users))
        if self._found[config.handler].is_sandbox and (config.shares_processes or config.pid_of):
            text = f'runtime handler "{config.handler}" gives each container processes of its own'
            raise RuntimeFailure("CreateContainerError", f"{text}: there is no shareProcessNamespace, and no target")

    def is_sandbox(self, handler: str) -> bool:
        """Whether containers of this handler have kernels of their own."""
        return self._found[handler].is_sandbox

    def is_waiting(self, handler: str, container_id: str) -> bool:
        """Whether a container was made and not started: runc and crun keep this pipe until then; others may not."""
        pipe = os.path.join(self.of(handler).state_dir, container_id, "exec.fifo")
        return self._found[handler].is_sandbox or os.path.exists(pipe)

    async def clear(self) -> None:
        """Deletes what is left of containers, and the directories. RuntimeFailure in the end for what can't be deleted."""
        failures = []
        for handler in self._found:
            tools = self.of(handler)
            for leftover in _names(tools.state_dir):
                try:
                    await tools.delete(leftover)
                except RuntimeFailure as failure:
                    failures.append(failure)
            rooted.remove_tree(tools.state_dir)
        if failures:
            raise failures[0]


def _names(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(folder)
    return []


def find(files: Sequence[str] = ()) -> dict[str, Variant]:
    """Those that are installed or in the first of the files that exists. ValueError for a file that can't be meant so."""
    found = {}
    for name, arguments in KNOWN.items():
        path = programs.find(name)
        if os.path.isabs(path):
            found[name] = Variant(path, arguments)
    return found | _configured(files)


def unknown(handler: str) -> RuntimeFailure:
    """As containerd says it."""
    text = f'failed to get sandbox runtime: no runtime for "{handler}" is configured'
    return RuntimeFailure("FailedCreatePodSandBox", f"rpc error: code = Unknown desc = {text}")


def _configured(files: Iterable[str]) -> dict[str, Variant]:
    for file in files:
        try:
            data = Path(file).read_bytes()
        except FileNotFoundError:
            continue
        try:
            return _parsed(yaml.decode(data))
        except (ApiError, ValueError) as error:
            text = error.message if isinstance(error, ApiError) else str(error)
            raise ValueError(f"{file}: {text}") from error
    return {}


def _parsed(tree: Any) -> dict[str, Variant]:
    if not isinstance(tree, dict) or set(tree) != {"handlers"} or not isinstance(tree["handlers"], dict):
        raise ValueError("must have handlers, and nothing else")
    return {name: _variant(name, given) for name, given in tree["handlers"].items()}


def _variant(name: str, given: Any) -> Variant:
    where = f"handlers.{name}"
    if names.dns1123_label(name):
        raise ValueError(f"{where}: is no name of a handler")
    if not isinstance(given, dict) or set(given) - {"path", "arguments"}:
        raise ValueError(f"{where}: must have path and may have arguments, and nothing else")
    path, arguments = given.get("path"), given.get("arguments") or []
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"{where}.path: must be an absolute path")
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise ValueError(f"{where}.arguments: must be a list of texts")
    return Variant(path, tuple(arguments))
