"""What a test may write, and what it is told when that makes no sense."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sampan.testing import Cluster

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


def test_times(cluster: Cluster) -> None:
    """A time is a number of seconds or a timedelta."""
    cluster.advance(timedelta(minutes=2))
    cluster.advance(5, hours=1)
    with pytest.raises(TimeoutError):
        cluster.run_until(lambda: False, within=timedelta(seconds=5))
    assert cluster.time == 120 + 3605 + 5


@pytest.mark.parametrize("given", [-5, float("inf"), float("nan")])
def test_time_does_not_go_back_nor_on_for_ever(cluster: Cluster, given: float) -> None:
    """A time that is none is refused, and none passes."""
    with pytest.raises(ValueError, match="a time is a number of seconds from 0 on, not"):
        cluster.advance(given)
    with pytest.raises(ValueError, match="a time is"):
        cluster.advance(hours=-1)
    with pytest.raises(ValueError, match="a time is"):
        cluster.run_until(lambda: True, within=given)
    with pytest.raises(TypeError, match="a number of seconds or a timedelta, not '5m'"):
        cluster.advance("5m")  # type: ignore[arg-type]
    assert cluster.time == 0


async def _never() -> bool:
    return False


@pytest.mark.parametrize("condition", [_never, lambda *_: asyncio.sleep(0)])
def test_a_coroutine_is_no_condition(cluster: Cluster, condition: Any) -> None:
    """What is never awaited would always be true."""
    cluster.apply(MAP)
    with pytest.raises(TypeError, match="a condition is a plain function, and no coroutine"):
        cluster.run_until(condition)
    with pytest.raises(TypeError, match=r"a condition is a plain function|takes 0 positional"):
        cluster.wait_for("cm/a", condition)


@pytest.mark.parametrize("condition", [True, None])
def test_a_value_is_no_condition(cluster: Cluster, condition: Any) -> None:
    """A condition is asked again and again, which a value cannot be."""
    with pytest.raises(TypeError, match=r"a condition is a function, such as lambda: ..., not"):
        cluster.run_until(condition)


@pytest.mark.parametrize("condition", ["Ready", "ready", "condition=Ready", "condition=ready=true", "exists", "create"])
def test_conditions_as_kubectl_takes_them(cluster: Cluster, condition: str) -> None:
    """They are written as for kubectl wait, and capitals do not matter."""
    cluster.apply(POD)
    assert cluster.wait_for("pod/web", condition, within=10)["metadata"]["name"] == "web"


@pytest.mark.parametrize("condition", ["", "Ready==True", "jsonpath={.status.phase}=Running"])
def test_words_that_are_no_condition(cluster: Cluster, condition: str) -> None:
    """They are refused at once; nobody waits for what cannot come."""
    with pytest.raises(
        ValueError, match="is nothing to wait for: write Ready, Ready=False, exists, deleted, or a function"
    ):
        cluster.wait_for("pod/web", condition)
    assert cluster.time == 0


def test_manifests(cluster: Cluster, tmp_path: Path) -> None:
    """Objects come as trees, texts of YAML or JSON, files, and lists of these; `create` takes one."""
    file = tmp_path / "b.json"
    file.write_text(json.dumps(MAP | {"metadata": {"name": "b"}}))
    assert len(cluster.apply([MAP, file], json.dumps(MAP | {"metadata": {"name": "c"}}))) == 3
    made = cluster.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n")
    assert made["metadata"]["name"] == "d"
    with pytest.raises(ValueError, match="one object is made at a time, and here are 2: use apply"):
        cluster.create([MAP, MAP])
    with pytest.raises(TypeError, match=r"a manifest is an object, a YAML text, a path or a list of them, not 7"):
        cluster.apply(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"an object needs apiVersion, kind and metadata.name; this one is"):
        cluster.create({"kind": "ConfigMap", "metadata": {"name": "x"}})
    with pytest.raises(ValueError, match="this object has generateName: use create"):
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x"}})


def test_selectors(cluster: Cluster) -> None:
    """A selector may be a mapping."""
    cluster.apply(POD)
    assert [len(cluster.list("pods", labels={"app": app, "tier": "front"})) for app in ("web", "db")] == [1, 0]
    assert len(cluster.list("pods", fields={"metadata.name": "web"})) == 1


def test_options(cluster: Cluster) -> None:
    """A word that nobody knows is refused, not passed over."""
    cluster.apply(MAP)
    with pytest.raises(TypeError, match=r"delete takes uid, .*propagation, not propagation_policy"):
        cluster.delete("cm/a", propagation_policy="Foreground")
    with pytest.raises(ValueError, match="a patch is of type merge, json, strategic, not 'strategi'"):
        cluster.patch("cm/a", {}, type="strategi")
    with pytest.raises(ValueError, match="a refusal has a code from 400 to 599, not 'x'"):
        cluster.faults.errors("x")  # type: ignore[arg-type]
    assert cluster.get("cm/a") is not None


@pytest.mark.parametrize("given", [{"nodes": -1}, {"nodes": "a"}, {"seed": "x"}, {"seed": None}])
def test_numbers(given: Any) -> None:
    """How many nodes there are and which seed decides are numbers."""
    with pytest.raises(ValueError, match=r"(nodes|seed) is a number"):
        Cluster(**given)


def test_nodes(cluster: Cluster) -> None:
    """A node that is not there is named, with those that are."""
    for call in (cluster.crash_node, cluster.start_node, cluster.faults.crash_node, cluster.faults.crash_agent):
        with pytest.raises(LookupError, match="there is no node 'node-7'; there are sampan"):
            call("node-7")
    with pytest.raises(ValueError, match="'X_y' cannot be the name of a node: a lowercase RFC 1123 subdomain"):
        cluster.add_node("X_y")
    cluster.crash_node("sampan")
    with pytest.raises(ValueError, match="node sampan is down already"):
        cluster.crash_node("sampan")


def test_a_node_whose_agent_is_gone_may_crash_too(cluster: Cluster) -> None:
    """It has power until then."""
    cluster.faults.crash_agent("sampan")
    cluster.crash_node("sampan")
    cluster.start_node("sampan")
    assert cluster.wait_for("node/sampan", "Ready")


def test_logs_of_what_does_not_run(cluster: Cluster) -> None:
    """Who asks for logs is told what there is."""
    with pytest.raises(LookupError, match="deployment/web in default: no container of it is on a node"):
        cluster.logs("deployment/web")
    cluster.apply(POD)
    cluster.wait_for("pod/web", "Ready")
    with pytest.raises(LookupError, match=r"no container 'db' is there; there are \['web'\]"):
        cluster.logs("pod/web", "db")


def test_before_the_start() -> None:
    """What needs a cluster that runs says how to have one."""
    cluster = Cluster()
    for call in (lambda: cluster.apply(MAP), lambda: cluster.advance(5), cluster.fork, lambda: cluster.kubeconfig):
        with pytest.raises(RuntimeError, match="the cluster is not started: write `with Cluster"):
            call()


def test_after_the_end() -> None:
    """A closed cluster can be read, and is no more than that."""
    with Cluster() as cluster:
        cluster.apply(MAP)
    assert cluster.get("cm/a") is not None
    for call in (lambda: cluster.create(MAP), lambda: cluster.advance(5), cluster.fork, cluster.start):
        with pytest.raises(RuntimeError, match="the cluster is closed"):
            call()


def test_a_condition_only_looks(cluster: Cluster) -> None:
    """It can let no time pass and write nothing, and harms nothing by trying."""
    for wrong in (lambda: cluster.advance(1), lambda: cluster.create(MAP)):
        with pytest.raises(RuntimeError, match=r"time passes already: a condition or a rule .* only looks"):
            cluster.run_until(wrong)
    cluster.create(MAP)


def test_a_call_that_does_not_end(cluster: Cluster) -> None:
    """A coroutine has a minute, or as long as it is given."""
    with pytest.raises(TimeoutError, match="a call has not ended after 60 virtual seconds"):
        cluster.run(asyncio.sleep(90))
    cluster.run(asyncio.sleep(90), within=100)


def test_rules(cluster: Cluster) -> None:
    """Any function may be a rule; what is none is refused, and a rule may fail the test as pytest does."""

    def no_maps(cluster: Cluster) -> None:
        if cluster.get("cm/a") is not None:
            pytest.fail("there is a map")

    with pytest.raises(TypeError, match="a rule is a function of"):
        cluster.invariants("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not 0 arguments"):
        cluster.invariants(lambda: True)
    cluster.invariants(no_maps)
    with pytest.raises(pytest.fail.Exception, match="there is a map"):
        cluster.create(MAP)


class _TimeIsUp(BaseException):
    """As pytest-timeout has it raised, wherever the code is."""


def test_an_interrupt_ends_the_step(cluster: Cluster) -> None:
    """What is raised amid the cluster's own work reaches the test, and the cluster can be closed."""

    async def interrupted() -> None:
        await asyncio.sleep(5)
        raise _TimeIsUp

    async def start() -> None:
        cluster.sim.plane.tasks.spawn(interrupted(), "interrupted")

    cluster.run(start())
    with pytest.raises(_TimeIsUp):
        cluster.advance(hours=1)
    assert cluster.time == 5
    with pytest.raises(RuntimeError, match="this cluster was interrupted by _TimeIsUp"):
        cluster.advance(1)


def test_types_of_conditions_that_sound_like_more(cluster: Cluster) -> None:
    """`created` asks whether there is an object, `Created` for its condition."""
    cluster.apply(MAP)
    cluster.wait_for("configmap/a", "created")
    with pytest.raises(TimeoutError):
        cluster.wait_for("configmap/a", "Created", within=1)


def test_custom_kinds_may_be_called_and_look_as_they_like(cluster: Cluster) -> None:
    """A kind whose name ends in List is no list, and a field is not what it is in a Pod."""
    names = {"plural": "allowlists", "singular": "allowlist", "kind": "AllowList", "listKind": "AllowListList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    cluster.apply({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "allowlists.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    })  # fmt: skip
    cluster.wait_for("crd/allowlists.example.com", "Established")
    made = {"apiVersion": "example.com/v1", "kind": "AllowList", "metadata": {"name": "a"}}
    cluster.create({**made, "status": {"containerStatuses": {"web": {"restartCount": 1}}}})
    with pytest.raises(TimeoutError):
        cluster.wait_for("allowlist/a", "Ready", within=1)
