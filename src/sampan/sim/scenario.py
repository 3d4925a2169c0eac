"""Scenario: a document that says what a cluster is like, what is done in it, what goes wrong, and what must hold.

    apiVersion: sim.sampan.dev/v1alpha1
    kind: Scenario
    nodes: 3                             a number, or a list of {name, cpus, memory, pods, labels, taints}
    featureGates: {NAME: true}           parts of Kubernetes that are open; docs/guide/feature-gates.md
    layers: [rollouts]                   what is enabled above the core
    jitter: 50ms                         what a message takes at most; the seed decides
    programs: [operator.py]              controllers under test
    steps: [...]                         sim/steps.py
    faults: [...]                        sim/faults.py
    containers: [{of: web, do: {...}}]   what simulated containers do, as in the fault of this name
    invariants: [rules.py, {name: ..., objects: pods, cel: ...}]
    settle: 10m                          how soon after the end everything must be in order

Times count from when every node is Ready. https://github.com/sampan-project/sampan/tree/main/docs/guide/simulation.md
"""

import copy
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml as yaml_writer

from sampan.cluster import layers
from sampan.kinds import feature_gates
from sampan.meta import quantity
from sampan.meta.status import ApiError
from sampan.meta.wire import yaml
from sampan.sim import conditions, faults, programs, steps
from sampan.sim.conditions import Condition
from sampan.sim.faults import Containers, Happening
from sampan.sim.reading import Value, Wrong
from sampan.sim.steps import Step

Object = dict[str, Any]

API_VERSION = "sim.sampan.dev/v1alpha1"
KIND = "Scenario"
JITTER_SECONDS = 0.05
SETTLE_SECONDS = 600.0
MAX_NODES = 1000
WIDTH = 110
_FIELDS = (
    "apiVersion",
    "kind",
    "description",
    "nodes",
    "featureGates",
    "layers",
    "jitter",
    "programs",
    "steps",
    "faults",
    "containers",
    "invariants",
    "settle",
)
_ORDER = {
    name: place
    for place, name in enumerate(
        (*_FIELDS, *steps.WORDS, *faults.WORDS, "name", "object", "objects", "of", "metadata", "spec", *faults.COMMON)
    )
}
_NODE_FIELDS = ("name", "cpus", "memory", "pods", "labels", "taints")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class ScenarioError(Exception):
    """The document is no scenario: FILE:LINE: FIELD: why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A simulated node; `given` is what is not as on every other one."""

    name: str
    given: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A file and how many of it run at once."""

    file: Path
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """An invariant in CEL."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Scenario:
    """`tree` is the document itself, `file` where it was read from."""

    file: Path
    tree: Object
    nodes: tuple[Node, ...]
    feature_gates: dict[str, bool]
    layers: tuple[str, ...]
    jitter: float
    settle: float
    programs: tuple[Program, ...]
    steps: tuple[Step, ...]
    faults: tuple[Happening, ...]
    containers: tuple[Containers, ...]
    rule_files: tuple[Path, ...]
    demands: tuple[Demand, ...]

    @property
    def name(self) -> str:
        """The file's, without its end."""
        return self.file.stem


def load(file: Path) -> Scenario:
    """Reads the file. Raises ScenarioError, and OSError."""
    try:
        source = file.read_text()
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{file}: it is not text: {error}") from error
    try:
        tree = yaml.decode(source.encode())
        return of_tree(tree, file)
    except Wrong as error:
        raise ScenarioError(error.told(str(file), source)) from error
    except ApiError as error:
        raise ScenarioError(f"{file}: {str(error).rpartition('yaml: ')[2]}") from error


def of_tree(tree: Any, file: Path) -> Scenario:
    """The scenario that the tree says; names of files in it are relative to `file`. Raises Wrong."""
    document = Value(tree)
    document.only(_FIELDS)
    for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.needed(name).text() != wanted:
            document.field(name).wrong(f"must be {wanted}")
    where = file.parent
    given = list(document.field("invariants").items())
    nodes = _nodes(document.field("nodes"))
    names = tuple(node.name for node in nodes)
    return Scenario(
        file=file,
        tree=document.mapping(),
        nodes=nodes,
        feature_gates=_gates(document.field("featureGates")),
        layers=tuple(_layer(item) for item in document.field("layers").items()),
        jitter=document.field("jitter").seconds(JITTER_SECONDS),
        settle=document.field("settle").seconds(SETTLE_SECONDS),
        programs=_programs(document.field("programs"), where),
        steps=tuple(steps.read(item, where) for item in document.field("steps").items()),
        faults=tuple(faults.read(item, names) for item in document.field("faults").items()),
        containers=tuple(faults.read_containers(item) for item in document.field("containers").items()),
        rule_files=tuple(_file(item, where) for item in given if isinstance(item.tree, str)),
        demands=tuple(_demand(item) for item in given if not isinstance(item.tree, str)),
    )


