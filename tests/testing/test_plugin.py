"""The pytest plugin and the unittest base class, in runs of their own."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sampan.testing import case, report, setups, traces  # noqa: F401 (runs inside this process share what is loaded)
from tests.testing import plugged

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
"""

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME}
data: {key: value}
"""

SHIP = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.example.com}
spec:
  group: example.com
  names: {kind: Ship, plural: ships, singular: ship}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""

JUNK = """\
apiVersion: example.com/v1
kind: Ship
metadata: {name: junk}
"""


@pytest.fixture(autouse=True)
def _(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given in plugged.ENVIRONMENT.items():
        monkeypatch.setenv(name, given)


def run(pytester: pytest.Pytester, source: str, *args: str) -> pytest.RunResult:
    """In this process."""
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess(*plugged.ARGUMENTS, *args)


def test_each_test_has_a_fork(pytester: pytest.Pytester) -> None:
    """What one test does, the next does not see; what the base has, all see."""
    pytester.makeini("[pytest]\nsampan_manifests = base.yaml\nsampan_nodes = 2\n")
    pytester.makefile(".yaml", base=CONFIG_MAP.replace("NAME", "base"))
    source = """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test(cluster, sampan_base, number):
            assert cluster is not sampan_base
            assert [node["metadata"]["name"] for node in cluster.list("nodes")] == ["sampan", "sampan-2"]
            assert cluster.get("cm/base") and not cluster.get("cm/mine")
            cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}})
            cluster.delete("cm/base")
            cluster.advance(hours=1)

        def test_after(sampan_base):
            assert sampan_base.time == 0 and sampan_base.get("cm/base")
    """
    run(pytester, source).assert_outcomes(passed=3)


def test_markers_add_up(pytester: pytest.Pytester) -> None:
    """Numbers of the innermost marker count; manifests of all are there, from the test's file on, in any form."""
    folder = pytester.mkdir("crds")
    (folder / "ship.yaml").write_text(SHIP)
    pytester.makefile(".yaml", one=CONFIG_MAP.replace("NAME", "one"))
    source = f"""
        from pathlib import Path
        import pytest

        TEXT = {CONFIG_MAP.replace("NAME", "two")!r}
        THREE = {{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "three"}}}}
        SHIP = {{"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {{"name": "junk"}}}}
        pytestmark = pytest.mark.cluster(nodes=3, manifests=[Path("one.yaml"), TEXT])

        @pytest.mark.cluster(nodes=2, seed=7, crds="crds/", manifests=[THREE, SHIP])
        def test_both(cluster):
            assert len(cluster.list("nodes")) == 2 and cluster.seed == 7
            assert cluster.get("ship/junk")
            assert all(cluster.get(f"cm/{{name}}") for name in ("one", "two", "three"))

        def test_module_only(cluster):
            assert len(cluster.list("nodes")) == 3 and cluster.seed == 0
            assert cluster.get("cm/one") and not cluster.get("cm/three")
    """
    run(pytester, source).assert_outcomes(passed=2)


def test_seeds_and_parameters(pytester: pytest.Pytester) -> None:
    """A test runs with each of its seeds, or with parameters for the cluster; a seed decides about the history."""
    source = f"""
        import pytest
        from sampan.cluster.history import digest

        WEB = {WEB!r}
        seen = []

        @pytest.mark.cluster(seeds=[1, 2, 1])
        def test_seeds(cluster):
            cluster.apply(WEB)
            cluster.wait_for("deployment/web", "Available")
            seen.append(digest(cluster.sim.history))

        @pytest.mark.parametrize("cluster", [{{"nodes": 2, "seed": 1}}], indirect=True)
        def test_parameters(cluster):
            assert len(cluster.list("nodes")) == 2

        def test_histories():
            assert seen[0] == seen[2] != seen[1]
    """
    result = run(pytester, source, "-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*::test_seeds[[]seed=2] PASSED*"])


