"""What has to be known after the agent's end, in a file that is whole at any time."""

import logging
from pathlib import Path
from typing import Any

import orjson

from sampan.kit import files

log = logging.getLogger(__name__)


def save(path: Path, tree: Any) -> None:
    """In the place of what was there."""
    files.write_whole(path, orjson.dumps(tree))


def load(path: Path) -> Any:
    """What was saved last; None when there is nothing, or nothing that can be read."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        log.warning("%s: %s", path, error)
        return None
