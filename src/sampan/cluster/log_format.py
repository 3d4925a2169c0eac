"""The form of the processes' own logs: lines of text, or one JSON object a line.

https://kubernetes.io/docs/concepts/cluster-administration/system-logs/#json-log-format
"""

import logging

import orjson

from sampan.cluster import log_files

TEXT, JSON = FORMATS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """{"ts": milliseconds, "level": "info", "logger": ..., "msg": ..., "err": ...}"""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a story of an exception is in `stacktrace`."""
        line = {
            "ts": round(record.created * 1000, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "caller": f"{record.filename}:{record.lineno}",
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= {"err": repr(record.exc_info[1]), "stacktrace": self.formatException(record.exc_info)}
        return orjson.dumps(line).decode()


def configure(form: str, *, is_own: bool = True) -> None:
    """Everything from level INFO on goes to stderr in this form; its file is kept to a size where it is the process' own."""
    handler = log_files.Handler() if is_own else logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == JSON else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