def test_a_scheduler_of_a_test_s_own(pytester: pytest.Pytester) -> None:
    """Pods of its profiles are placed in the tests that say so, and wait in the others."""
    profiles = "profiles: [{schedulerName: mine}]"
    kind = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration"
    Path("scheduler.yaml").write_text(f"{kind}, {profiles}}}")
    source = """
        import pytest

        CONTAINER = {"name": "c", "image": "web"}
        SPEC = {"schedulerName": "mine", "containers": [CONTAINER]}
        POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": SPEC}

        @pytest.mark.cluster(scheduling="scheduler.yaml")
        def test_its_own(cluster):
            cluster.create(POD)
            cluster.wait_for("pod/p", "Ready")

        def test_another(cluster):
            cluster.create(POD)
            cluster.advance(60)
            assert not cluster.get("pod/p")["spec"].get("nodeName")
    """
    run(pytester, source).assert_outcomes(passed=2)


def test_feature_gates_of_a_test_s_own(pytester: pytest.Pytester) -> None:
    """They are open in the tests that say so."""
    source = """
        import pytest

        TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}
        SPEC = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
        SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"}, "spec": SPEC}

        def rolling(cluster):
            return cluster.create(SET)["spec"]["updateStrategy"]["rollingUpdate"]

        @pytest.mark.cluster(feature_gates={"MaxUnavailableStatefulSet": True})
        def test_its_own(cluster):
            assert rolling(cluster) == {"partition": 0, "maxUnavailable": 1}

        def test_another(cluster):
            assert rolling(cluster) == {"partition": 0}
    """
    run(pytester, source).assert_outcomes(passed=2)


SETTINGS = {
    "nodes=-1": "sampan: nodes is a number from 0 on, not -1",
    "node=3": "sampan: a cluster takes seed, nodes, crds, manifests, virtual_time, scheduling, *, not node",
    "virtual_time=3": "sampan: virtual_time is True or False, not 3",
    "scheduling={'kind': 'Pod'}": "sampan: scheduling: this is no KubeSchedulerConfiguration*",
    "feature_gates={'Some': True}": "sampan: feature_gates: unrecognized feature gate: Some; there are: *",
    "feature_gates=['Some']": "sampan: feature_gates are a mapping such as {'HPAScaleToZero': True}, not*",
    "scheduling='gone.yaml'": "sampan: scheduling: *No such file or directory*",
    "manifests=[3]": "sampan: manifests are paths, YAML texts or objects, not 3",
    "manifests='gone.yaml'": "sampan: */gone.yaml: No such file or directory",
    "manifests='empty'": "sampan: */empty: there is no manifest in this folder*",
    "manifests='bad.yaml'": 'sampan: */bad.yaml: ConfigMap/Bad_Name is refused (422 Invalid): ConfigMap "Bad*',
    "manifests='junk.yaml'": "sampan: */junk.yaml: Ship/junk: no kind is called 'example.com/v1/Ship' here*",
    "manifests='torn.yaml'": "sampan: */torn.yaml: error converting YAML to JSON: yaml: line *",
    "manifests='list.yaml'": "sampan: */list.yaml: a document is an object, not*",
    "manifests='no_kind.yaml'": 'sampan: */no_kind.yaml: an object needs apiVersion, kind and *{"a": 1}',
}


def test_a_setup_that_cannot_be_had(pytester: pytest.Pytester) -> None:
    """One line says which file and which object, and nothing else."""
    pytester.mkdir("empty")
    bad = CONFIG_MAP.replace("NAME", "Bad_Name")
    files = {"bad": bad, "junk": JUNK, "torn": "a: [", "list": "- a", "no_kind": "a: 1"}
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    tests = [
        f"@pytest.mark.cluster({setting})\ndef test_{number}(cluster): ..." for number, setting in enumerate(SETTINGS)
    ]
    result = run(pytester, "\n".join(("import pytest", *tests)))
    result.assert_outcomes(errors=len(SETTINGS))
    result.stdout.fnmatch_lines([line for said in SETTINGS.values() for line in ("*ERROR at setup of test*", said)])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*During handling*")


