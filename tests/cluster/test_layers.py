"""Layers: enabled and disabled live, kept over restarts and in forks, not loaded before; and run beside a cluster."""

import contextlib
import dataclasses
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sampan.cluster import layer_judges, layers
from sampan.cluster.enabled_layers import EnabledLayers
from sampan.cluster.layer_life import LayerLife
from sampan.meta.status import ApiError
from sampan.platform.layer import Around
from sampan.sim import play, scenario
from sampan.testing import setups
from sampan.testing.cluster import Cluster
from sampan.web.message import Response
from tests.platform import toys

TOY = {"apiVersion": "example.com/v1", "kind": "Toy", "metadata": {"name": "duck"}}
BLACK = {**TOY, "spec": {"colour": "black"}}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a layer of toys."""
    monkeypatch.setitem(layers.MODULES, "toys", toys.__name__)


def _priced(price: str) -> Callable[[dict[str, Any]], bool]:
    return lambda toy: bool((toy.get("status") or {}).get("price") == price)


def test_a_layer_works_as_soon_as_it_is_enabled() -> None:
    """Its definitions and objects are there, its controller, its service and its rules at work."""
    with Cluster(layers=["toys"]) as cluster:
        assert cluster.get("configmap/toy-rules") is not None
        cluster.wait_for("configmap/toy-service")
        cluster.create(TOY)
        refused = (
            'Get "http://shop.default:8080/price?of=toys": dial tcp shop.default:8080: connect: connection refused'
        )
        cluster.wait_for("toy/duck", _priced(refused))
        cluster.sim.outbound.serve("http://shop.default:8080/price", lambda asked: Response(200, asked["of"].encode()))
        cluster.create({**TOY, "metadata": {"name": "bear"}})
        cluster.wait_for("toy/bear", _priced("toys"))


def test_nothing_is_served_before_and_rules_end_with_the_layer() -> None:
    """What was applied stays when it is disabled; enabled again, it goes on."""
    with Cluster() as cluster:
        with pytest.raises(LookupError):
            cluster.create(TOY)
        cluster.sim.enable("toys")
        with pytest.raises(ApiError, match=r'toys.example.com "duck" is forbidden: duck is too dark, said 1 times'):
            cluster.create(BLACK)
        with pytest.raises(ApiError, match="said 2 times"):
            cluster.create(BLACK)
        cluster.run(layers.disable(cluster.client, "toys"))
        cluster.advance(1)
        assert not cluster.sim.plane.layers.is_ready("toys")
        cluster.create(BLACK)
        cluster.advance(60)
        assert "status" not in (cluster.get("toy/duck") or {})
        cluster.sim.enable("toys")
        cluster.wait_for("toy/duck", lambda toy: "status" in toy)


def test_a_rule_reads_what_is_stored() -> None:
    """What was answered before counts at once."""
    with Cluster(layers=["toys"]) as cluster:
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taste"}})
        cluster.create(BLACK)


def test_a_refusal_leaves_no_garbage() -> None:
    """What a rule was called with, when it refuses, is freed with the request, not when garbage is looked for."""
    with Cluster(layers=["toys"]) as cluster:
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(ApiError):
                cluster.create(BLACK)
            cluster.advance(1)
            calls = [each for each in gc.get_objects() if isinstance(each, FrameType)]
            assert not [call for call in calls if call.f_code.co_filename == layer_judges.__file__]
        finally:
            gc.enable()


def test_it_goes_on_after_the_control_plane_s_death_and_in_forks() -> None:
    """The cluster itself knows what is enabled."""
    with Cluster(layers=["toys"]) as cluster:
        cluster.sim.crash_control_plane()
        cluster.sim.start_control_plane()
        cluster.run_until(lambda: cluster.sim.plane.layers.is_ready("toys"))
        fork = cluster.fork()
        for one in (cluster, fork):
            one.run_until(lambda one=one: one.sim.plane.layers.is_ready("toys"))
            one.create(TOY)
            one.wait_for("toy/duck", lambda toy: "status" in toy)
        fork.close()


def test_the_rules_hold_before_anybody_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that starts again judges its first request, before any controller runs."""
    with Cluster(layers=["toys"]) as cluster:
        cluster.sim.crash_control_plane()
        monkeypatch.setattr(EnabledLayers, "start", lambda layers, before=None: None)
        cluster.sim.start_control_plane()
        with pytest.raises(ApiError, match="duck is too dark, said 1 times"):
            cluster.create(BLACK)


