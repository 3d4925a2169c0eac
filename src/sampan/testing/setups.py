"""Setups: what the cluster of a test is like when the test begins, and where such clusters come from.

A base is built once for all setups that differ in their seeds only, for which it is the fork that takes the
seed: so a test's history depends on its own settings alone. A setup that adds manifests begins with a fork too.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sampan.cluster import manifests
from sampan.cluster.manifests import SUFFIXES
from sampan.kinds import feature_gates
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.scheduling.config import ConfigError
from sampan.testing.cluster import Cluster

Object = dict[str, Any]
Manifest = Path | str

MAX_BASES = 16
ESTABLISHED_SECONDS = 60
DEFINITION = "CustomResourceDefinition"
_ANY_GATE = feature_gates.GATES[0].name
_TAKEN = ("seed", "nodes", "crds", "manifests", "virtual_time", "scheduling", "feature_gates", "layers")


class SetupError(Exception):
    """A setup that cannot be had; the text is for the user, and says which file and which object."""


@dataclass(frozen=True, slots=True)
class Setup:
    """`crds` and `manifests` are files, folders or YAML texts. Definitions come first, and are established.

    `virtual_time` says that the cluster's time is everybody's while the test runs. `scheduling` is the scheduler's
    configuration, a file or a YAML text; "" for the usual one. `feature_gates` are the open and the closed ones, `layers`
    those that are enabled.
    """

    seed: int = 0
    nodes: int = 1
    crds: tuple[Manifest, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    virtual_time: bool = False
    scheduling: Manifest = ""
    feature_gates: tuple[tuple[str, bool], ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def base(self) -> "Setup":
        """What its base is like: of one kind for all that differ only in what a fork may be given."""
        return replace(self, seed=0, virtual_time=False)

    def with_(self, given: Any, directory: Path) -> "Setup":
        """This one with what is given instead, and with more manifests. Raises SetupError.

        `given` maps the names of fields to what is given for them; `directory` is what relative paths start from.
        """
        if not isinstance(given, Mapping):
            raise SetupError(f"a cluster takes a mapping such as {{'nodes': 3}}, not {given!r}")
        unknown = sorted(set(given) - set(_TAKEN))
        if unknown:
            raise SetupError(f"a cluster takes {', '.join(_TAKEN)}, not {', '.join(unknown)}")
        return Setup(
            seed=_number("seed", given.get("seed", self.seed)),
            nodes=_number("nodes", given.get("nodes", self.nodes)),
            crds=(*self.crds, *_placed("crds", given.get("crds", ()), directory)),
            manifests=(*self.manifests, *_placed("manifests", given.get("manifests", ()), directory)),
            virtual_time=_truth("virtual_time", given.get("virtual_time", self.virtual_time)),
            scheduling=next(iter(_placed("scheduling", given.get("scheduling", ()), directory)), self.scheduling),
            feature_gates=_gates(given["feature_gates"]) if "feature_gates" in given else self.feature_gates,
            layers=_layers(given["layers"]) if "layers" in given else self.layers,
        )


class Bases:
    """Clusters to be forked, by their setups: the first one is `base`, others are built when a test asks for them.

    `is_plain` says that the base is what its setup says, and no more.
    """

    def __init__(self, setup: Setup, base: Cluster, *, is_plain: bool = True) -> None:
        self._setup = setup.base
        self._base = base
        self._is_plain = is_plain
        self._others: dict[Setup, Cluster | SetupError] = {}

    def fork(self, setup: Setup) -> Cluster:
        """A cluster for one test, which runs. Raises SetupError."""
        wanted = setup.base
        found = self._base if wanted == self._setup else self._other(wanted)
        if isinstance(found, SetupError):
            raise SetupError(str(found))
        return found.fork(setup.seed)

    def close(self) -> None:
        """Ends all but the first."""
        while self._others:
            self._drop(next(iter(self._others)))

    def _other(self, setup: Setup) -> Cluster | SetupError:
        if setup not in self._others:
            if len(self._others) >= MAX_BASES:
                self._drop(next(iter(self._others)))
            try:
                self._others[setup] = self._built(setup)
            except SetupError as error:
                self._others[setup] = error
        return self._others[setup]

    def _built(self, setup: Setup) -> Cluster:
        if self._is_plain and _beginning(setup) != _beginning(self._setup):
            return build(setup)
        if setup.scheduling != self._setup.scheduling:
            raise SetupError("a base of your own has its scheduler's configuration already")
        if setup.feature_gates != self._setup.feature_gates:
            raise SetupError("a base of your own has its feature gates already")
        if setup.layers != self._setup.layers:
            raise SetupError("a base of your own has its layers already")
        names = replace(self._base.sim.settings, nodes=setup.nodes).node_names()
        if not set(names) >= set(self._base.sim.machines):
            raise SetupError(
                f"a base of your own has more than {setup.nodes} nodes: {', '.join(self._base.sim.machines)}"
            )
        cluster = self._base.fork()
        for name in names:
            if name not in cluster.sim.machines:
                cluster.add_node(name)
        return _prepared(cluster, setup.crds[len(self._setup.crds) :], setup.manifests[len(self._setup.manifests) :])

    def _drop(self, setup: Setup) -> None:
        found = self._others.pop(setup)
        if isinstance(found, Cluster):
            found.close()


def _beginning(setup: Setup) -> tuple[object, ...]:
    """What no fork can have otherwise."""
    return setup.nodes, setup.scheduling, setup.feature_gates, setup.layers


def of_everybody(cluster: Cluster, setup: Setup) -> AbstractContextManager[None]:
    """Within it the cluster's time is everybody's, if the setup says so."""
    return cluster.virtual_time() if setup.virtual_time else contextlib.nullcontext()


def build(setup: Setup) -> Cluster:
    """A new base, which runs. Raises SetupError."""
    try:
        gates = dict(setup.feature_gates)
        cluster = Cluster(
            nodes=setup.nodes, scheduling=setup.scheduling or None, feature_gates=gates, layers=setup.layers
        )
    except (ConfigError, ApiError, OSError) as error:
        raise SetupError(f"scheduling: {error}") from error
    return _prepared(cluster.start(), setup.crds, setup.manifests)


def _prepared(cluster: Cluster, crds: Iterable[Manifest], others: Iterable[Manifest]) -> Cluster:
    """Applies them in order; each definition is established before the next object. Raises SetupError."""
    try:
        for manifest in (*crds, *others):
            for name, part in _parts(manifest):
                for obj in _read(name, part):
                    _apply(cluster, name, obj)
    except BaseException:
        cluster.close()
        raise
    return cluster


def _apply(cluster: Cluster, name: str, obj: Any) -> None:
    what = f"{obj['kind']}/{objects.name(obj)}"
    try:
        cluster.apply(obj)
        if obj["kind"] == DEFINITION:
            cluster.wait_for(obj, "Established", within=ESTABLISHED_SECONDS)
    except ApiError as error:
        raise SetupError(f"{name}: {what} is refused ({error.code} {error.reason}): {error.message}") from None
    except LookupError as error:
        raise SetupError(f"{name}: {what}: {error}") from None
    except TimeoutError as error:
        raise SetupError(f"{name}: {error}") from None


def _parts(manifest: Manifest) -> Iterable[tuple[str, Manifest]]:
    """The files of a manifest with their names, or its text."""
    if isinstance(manifest, str):
        yield "a manifest given as text", manifest
    elif manifest.is_dir():
        files = sorted(path for path in manifest.iterdir() if path.suffix in SUFFIXES)
        if not files:
            raise SetupError(f"{manifest}: there is no manifest in this folder ({', '.join(SUFFIXES)})")
        yield from ((str(path), path) for path in files)
    else:
        yield str(manifest), manifest


def _read(name: str, manifest: Manifest) -> list[Object]:
    try:
        found = list(manifests.objects_of(manifest))
    except OSError as error:
        raise SetupError(f"{name}: {error.strerror or error}") from None
    except (ApiError, UnicodeDecodeError) as error:
        raise SetupError(f"{name}: {error}") from None
    for obj in found:
        if not (obj.get("apiVersion") and obj.get("kind") and objects.name(obj)):
            raise SetupError(f"{name}: an object needs apiVersion, kind and metadata.name; this one is {_brief(obj)}")
    return found


def _placed(option: str, given: Any, directory: Path) -> Iterable[Manifest]:
    """Paths from the directory; texts as they are; objects as texts, so that equal setups are equal."""
    if isinstance(given, str | Path | Mapping):
        given = (given,)
    for each in given:
        if isinstance(each, Mapping):
            yield json.dumps(each, sort_keys=True) + "\n"
        elif isinstance(each, str) and "\n" in each:
            yield each
        elif isinstance(each, str | Path):
            yield directory / each
        else:
            raise SetupError(f"{option} are paths, YAML texts or objects, not {each!r}")


def _number(option: str, given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise SetupError(f"{option} is a number from 0 on, not {given!r}")
    return given


def _truth(option: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise SetupError(f"{option} is True or False, not {given!r}")
    return given


def _gates(given: Any) -> tuple[tuple[str, bool], ...]:
    if not isinstance(given, Mapping):
        raise SetupError(f"feature_gates are a mapping such as {{'{_ANY_GATE}': True}}, not {given!r}")
    try:
        return tuple(sorted(feature_gates.checked(given).items()))
    except feature_gates.GateError as error:
        raise SetupError(f"feature_gates: {error}") from None


def _layers(given: Any) -> tuple[str, ...]:
    from sampan.cluster import layers

    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        try:
            layers.load(name)
        except LookupError as error:
            raise SetupError(f"layers: {error}") from None
    return tuple(sorted(names))


def _brief(obj: Object) -> str:
    text = json.dumps(obj)
    return text if len(text) <= 80 else f"{text[:77]}..."