def test_a_base_of_ones_own(pytester: pytest.Pytester) -> None:
    """A fixture may prepare the base, and tests may ask for more nodes than it has, though not for fewer."""
    source = f"""
        import pytest

        @pytest.fixture(scope="session")
        def sampan_base(sampan_base):
            sampan_base.apply({CONFIG_MAP.replace("NAME", "mine")!r})
            return sampan_base

        def test(cluster):
            assert cluster.get("cm/mine")

        @pytest.mark.cluster(manifests={CONFIG_MAP.replace("NAME", "more")!r}, seed=3)
        def test_more(cluster):
            assert cluster.get("cm/mine") and cluster.get("cm/more")

        @pytest.mark.cluster(nodes=3)
        def test_nodes(cluster):
            assert cluster.get("cm/mine") and len(cluster.list("nodes")) == 3

        @pytest.mark.cluster(nodes=0)
        def test_fewer(cluster): ...
    """
    result = run(pytester, source)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["sampan: a base of your own has more than 0 nodes: sampan"])


def test_a_failure_tells_what_happened(pytester: pytest.Pytester) -> None:
    """Seed, time, the objects touched with what they own, warnings, refusals; and the test's line ends the traceback."""
    source = f"""
        import pytest

        WEB = {WEB.replace("image: web", "image: web, resources: {requests: {cpu: '500'}}")!r}

        @pytest.mark.cluster(seed=5)
        def test(cluster):
            with pytest.raises(Exception):
                cluster.create({{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "a"}}, "spec": {{}}}})
            cluster.apply(WEB)
            cluster.wait_for("deployment/web", "Available", within=90)
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*cluster.wait_for(*",
            "E*TimeoutError: deployment/web in default is not Available after 90 virtual seconds",
            "",
            "test_a_failure_tells_what_happened.py:10: TimeoutError",
            "*- sampan -*",
            "seed 5, 1 node, 00:01:* (2026-01-01T00:01:*Z)",
            "",
            "deployment/web in default",
            "  Available: False MinimumReplicasUnavailable *",
            "  owned by it:",
            "    pod/web-* Pending, PodScheduled=False Unschedulable",
            "    replicaset/web-*",
            "  events:",
            "    00:00:00.000 Normal ScalingReplicaSet deployment/web: Scaled up replica set web-* from 0 to 2",
            "  changes:",
            "    00:00:00.000 ADDED    deployments.apps default/web made",
            "events about others:",
            "  * Warning FailedScheduling pod/web-*: 0/1 nodes are available: 1 Insufficient cpu* (and 1 like it)",
            "refused:",
            '  00:00:00.000 kubernetes-admin: POST /api/v1/namespaces/default/pods: 422 Pod "a" is invalid: *',
        ],
        consecutive=False,
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*cluster.py:*")


def test_a_failure_tells_of_containers(pytester: pytest.Pytester) -> None:
    """How containers are that do not run, how they ended, and what they said."""
    source = f"""
        WEB = {WEB!r}

        def test(cluster):
            cluster.behave("web", {{"run": 2, "exit": 3, "log": ["reading the configuration", "panic: no database"]}})
            cluster.apply(WEB)
            cluster.advance(60)
            assert cluster.get("deployment/web")["status"].get("readyReplicas") == 2
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "deployment/web in default",
            "  owned by it:",
            "    pod/web-* Running, Ready=False *, web: CrashLoopBackOff, Error (exit code 3), restarted *x",
            "  logged:",
            "    pod/web-* web: reading the configuration",
            "    pod/web-* web: panic: no database",
            "  events:",
        ],
        consecutive=False,
    )


