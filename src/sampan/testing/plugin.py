"""The pytest plugin: the fixture `cluster`, the marker of the same name, and what a failed test tells of it.

    @pytest.mark.cluster(nodes=3, seed=7, crds=["crds/"], manifests=["app.yaml"])
    def test_app(cluster): ...

Who does not use it pays nothing: the cluster is loaded by the first test that asks for one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from sampan.testing.cluster import Cluster
    from sampan.testing.report import Witness
    from sampan.testing.setups import Bases, Setup

T = TypeVar("T")

MARKER = "cluster"
LINE = (
    "cluster(seed=0, nodes=1, crds=(), manifests=(), virtual_time=False, scheduling=None, feature_gates={}, layers=(), seeds=()): "
    "what the test's cluster is like; paths start from the test's file; virtual_time makes its time everybody's; "
    "scheduling is a KubeSchedulerConfiguration; feature_gates opens parts of Kubernetes that are closed; layers are "
    "enabled; seeds runs the test once for each."
)
RANDOM = "random"
SEED = "sampan_seed"
MAX_SEED = 2**32
KEPT_DEFAULTS = ("kubernetes.config.kube_config", "kubernetes_asyncio.config.kube_config")
"""They read KUBECONFIG when they are loaded, and never again."""

_witness = pytest.StashKey["Witness"]()
_plain = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the base of the session is like."""
    group = parser.getgroup("sampan", "clusters in tests")
    group.addoption("--sampan-seed", metavar="N", help="the seed of clusters that have none of their own, or 'random'")
    parser.addini("sampan_nodes", "how many nodes the clusters of tests have", default="1")
    parser.addini("sampan_crds", "CustomResourceDefinitions that they begin with: files or folders", "paths")
    parser.addini("sampan_manifests", "other objects that they begin with: files or folders", "paths")


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the seed, which a worker of pytest-xdist is told."""
    config.addinivalue_line("markers", LINE)
    given = getattr(config, "workerinput", {}).get(SEED, config.option.sampan_seed)
    if given is None:
        return
    if given == RANDOM:
        from sampan.kit.ids import SystemIds

        given = str(int(SystemIds().uid()[:8], 16) % MAX_SEED)
    if not str(given).isdecimal():
        raise pytest.UsageError(f"--sampan-seed is a number or {RANDOM!r}, not {given!r}")
    config.option.sampan_seed = str(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist the seed."""
    node.workerinput[SEED] = node.config.option.sampan_seed


def pytest_report_header(config: pytest.Config) -> str | None:
    """The seed, where one was asked for."""
    seed = config.option.sampan_seed
    return None if seed is None else f"sampan: --sampan-seed {seed}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that is to run with many seeds is one test for each."""
    if MARKER not in metafunc.fixturenames:
        return
    for mark in metafunc.definition.iter_markers(MARKER):
        if "seeds" in mark.kwargs:
            seeds = list(mark.kwargs["seeds"])
            given = [{"seed": seed} for seed in seeds]
            metafunc.parametrize(MARKER, given, indirect=True, ids=[f"seed={seed}" for seed in seeds])
            return


@pytest.fixture(scope="session")
def sampan_base(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster that the clusters of tests are forks of, as the settings say.

    A fixture of the same name may take it and prepare it further.
    """
    from sampan.testing import setups

    cluster = _had(lambda: setups.build(_session_setup(pytestconfig)))
    pytestconfig.stash[_plain] = len(cluster.sim.history)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def _sampan_bases(pytestconfig: pytest.Config, sampan_base: Cluster) -> Iterator[Bases]:
    from sampan.testing import setups

    is_plain = pytestconfig.stash.get(_plain, None) == len(sampan_base.sim.history)
    bases = setups.Bases(_session_setup(pytestconfig), sampan_base, is_plain=is_plain)
    yield bases
    bases.close()


@pytest.fixture
def cluster(request: pytest.FixtureRequest, _sampan_bases: Bases) -> Iterator[Cluster]:
    """A running Kubernetes cluster, in this process and in virtual time, for this test alone."""
    from sampan.testing import report, setups

    setup = _had(lambda: _setup(request))
    found = _had(lambda: _sampan_bases.fork(setup))
    request.node.stash[_witness] = report.Witness(found)
    with contextlib.closing(found), setups.of_everybody(found, setup):
        yield found


@pytest.fixture
def sampan_kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig of the test's cluster, which is the default of clients in this process, and of those that it starts."""
    path = cluster.kubeconfig
    monkeypatch.setenv("KUBECONFIG", str(path))
    for name in KEPT_DEFAULTS:
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Adds the section of a failed test's cluster; a refusal's traceback ends where the test made the call."""
    witness = item.stash.get(_witness, None)
    if witness is not None and call.excinfo is not None and not item.config.option.fulltrace:
        from sampan.testing import traces

        traces.shorten(call.excinfo.value)
    made = yield
    if witness is not None:
        if made.failed:
            made.sections.append(("sampan", _report(witness)))
        if call.when == "teardown":
            del item.stash[_witness]
    return made


def _report(witness: Witness) -> str:
    from sampan.testing import report

    try:
        return str(report.Report(witness))
    except Exception as error:  # noqa: BLE001 (what went wrong here must not hide what went wrong in the test)
        return f"seed {witness.cluster.seed}; no more can be told: {error!r}"


def _setup(request: pytest.FixtureRequest) -> Setup:
    """What the session, the markers from the outermost on and the parameter say. Raises SetupError."""
    from sampan.testing import setups

    setup = _session_setup(request.config)
    directory = request.path.parent
    for mark in reversed(list(request.node.iter_markers(MARKER))):
        if mark.args:
            raise setups.SetupError(f"the marker {MARKER} takes arguments by name, such as nodes=3")
        setup = setup.with_({name: given for name, given in mark.kwargs.items() if name != "seeds"}, directory)
    return setup.with_(getattr(request, "param", {}), directory)


def _session_setup(config: pytest.Config) -> Setup:
    """Raises SetupError."""
    from sampan.testing import setups

    nodes = config.getini("sampan_nodes")
    if not str(nodes).isdecimal():
        raise setups.SetupError(f"sampan_nodes is a number, not {nodes!r}")
    crds: list[Path] = config.getini("sampan_crds")
    manifests: list[Path] = config.getini("sampan_manifests")
    return setups.Setup(int(config.option.sampan_seed or 0), int(nodes), tuple(crds), tuple(manifests))


def _had(make: Callable[[], T]) -> T:
    """What is made; a setup that cannot be had fails the test with its text alone."""
    from sampan.testing import setups

    try:
        return make()
    except setups.SetupError as error:
        text = f"sampan: {error}"
    pytest.fail(text, pytrace=False)
