"""The node agents' processes as `sampan up` starts them: at the same time as the control plane, which makes their keys.

    python -m sampan.cluster.agent_process --config FILE [--also FILE LOG PID_FILE]... [--teardown] [--detach LOG]
        [--begun-by START]

The code is loaded meanwhile, once for all: what --also names are further nodes' agents, processes of their own that
share what was loaded. The agent proper starts when the keys are there. Where its node is one of several on this host,
it enters the node's network namespace before. With --detach it goes on in the background and prints its pid: so sudo
may ask for a password, and is not needed any longer than that. With --teardown, a node's configuration is printed when
nothing of the node is left.
"""

import argparse
import contextlib
import functools
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from sampan.cluster import first_use, forsaken, loading, log_format, processes
from sampan.kit import wall

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.005
_FILES = ("ca", "certificate", "key", "serving_certificate", "serving_key", "client_ca")


def main(arguments: list[str]) -> int:
    """Waits for the files that the configuration names, then runs the agent."""
    chosen = _parser().parse_args(arguments)
    processes.heed_signals()
    if chosen.detach:
        _detach(chosen.detach)
    if chosen.log_format:
        log_format.configure(chosen.log_format)
    _load(shared=bool(chosen.also))
    if chosen.teardown:
        return _tear_down(chosen)
    for file, log, pid_file in chosen.also:
        if _is_new_process(log, Path(pid_file)):
            return _run(file)
    if not chosen.also:
        first_use.rest_soon()
    return _run(chosen.config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sampan-node")
    parser.add_argument("--config", required=True)
    parser.add_argument("--also", nargs=3, action="append", default=[])
    parser.add_argument("--teardown", action="store_true")
    parser.add_argument("--log-format", choices=log_format.FORMATS)
    parser.add_argument("--detach", metavar="LOG")
    parser.add_argument("--begun-by", metavar="START", help="only to be seen by who lists processes")
    return parser


def _load(*, shared: bool) -> None:
    """For several agents all that they need, to be shared by them; for one of them what it needs to begin."""
    if not shared:
        first_use.modules()
    with loading.fast():
        from sampan.node import process

        if shared:
            process.load()
        _ = process.main  # which loads it


def _run(file: str) -> int:
    """One node's agent."""
    from sampan.node import process

    config = orjson.loads(Path(file).read_bytes())
    told = ["--config", file]
    if "lan" in config:
        from sampan.node.network import lan

        told += ["--host-namespace", str(lan.enter(lan.read(config["lan"])))]
    if not _has_keys(config):
        return 1
    if config.get("api_address"):
        return process.main(told)
    return process.main(told, functools.partial(_note_servers, Path(file).parent.parent))


def _note_servers(directory: Path, found: Sequence[str]) -> None:
    """Commands on a machine that joined know the servers that its agent knows. Raises OSError."""
    from sampan.cluster import reaching, settings

    try:
        cluster = settings.load(directory)
    except settings.SettingsError as error:
        raise OSError(str(error)) from error
    if cluster is not None and cluster.joined_to:
        reaching.note(cluster, found)


def _has_keys(config: dict[str, Any]) -> bool:
    """Returns when they are there, or it has taken too long."""
    wanted = [Path(config[name]) for name in _FILES]
    deadline = time.monotonic() + WAIT_SECONDS
    while missing := [str(file) for file in wanted if not file.exists()]:
        if time.monotonic() > deadline:
            print(f"these files did not appear: {', '.join(missing)}", file=sys.stderr)
            return False
        wall.pause(POLL_SECONDS)
    return True


def _tear_down(chosen: argparse.Namespace) -> int:
    """Each node in a process of its own."""
    children = []
    for file, log, _ in [(chosen.config, "", ""), *chosen.also]:
        child = os.fork()
        if not child:
            if log:
                _write_to(log, sys.stderr.fileno())
            code = 1
            try:
                code = _tear_down_one(file)
            except Exception:  # noqa: BLE001 (said, and the others go on)
                traceback.print_exc()
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return max(map(abs, codes))


def _tear_down_one(file: str) -> int:
    from sampan.node import process

    config = orjson.loads(Path(file).read_bytes())
    if "lan" not in config:
        code = process.main(["--config", file, "--teardown"])
    else:
        from sampan.node.network import lan

        place = lan.read(config["lan"])
        host = lan.enter_for_teardown(place)
        try:
            code = process.main(["--config", file, "--teardown"])
        finally:
            lan.leave(place, host)
    if code in (0, process.RUNTIME_GONE):
        os.write(sys.stdout.fileno(), f"{forsaken.GONE if code else ''}{file}\n".encode())
    return code


def _is_new_process(log: str, pid_file: Path) -> bool:
    """True in the new one, which has a session of its own, writes to the log and has noted its pid; False here."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    _write_to(log, sys.stdout.fileno(), sys.stderr.fileno())
    pid_file.write_text(f"{os.getpid()} {processes.start_time(os.getpid())}\n")
    with contextlib.suppress(OSError):
        folder = pid_file.parent.stat()
        os.chown(pid_file, folder.st_uid, folder.st_gid)
    return True


def _detach(log: str) -> None:
    """Returns in a child with a session of its own that writes to the log; the parent prints its pid and ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.read(reader, 1)
        print(child, flush=True)
        os._exit(0)
    os.close(reader)
    os.setsid()
    _write_to(log, sys.stdout.fileno(), sys.stderr.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.write(writer, b"x")
    os.close(writer)


def _write_to(log: str, *targets: int) -> None:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target in targets:
        os.dup2(output, target)
    os.close(output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