def test_a_layer_that_there_is_not() -> None:
    """It is refused by name."""
    with pytest.raises(LookupError, match=r"there is no layer 'tyos'; there are: .*toys"):
        Cluster(layers=["tyos"]).start()


def test_what_somebody_else_defined_stays_as_it_is() -> None:
    """A definition of another manager is not taken over."""
    with Cluster() as cluster:
        spec = {**toys.DEFINITION["spec"], "names": {**toys.DEFINITION["spec"]["names"], "shortNames": ["ty"]}}
        cluster.apply({**toys.DEFINITION, "spec": spec})
        cluster.sim.enable("toys")
        found = cluster.get("customresourcedefinition/toys.example.com")
        assert found is not None
        assert found["spec"]["names"]["shortNames"] == ["ty"]


def test_a_layer_that_fails_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane goes on meanwhile."""
    real, tries = LayerLife._apply, list[int]()

    async def apply(life: LayerLife) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        await real(life)

    monkeypatch.setattr(LayerLife, "_apply", apply)
    with Cluster(layers=["toys"]) as cluster:
        cluster.create(TOY)
        cluster.wait_for("toy/duck", lambda toy: "status" in toy)
    assert len(tries) == 2


def test_it_is_told_how_a_layer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready, or what is in the way: also of a service that ends, until it has gone on for a while."""
    tries = list[int]()

    async def serve(around: Around) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("its port is taken")
        await around.clock.sleep(1e9)

    monkeypatch.setattr(toys, "LAYER", dataclasses.replace(toys.LAYER, service=serve))

    def state(cluster: Cluster) -> str:
        return layers.states(cluster.get("configmap/sampan-layers", namespace="kube-system"))["toys"]

    with Cluster() as cluster:
        cluster.sim.enable("toys")
        cluster.run_until(lambda: state(cluster) == "its service ended: its port is taken", within=5)
        cluster.run_until(lambda: state(cluster) == layers.READY, within=30)
        assert len(tries) == 3


def test_the_rules_hold_while_a_controller_fails() -> None:
    """They are no part of what is begun anew, and remember what they knew."""
    with Cluster(layers=["toys"]) as cluster:
        with pytest.raises(ApiError, match="said 1 times"):
            cluster.create(BLACK)

        async def fail() -> None:
            raise ZeroDivisionError

        async def begin() -> None:
            cluster.sim.plane.layers._lives["toys"].tasks.spawn(fail(), "fails")

        cluster.run(begin())
        cluster.advance(1)
        assert not cluster.sim.plane.layers.is_ready("toys")
        with pytest.raises(ApiError, match="said 2 times"):
            cluster.create(BLACK)
        cluster.run_until(lambda: cluster.sim.plane.layers.is_ready("toys"))


def test_no_layer_is_loaded_before_it_is_enabled() -> None:
    """Neither by the control plane's process nor by a simulated cluster."""
    code = (
        "import sys; import sampan.cluster.control_plane; from sampan.testing.cluster import Cluster\n"
        "with Cluster(): pass\n"
        "print([n for n in sys.modules if n.startswith(('sampan.platform.', 'sampan.gateway'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sampan.platform.review', 'sampan.platform.rights', 'sampan.platform.layer']"


def test_by_the_marker(tmp_path: Path) -> None:
    """A test's cluster has the layers that its marker names, and a fork of it too."""
    wanted = setups.Setup().with_({"layers": ["toys"]}, tmp_path)
    with setups.build(wanted) as base, base.fork() as cluster:
        cluster.create(TOY)
        cluster.wait_for("toy/duck", lambda toy: "status" in toy)
    with pytest.raises(setups.SetupError, match="layers: there is no layer 'tyos'"):
        setups.Setup().with_({"layers": ["tyos"]}, tmp_path)


def test_by_a_scenario(tmp_path: Path) -> None:
    """So has a scenario's; a layer that there is not is refused at its place."""
    lines = ["apiVersion: sim.sampan.dev/v1alpha1", "kind: Scenario", "layers: [toys]", "steps: []"]
    file = tmp_path / "toys.yaml"
    file.write_text("\n".join(lines))
    played = play.play(scenario.load(file), 1)
    assert played.failure is None
    assert any(change.resource == "toys.example.com" for change in played.changes)
    file.write_text("\n".join(lines).replace("toys", "tyos"))
    with pytest.raises(scenario.ScenarioError, match="there is no layer 'tyos'"):
        scenario.load(file)