def written(given: Scenario, where: Path | None = None) -> str:
    """Its document as YAML, as it must be in the folder `where`: the names of its files lead from there."""
    tree = _moved(given, where) if where is not None else given.tree
    return yaml_writer.safe_dump(_ordered(tree), sort_keys=False, width=WIDTH, allow_unicode=True)


def _ordered(tree: Any) -> Any:
    """Fields in the order in which people write them; those of no special place by name."""
    if isinstance(tree, list):
        return [_ordered(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    names = sorted(tree, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    return {name: _ordered(tree[name]) for name in names}


def _moved(given: Scenario, where: Path) -> Object:

    def lead(tree: Any) -> Any:
        if not isinstance(tree, str) or "\n" in tree:
            return tree
        return os.path.relpath(given.file.parent / tree, where)

    tree = copy.deepcopy(given.tree)
    for step in tree.get("steps") or ():
        for one in (step, *(step.get("together") or ())):
            if "apply" in one:
                many = isinstance(one["apply"], list)
                one["apply"] = [lead(item) for item in one["apply"]] if many else lead(one["apply"])
    for name in ("programs", "invariants"):
        for index, item in enumerate(tree.get(name) or ()):
            if isinstance(item, dict) and "file" in item:
                item["file"] = lead(item["file"])
            else:
                tree[name][index] = lead(item)
    return tree


def _gates(value: Value) -> dict[str, bool]:
    try:
        return feature_gates.checked(value.mapping())
    except feature_gates.GateError as error:
        value.wrong(str(error))


def _layer(value: Value) -> str:
    name = value.text()
    if name not in layers.names():
        value.wrong(f"there is no layer {name!r}; there are: {', '.join(layers.names())}")
    return name


def _nodes(value: Value) -> tuple[Node, ...]:
    if not isinstance(value.tree, list):
        count = value.number(1)
        if count > MAX_NODES:
            value.wrong(f"there may be {MAX_NODES} nodes at most")
        return tuple(Node(f"node-{number}", {}) for number in range(1, count + 1))
    found: dict[str, Node] = {}
    for item in value.items():
        item.only(_NODE_FIELDS)
        name = item.needed("name")
        if not _NAME.fullmatch(name.text()) or name.text() in found:
            name.wrong("must be a node's name, and no other node's")
        found[name.text()] = Node(name.text(), _given(item))
    return tuple(found.values())


def _given(item: Value) -> dict[str, Any]:
    """What `SimulatedCluster.add_node` takes."""
    given: dict[str, Any] = {}
    for name in ("cpus", "pods"):
        if item.has(name):
            given[name] = item.field(name).number(least=1)
    if item.has("memory"):
        try:
            given["memory_bytes"] = quantity.to_int(item.tree["memory"])
        except ValueError:
            item.field("memory").wrong(f"{item.tree['memory']!r} is no amount of memory, such as 4Gi")
    if item.has("labels"):
        given["labels"] = {str(key): str(text) for key, text in item.field("labels").mapping().items()}
    if item.has("taints"):
        given["taints"] = tuple(taint.mapping() for taint in item.field("taints").items())
    return given


def _programs(value: Value, where: Path) -> tuple[Program, ...]:
    found = []
    for item in value.items():
        if isinstance(item.tree, str):
            item = Value({"file": item.tree}, item.path)  # noqa: PLW2901 (the short form of the same)
        item.only(("file", "name", "replicas"))
        file = _file(item.needed("file"), where)
        try:
            programs.check(file)
        except (SyntaxError, ValueError) as error:
            item.wrong(f"{file}: {error}")
        name = item.field("name").text(file.stem.replace("_", "-"))
        replicas = item.field("replicas").number(1)
        names = tuple(f"{name}-{number}" for number in range(1, replicas + 1))
        found.append(Program(file, names))
    return tuple(found)


def _demand(item: Value) -> Demand:
    name = item.needed("name").text()
    inner = Value({key: tree for key, tree in item.mapping().items() if key != "name"}, item.path)
    return Demand(name, conditions.read(inner))


def _file(value: Value, where: Path) -> Path:
    file = where / value.text()
    if not file.is_file():
        value.wrong(f"there is no file {file}")
    return file