def test_a_refusal_ends_where_the_test_made_the_call(pytester: pytest.Pytester) -> None:
    """So does an unknown kind; what the test itself raises inside a condition is shown where that is."""
    source = """
        def test_refused(cluster):
            cluster.delete("cm/nobody")

        def test_unknown(cluster):
            cluster.get("shop/a")

        def test_condition(cluster):
            cluster.wait_for("node/sampan", lambda node: node["nope"])
    """
    result = run(pytester, source, "--tb=short")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            'E   *ApiError: configmaps "nobody" not found',
            "E   LookupError: no kind is called 'shop' here*",
            "*in <lambda>",
            "E   KeyError: 'nope'",
        ]
    )
    result.stdout.no_fnmatch_line("*client*api.py*")
    result.stdout.no_fnmatch_line("*naming.py*")


def test_what_clients_did_is_told_too(pytester: pytest.Pytester) -> None:
    """The writes and the refusals of code that has the API and not the cluster, whoever it is; not its own Events."""
    source = """
        from sampan.client.api import Client
        from sampan.kinds.core.config_map import CONFIGMAP
        from sampan.kinds.core.event import EVENT
        from sampan.web.message import Peer

        ABOUT = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "made"}
        SAID = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}}

        async def operate(client, nobody):
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made", "namespace": "default"}}
            await client.create(CONFIGMAP, made)
            await client.create(EVENT, {**SAID, "involvedObject": ABOUT, "reason": "Made", "message": "it is there"})
            await client.patch(CONFIGMAP, ("default", "made"), {"data": {"key": "new"}})
            await nobody.delete(CONFIGMAP, ("default", "made"))

        def test(cluster):
            nobody = Client(cluster.sim.doors.door(Peer("nobody")), "nobody")
            cluster.run(operate(cluster.client, nobody))
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "configmap/made in default",
            "  events:",
            "    *Made configmap/made: it is there",
            "  changes:",
            "    00:00:00.000 ADDED    configmaps default/made made",
            "    00:00:00.000 MODIFIED configmaps default/made data*",
            "refused:",
            "  * nobody: DELETE /api/v1/namespaces/default/configmaps/made: 403 *",
        ]
    )
    result.stdout.no_fnmatch_line("event/e*")


def test_a_passing_test_tells_nothing(pytester: pytest.Pytester) -> None:
    """Neither of itself nor, once it is over, by what it leaves in memory."""
    source = """
        import gc
        from sampan.testing.cluster import Cluster

        def test(cluster, request):
            cluster.touched["mine"] = None

        def test_after(sampan_base):
            gc.collect()
            assert not [c for c in gc.get_objects() if isinstance(c, Cluster) and "mine" in c.touched]
    """
    result = run(pytester, source, "-rA")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*- sampan -*")


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_async_tests(pytester: pytest.Pytester, mode: str) -> None:
    """They have the same fixture, inside a running event loop."""
    source = f"""
        import asyncio
        import pytest

        @pytest.mark.asyncio
        async def test(cluster):
            cluster.apply({WEB!r})
            cluster.wait_for("deployment/web", "Available")
            await asyncio.sleep(0)
            assert len(cluster.list("pods", labels="app=web")) == 2
            async with cluster.fork() as other:
                assert other.get("deployment/web")
    """
    run(pytester, source, *plugged.ASYNCIO, "-o", f"asyncio_mode={mode}").assert_outcomes(passed=1)


def test_time_is_everybodys(pytester: pytest.Pytester) -> None:
    """With the marker a test, its coroutines and its clock are in the cluster's time; after it they are not."""
    source = """
        import asyncio, datetime, time
        import pytest

        @pytest.mark.cluster(virtual_time=True)
        class TestVirtual:
            def test(self, cluster):
                time.sleep(3600)
                assert cluster.time >= 3600 and datetime.datetime.now(datetime.UTC).hour == 1

            @pytest.mark.asyncio
            async def test_async(self, cluster):
                await asyncio.sleep(7200)
                assert datetime.datetime.now(datetime.UTC).hour == 2

            @pytest.mark.cluster(virtual_time=False)
            def test_not(self, cluster):
                assert time.time() - cluster.now.timestamp() > 86400

        def test_after():
            assert asyncio.new_event_loop is asyncio.events.new_event_loop
            assert "sampan" not in asyncio.new_event_loop.__module__
    """
    run(pytester, source, *plugged.ASYNCIO).assert_outcomes(passed=4)


