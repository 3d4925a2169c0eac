"""What was made for which pod, kept on disk: a plugin is told it again when it is to check that or take it away.

A record is there before the first plugin runs, so that what an agent left half-made when it was killed is taken away
too; the result comes to it with the last one.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sampan.node.network.cni.configuration import NetworkList, parse
from sampan.node.network.cni.plugin import Errand

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One pod's network: by which plugins, for whom, with what capabilities, and what came of it if it is complete."""

    network: NetworkList
    errand: Errand
    capabilities: Tree
    result: Tree | None = None


class Records:
    """One file a pod, named by its uid."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def uids(self) -> list[str]:
        """The pods of which there is a record."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def get(self, uid: str) -> Record | None:
        try:
            found = orjson.loads(self._path(uid).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        errand = Errand(uid, found["netns"], found["arguments"])
        return Record(parse(found["network"]), errand, found["capabilities"], found["result"])

    def keep(self, uid: str, record: Record) -> None:
        """Replaces what is known of the pod."""
        network = record.network
        made = {
            "network": {
                "name": network.name,
                "cniVersion": network.version,
                "plugins": network.plugins,
                "disableCheck": not network.is_checked,
            },
            "netns": record.errand.netns,
            "arguments": record.errand.arguments,
            "capabilities": record.capabilities,
            "result": record.result,
        }
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path(uid).with_suffix(".new")
        fresh.write_bytes(orjson.dumps(made))
        os.replace(fresh, self._path(uid))

    def drop(self, uid: str) -> None:
        """Forgets the pod; the folder goes with the last one."""
        self._path(uid).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"
