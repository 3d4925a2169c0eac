"""The node agent's process as `sampan up` starts it: at the same time as the control plane, which makes its keys.

    python -m sampan.cluster.agent_process --config FILE [--teardown]

The imports overlap with the making of the keys; the agent proper starts when they are there.
"""

import sys
import time
from pathlib import Path

import orjson

from sampan.node import process

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.005


def main(arguments: list[str]) -> int:
    """Waits for the files that the configuration names, then runs the agent."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