def test_the_default_kubeconfig(pytester: pytest.Pytester) -> None:
    """KUBECONFIG and libraries that remembered it have each test's own, and afterwards what was there before."""
    source = """
        import os
        import pytest
        import yaml
        from kubernetes.config import kube_config

        before = os.environ.get("KUBECONFIG"), kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        seen = set()

        @pytest.mark.parametrize("number", range(2))
        def test(cluster, sampan_kubeconfig, number):
            assert os.environ["KUBECONFIG"] == str(sampan_kubeconfig) == kube_config.KUBE_CONFIG_DEFAULT_LOCATION
            assert yaml.safe_load(sampan_kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == cluster.url
            seen.add(sampan_kubeconfig)

        def test_after():
            assert len(seen) == 2 and not any(path.exists() for path in seen)
            assert before == (os.environ.get("KUBECONFIG"), kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    """
    run(pytester, source).assert_outcomes(passed=3)


def test_the_seed_of_the_command_line(pytester: pytest.Pytester) -> None:
    """It is everybody's who has none; `random` is told, so that it can be had again."""
    source = """
        import pytest

        def test(cluster):
            assert cluster.seed == 77

        @pytest.mark.cluster(seed=3)
        def test_own(cluster):
            assert cluster.seed == 3
    """
    result = run(pytester, source, "--sampan-seed", "77")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["sampan: --sampan-seed 77"])
    first, second = (
        run(pytester, "def test(cluster): print('seed', cluster.seed)", "--sampan-seed", "random", "-s")
        for _ in range(2)
    )
    told = [next(line for line in each.outlines if line.startswith("sampan:")) for each in (first, second)]
    assert told[0] != told[1]
    first.stdout.fnmatch_lines([f"*seed {told[0].rpartition(' ')[2]}"])


def test_a_seed_that_is_none(pytester: pytest.Pytester) -> None:
    """It is refused before anything runs."""
    result = run(pytester, "def test(cluster): ...", "--sampan-seed", "seven")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--sampan-seed is a number or 'random', not 'seven'*"])


