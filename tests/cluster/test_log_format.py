"""The form of a process' own log."""

import json
import logging
import sys

from sampan.cluster.log_format import JsonFormatter


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
