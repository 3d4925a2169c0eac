"""The node agent's process as `sampan up` starts it: at the same time as the control plane, which makes its keys.

    python -m sampan.cluster.agent_process --config FILE [--teardown] [--log-format json] [--detach LOG]

The imports overlap with the making of the keys; the agent proper starts when they are there. With
--detach it goes on in the background and prints its pid: so sudo may ask for a password, and is not
needed any longer than that.
"""

import gc
import os
import sys
import time
from pathlib import Path

import orjson

from sampan.cluster import log_format

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.005


def main(arguments: list[str]) -> int:
    """Waits for the files that the configuration names, then runs the agent."""
    if "--detach" in arguments:
        at = arguments.index("--detach")
        _detach(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    if "--log-format" in arguments:
        at = arguments.index("--log-format")
        log_format.configure(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    gc.disable()  # until everything is loaded: next to nothing of that is garbage
    from sampan.node import process

    gc.enable()
    path = Path(arguments[arguments.index("--config") + 1])
    config = orjson.loads(path.read_bytes())
    wanted = [Path(config[name]) for name in ("ca", "certificate", "key")]
    deadline = time.monotonic() + WAIT_SECONDS
    while missing := [str(file) for file in wanted if not file.exists()]:
        if "--teardown" in arguments:
            break
        if time.monotonic() > deadline:
            print(f"these files did not appear: {', '.join(missing)}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)
    return process.main(arguments)


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
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((nothing, output, output)):
        os.dup2(source, target)
    os.write(writer, b"x")
    os.close(writer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
