"""The configuration document of a built image, and the keys under which steps are kept. Pure.

See https://github.com/opencontainers/image-spec/blob/main/config.md.
"""

import dataclasses
import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.node.images.building import stages
from sampan.node.images.building.effects import State
from sampan.node.images.building.orders import Copy, Run

Tree = dict[str, Any]

FORMAT = 2
"""Of keys: another one where the same step makes something else than it used to."""
EPOCH = 315619200
"""What files and images are dated with if nothing else is said: 1980-01-02, the first day that archives of every
kind can hold in every time zone."""
_PROXIES = frozenset(stages.PREDEFINED) | {name.lower() for name in stages.PREDEFINED}


@dataclass(slots=True)
class Made:
    """A stage as far as it has been carried out: layers as pairs of blob and diff id, and where they came from."""

    state: State
    layers: list[tuple[str, str]] = field(default_factory=list)
    history: list[Tree] = field(default_factory=list)
    base: Tree = field(default_factory=dict)

    @property
    def diff_ids(self) -> list[str]:
        """Of the layers, the lowest first."""
        return [diff_id for _, diff_id in self.layers]

    def fork(self) -> "Made":
        """A stage that goes on from here, by itself."""
        state = dataclasses.replace(self.state, arguments={}, has_cmd=False)
        return Made(state, list(self.layers), list(self.history), self.base)


def key(made: Made, order: Run | Copy | str, content: str, epoch: int) -> str:
    """The same for what makes the same files of the same ones."""
    if isinstance(order, Run):
        known = tuple(pair for pair in order.environment if pair[0] not in _PROXIES)
        order = dataclasses.replace(order, environment=known)
    parts = [FORMAT, made.diff_ids, type(order).__name__, repr(order), content, epoch]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_PASSTHROUGH_DATACLASS)).hexdigest()


def began(document: Tree, layers: list[tuple[str, str]]) -> Made:
    """The stage at its FROM an image with this configuration document."""
    config = document.get("config")
    state = State(dict(config) if isinstance(config, dict) else {}, author=str(document.get("author") or ""))
    history = [dict(entry) for entry in document.get("history") or () if isinstance(entry, dict)]
    if sum(not entry.get("empty_layer") for entry in history) != len(layers):
        history = [{"created_by": "imported"} for _ in layers]
    return Made(state, list(layers), history, document)


def document(made: Made, architecture: str, epoch: int) -> bytes:
    """The image's configuration."""
    tree: Tree = {
        "architecture": made.base.get("architecture") or architecture,
        "config": made.state.config,
        "created": timestamp(epoch),
        "history": made.history,
        "os": made.base.get("os") or "linux",
        "rootfs": {"diff_ids": made.diff_ids, "type": "layers"},
    }
    tree |= {"author": made.state.author} if made.state.author else {}
    tree |= {"variant": made.base["variant"]} if made.base.get("variant") else {}
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)


def entry(text: str, epoch: int, *, has_layer: bool) -> Tree:
    """A line of the image's history."""
    found: Tree = {"created": timestamp(epoch), "created_by": text[:1000]}
    return found if has_layer else {**found, "empty_layer": True}


def timestamp(epoch: int) -> str:
    """RFC 3339, in UTC."""
    return dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