def test_workers_share_the_seed(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist each worker has its own base, all have one random seed, and reports come through."""
    source = """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test(cluster, number, worker_id):
            assert not cluster.get("cm/mine")
            cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}})
            assert False, f"{worker_id} {cluster.seed}"
    """
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess(*plugged.ARGUMENTS, *plugged.XDIST, "-n2", "--sampan-seed=random")
    result.assert_outcomes(failed=4)
    found = {line.partition("AssertionError: ")[2] for line in result.outlines if line.startswith("E  ")} - {""}
    words = [line.split() for line in found]
    assert {worker for worker, _ in words} == {"gw0", "gw1"}
    assert len({seed for _, seed in words}) == 1
    result.stdout.fnmatch_lines(
        ["*- sampan -*", f"seed {words[0][1]}, 1 node, 00:00:00.000 *", "configmap/mine in default"]
    )


def test_who_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    """Nothing of the cluster is loaded before a test asks for one."""
    source = """
        import sys

        def test():
            loaded = [name for name in sys.modules if name.startswith("sampan")]
            assert sorted(loaded) == ["sampan", "sampan.testing", "sampan.testing.plugin"]
    """
    pytester.makepyfile(source)
    pytester.runpytest_subprocess(*plugged.ARGUMENTS).assert_outcomes(passed=1)


@pytest.fixture
def installed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that names what pyproject.toml names, and all plugins that are installed."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    info = pytester.mkdir("sampan-0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sampan\nVersion: 0\n")
    entries = [f"{name} = {module}" for name, module in settings["project"]["entry-points"]["pytest11"].items()]
    (info / "entry_points.txt").write_text("\n".join(("[pytest11]", *entries)))
    pytester.syspathinsert()
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")


@pytest.mark.usefixtures("installed")
def test_the_installation_brings_it(pytester: pytest.Pytester) -> None:
    """Without a word of the project's, and without a warning; `-p no:sampan` is without it."""
    pytester.makepyfile("def test(cluster): assert cluster.list('nodes')")
    quiet = ("-W", "error", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    pytester.runpytest_inprocess(*quiet).assert_outcomes(passed=1)
    without = pytester.runpytest_inprocess(*quiet, "-p", "no:sampan")
    without.assert_outcomes(errors=1)
    without.stdout.fnmatch_lines(["E *fixture 'cluster' not found"])


CASE = f"""
import asyncio
import unittest
from sampan.testing import ClusterTestCase


class TestWeb(ClusterTestCase):
    nodes = 2
    seed = 4
    manifests = ["web.yaml"]

    def test_one(self):
        self.cluster.wait_for("deployment/web", "Available")
        self.cluster.delete("deployment/web")
        self.assertEqual(self.cluster.seed, 4)

    def test_two(self):
        self.assertEqual(len(self.cluster.list("nodes")), 2)
        self.assertEqual(self.cluster.get("deployment/web")["spec"]["replicas"], 3)

    def test_refused(self):
        self.cluster.delete("deployment/nobody")

    def test_parts(self):
        for number in range(2):
            with self.subTest("part", number=number):
                self.assertEqual(number, 0)

    def test_skipped(self):
        self.skipTest("not today")


class TestPrepared(ClusterTestCase):
    def setUp(self):
        super().setUp()
        self.cluster.apply({JUNK!r})

    def test_never(self): ...


class TestTime(ClusterTestCase, unittest.IsolatedAsyncioTestCase):
    virtual_time = True

    async def test_async(self):
        await asyncio.sleep(7200)
        self.assertEqual(self.cluster.now.hour, 2)


class TestAsync(ClusterTestCase, unittest.IsolatedAsyncioTestCase):
    async def test_async(self):
        self.cluster.apply({CONFIG_MAP.replace("NAME", "a")!r})
        self.assertTrue(self.cluster.get("cm/a"))
"""


def test_unittest(tmp_path: Path) -> None:
    """A cluster for each test of a class, and the story in the failure."""
    (tmp_path / "test_web.py").write_text(CASE)
    (tmp_path / "web.yaml").write_text(WEB)
    command = [sys.executable, "-m", "unittest", "-v", "test_web"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Ran 8 tests" in result.stderr
    assert "FAILED (failures=2, errors=2, skipped=1)" in result.stderr
    assert ", in test_two\n" in result.stderr
    assert "AssertionError: 2 != 3\n\nseed 4, 2 nodes, 00:00:00.000 (2026-01-01T00:00:00Z)\n" in result.stderr
    assert "\ndeployment/web in default\n  Available: True " in result.stderr
    assert 'ApiError: deployments.apps "nobody" not found\n\nseed 4' in result.stderr
    assert "AssertionError: 1 != 0\n\nseed 4" in result.stderr
    assert "test_parts (test_web.TestWeb.test_parts) [part] (number=1)" in result.stderr
    assert "LookupError: no kind is called 'example.com/v1/Ship' here" in result.stderr
    assert result.stderr.count("\nseed ") == 4
    assert "src/sampan" not in result.stderr


def test_unittest_under_pytest(pytester: pytest.Pytester) -> None:
    """As with unittest itself."""
    pytester.makefile(".yaml", web=WEB)
    result = run(pytester, CASE)
    result.assert_outcomes(passed=4, failed=4, skipped=1)
    result.stdout.fnmatch_lines(["E*AssertionError: 2 != 3", "E*seed 4, 2 nodes, *", "E*deployment/web in default"])
