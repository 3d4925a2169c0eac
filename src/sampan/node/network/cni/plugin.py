"""Running a CNI plugin: a program that gets its orders by environment and stdin, and answers on stdout.

https://www.cni.dev/docs/spec/#section-2-execution-protocol
"""

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.node import outsiders
from sampan.node.network.cni.configuration import CniError

INTERFACE = "eth0"
LONGEST_SECONDS = 120.0
_MOST_TEXT = 2000
_NAMES = {"DEL": "delete"}
"""What runtimes call a verb in their messages, where that is another word."""

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Errand:
    """For which pod: its sandbox's name, its namespace's file, and arguments such as `K8S_POD_NAME=web`."""

    container_id: str
    netns: str
    arguments: Mapping[str, str]

    def environment(self, verb: str, folders: tuple[str, ...]) -> dict[str, str]:
        """As the plugin gets it, beside the agent's own."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": ";".join(f"{name}={value}" for name, value in self.arguments.items()),
            "CNI_PATH": os.pathsep.join(folders),
        }


async def run(verb: str, told: Tree, errand: Errand, folders: tuple[str, ...]) -> Tree:
    """What the plugin answers; nothing, where it has nothing to say. Raises CniError with what it says is wrong."""
    try:
        return await _run(verb, told, errand, folders)
    except CniError as error:
        raise CniError(f'plugin type="{told["type"]}" failed ({_NAMES.get(verb, verb.lower())}): {error}') from error


async def _run(verb: str, told: Tree, errand: Errand, folders: tuple[str, ...]) -> Tree:
    program = _program(told["type"], folders)
    environment = {**os.environ, **errand.environment(verb, folders)}
    try:
        said = await outsiders.ask((program,), LONGEST_SECONDS, orjson.dumps(told), environment)
    except OSError as error:
        raise CniError(f"{program}: {error.strerror}") from error
    except outsiders.NoAnswer as error:
        raise CniError(str(error)) from None
    if said.code:
        raise CniError(_complaint(said.output, said.errors, said.code))
    return _answer(said.output) if verb == "ADD" else {}  # what is said to the others means nothing


def _program(type: str, folders: tuple[str, ...]) -> str:
    for folder in folders:
        path = os.path.join(folder, type)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise CniError(f'failed to find plugin "{type}" in path [{" ".join(folders)}]')


def _answer(output: bytes) -> Tree:
    if not output.strip():
        return {}
    try:
        found = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        raise CniError(f"its answer is no JSON: {output[:_MOST_TEXT].decode(errors='replace')!r}") from error
    if not isinstance(found, dict):
        raise CniError(f"its answer is no object: {output[:_MOST_TEXT].decode(errors='replace')!r}")
    return found


def _complaint(output: bytes, errors: bytes, code: int) -> str:
    """What the plugin says by the protocol; else what it printed."""
    with contextlib.suppress(orjson.JSONDecodeError):
        found = orjson.loads(output)
        if isinstance(found, dict) and found.get("msg"):
            details = found.get("details")
            return f"{found['msg']}; {details}" if details else str(found["msg"])
    printed = (errors or output).decode(errors="replace").strip()[:_MOST_TEXT]
    how = f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"
    return f'netplugin failed: "{printed}"' if printed else f"netplugin failed with no error message: {how}"
