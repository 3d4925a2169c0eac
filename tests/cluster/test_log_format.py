"""The form of a process' own log."""

import json
import logging
import subprocess
import sys
from pathlib import Path

from sampan.cluster import agent_process, agents
from sampan.cluster.log_format import JsonFormatter
from sampan.cluster.settings import Settings


def test_a_json_log_has_one_object_a_line() -> None:
    """Time, level, place and text; an exception's story in its own field, and no line break outside of quotes."""
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord(
            "sampan.server", logging.ERROR, "app.py", 7, "it %s", ("failed\nbadly",), sys.exc_info()
        )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["caller"], found["msg"]) == (
        "error", "sampan.server", "app.py:7", "it failed\nbadly",
    )  # fmt: skip
    assert found["err"] == "ValueError('broken')"
    assert "Traceback" in found["stacktrace"]


AGENT = """
import logging, sys
from sampan.node import process
def run(arguments, *others):
    logging.basicConfig(level="INFO", format="%(message)s")
    logging.getLogger("sampan.node").info("told %s", arguments)
    return 0
process.main = run
from sampan.cluster import agent_process
sys.exit(agent_process.main(sys.argv[1:]))
"""


def test_a_node_agent_logs_as_its_cluster_does(tmp_path: Path) -> None:
    """JSON where the cluster's processes log JSON, text else; the agent proper is not told of it."""
    config = tmp_path / "node.json"
    config.write_text(json.dumps(dict.fromkeys(agent_process._FILES, __file__)))
    for form in ("json", "text"):
        given = agents.arguments(Settings("a", tmp_path, log_format=form), config)
        done = subprocess.run([sys.executable, "-c", AGENT, *given], capture_output=True, check=True, text=True)
        text = f"told ['--config', '{config}']"
        if form == "json":
            found = json.loads(done.stderr)
            assert (found["logger"], found["level"], found["msg"]) == ("sampan.node", "info", text)
        else:
            assert done.stderr == f"{text}\n"
