"""What volumes are made of is followed while a pod has it, once for all pods, and each change reaches all of them."""

import asyncio

import pytest

from sampan.client.transport import TransportError
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.pod import POD
from sampan.meta import timestamps
from sampan.node import refresh
from sampan.node.volumes.failure import VolumeFailure


def config_map(value, **more):
    return {"metadata": {"name": "conf", "namespace": "default"}, "data": {"k": value}, **more}


def pod(name, **volume):
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "app", "image": "app:1"}],
            "volumes": [{"name": "v", **volume}],
        },
    }


FROM_MAP = {"configMap": {"name": "conf"}}
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}


@pytest.fixture
def written(node):
    """What was written for the pods, in order: pod and value; None where the object is not there."""
    found = []

    async def prepare(pod, given):
        conf = given.config_maps.get("conf")
        found.append((pod["metadata"]["name"], conf and conf["data"]["k"]))
        if conf is None and pod["spec"]["volumes"][0] == {"name": "v", **FROM_MAP}:
            raise VolumeFailure("not there")
        return {"v": "/v"}

    node.agent.parts.volumes.prepare = prepare
    return found


def watches(node):
    return [plural for plural, _ in node.client.watchers].count("configmaps")


def run(node, seconds):
    node.loop.run_until_complete(node.clock.sleep(seconds))


def test_a_change_reaches_all_pods_by_one_watch(node, written):
    """Within seconds, and nothing is read or written while nothing changes."""
    node.client.put(CONFIGMAP, config_map("1"))
    for name in ("a", "b", "c"):
        node.client.put(POD, pod(name, **FROM_MAP))
    run(node, 3)
    assert (sorted(written), watches(node)) == ([("a", "1"), ("b", "1"), ("c", "1")], 1)
    run(node, 3600)
    assert len(written) == 3
    node.client.put(CONFIGMAP, config_map("2"))
    run(node, 1)
    assert sorted(written[3:]) == [("a", "2"), ("b", "2"), ("c", "2")]


def test_the_watch_goes_with_the_last_pod(node, written):
    """A while after it, so that a pod that comes soon finds it."""
    node.client.put(CONFIGMAP, config_map("1"))
    node.client.put(POD, pod("a", **FROM_MAP))
    run(node, 3)
    node.client.drop(POD, ("default", "a"))
    run(node, refresh.LINGER_SECONDS / 2)
    assert watches(node) == 1
    node.client.put(POD, pod("b", **FROM_MAP))
    run(node, refresh.LINGER_SECONDS)
    assert watches(node) == 1
    node.client.drop(POD, ("default", "b"))
    run(node, refresh.LINGER_SECONDS + 60)
    assert watches(node) == 0


def test_nobody_watches_what_can_not_change(node, written):
    """One that becomes immutable is written once more, and is followed no longer."""
    node.client.put(CONFIGMAP, config_map("1"))
    node.client.put(POD, pod("a", **FROM_MAP))
    run(node, 3)
    node.client.put(CONFIGMAP, config_map("2", immutable=True))
    run(node, 3)
    assert (written[-1], watches(node)) == (("a", "2"), 0)
    node.client.put(POD, pod("b", **FROM_MAP))
    run(node, 3)
    assert watches(node) == 0


def test_a_pod_starts_when_what_it_waits_for_comes(node, written):
    """At once, not with the next try; a node without such pods watches nothing."""
    assert watches(node) == 0
    node.client.put(POD, pod("a", **FROM_MAP))
    run(node, 2.9)
    node.client.put(CONFIGMAP, config_map("1"))
    run(node, 0.5)
    assert written[-1] == ("a", "1")


def test_what_is_gone_is_told(node, written):
    """The pod keeps what it has, with an event."""
    node.client.put(CONFIGMAP, config_map("1"))
    node.client.put(POD, pod("a", **FROM_MAP))
    run(node, 3)
    node.client.drop(CONFIGMAP, ("default", "conf"))
    run(node, 3)
    assert written[-1] == ("a", None)
    assert ("FailedMount", "not there") in node.client.events()


def test_a_pod_that_is_to_end_keeps_what_it_has(node, written):
    """Nothing is said about what goes before it, as everything of an application that is uninstalled does."""
    node.runtime.stop_seconds = 60
    node.client.put(CONFIGMAP, config_map("1"))
    node.client.put(POD, pod("a", **FROM_MAP))
    run(node, 3)
    ending = pod("a", **FROM_MAP)
    ending["metadata"] |= {"deletionTimestamp": "2026-01-01T01:00:00Z", "deletionGracePeriodSeconds": 3600}
    node.client.put(POD, ending)
    run(node, 3)
    node.client.drop(CONFIGMAP, ("default", "conf"))
    run(node, 3)
    assert written[-1] == ("a", "1")
    assert not any(reason == "FailedMount" for reason, _ in node.client.events())


def test_tokens_are_renewed_when_the_machine_has_slept(node, written, monkeypatch):
    """At once when that is noticed, and not after the rest of the wait; also when the clock went back."""
    asked = []

    async def token(kind, key, subresource, body):
        asked.append(node.clock.now())
        return {"status": {"token": "t", "expirationTimestamp": timestamps.format(node.clock.now() + 3600)}}

    monkeypatch.setattr(node.client, "create_subresource", token)
    node.client.put(POD, pod("a", **TOKEN))
    run(node, 60)
    for jump in (400 * 86400.0, -400 * 86400.0):
        node.clock.jump(jump)
        node.loop.call_soon(node.agent.hands.refresher.look_again)
        run(node, 60)
    assert len(asked) == 3
    run(node, 3000)
    assert len(asked) == 4


def test_a_token_that_is_asked_for_while_the_clock_is_set(node, written, monkeypatch):
    """It is asked for again, by the clock as it is now, and renewed in time."""
    asked = []

    async def token(kind, key, subresource, body):
        asked.append(node.clock.now())
        until = node.clock.now() + 3600
        if len(asked) == 1:
            node.clock.jump(-400 * 86400.0)
            node.agent.hands.refresher.look_again()
        return {"status": {"token": "t", "expirationTimestamp": timestamps.format(until)}}

    monkeypatch.setattr(node.client, "create_subresource", token)
    node.client.put(POD, pod("a", **TOKEN))
    run(node, 60)
    assert len(asked) == 2
    run(node, 3000)
    assert len(asked) == 3


def test_a_token_that_is_refused_is_asked_for_again_soon(node, written, monkeypatch):
    """As after a jump, which whoever gives it may not have noticed yet; where that lasts, more and more seldom."""
    asked = []

    async def token(kind, key, subresource, body):
        asked.append(node.clock.now())
        if 2 <= len(asked) <= 9:
            raise TransportError("not yet")
        return {"status": {"token": "t", "expirationTimestamp": timestamps.format(node.clock.now() + 3600)}}

    monkeypatch.setattr(node.client, "create_subresource", token)
    node.client.put(POD, pod("a", **TOKEN))
    run(node, 60)
    node.loop.call_soon(node.agent.hands.refresher.look_again)
    run(node, 600)
    pauses = [round(later - before) for before, later in zip(asked[1:], asked[2:], strict=False)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    node.loop.call_soon(node.agent.hands.refresher.look_again)
    run(node, 60)
    assert len(asked) == 11


def test_tokens_are_renewed_before_they_expire(node, written, monkeypatch):
    """At four fifths of their life, each pod by itself."""
    asked = []

    async def token(kind, key, subresource, body):
        asked.append(node.clock.now())
        until = node.clock.now() + 3600
        return {"status": {"token": "t", "expirationTimestamp": timestamps.format(until)}}

    monkeypatch.setattr(node.client, "create_subresource", token)
    node.client.put(POD, pod("a", **TOKEN))
    run(node, 3600 * 5)
    assert [round((later - before) / 60) for before, later in zip(asked, asked[1:], strict=False)] == [48] * 6
    node.client.drop(POD, ("default", "a"))
    run(node, 7200)
    assert len(asked) == 7


def test_a_label_shows_in_the_files(node, written):
    """Also a change of resources; what shows nothing of that is left alone."""
    shown = {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
    name_only = {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}
    for name, volume in (("a", shown), ("b", name_only)):
        node.client.put(POD, pod(name, **volume))
    run(node, 3)
    written.clear()
    for name in ("a", "b"):
        old = node.client.find("pods", name)
        node.client.put(POD, {**old, "metadata": {**old["metadata"], "labels": {"x": "y"}}})
    run(node, 1)
    assert written == [("a", None)]


@pytest.mark.parametrize(("seconds", "outcome"), [(6, "made"), (30, "broken off")])
def test_a_pod_that_goes_while_its_volumes_are_made(node, monkeypatch, seconds, outcome):
    """They are given back only once they are made or that is broken off: nothing is made behind the back of whoever cleaned up."""
    done = []

    async def prepare(pod, given):
        try:
            await node.clock.sleep(seconds)
        except asyncio.CancelledError:
            await node.clock.sleep(1)
            done.append("broken off")
            raise
        done.append("made")
        return {"v": "/v"}

    async def teardown(uid):
        done.append("given back")

    monkeypatch.setattr(node.agent.parts.volumes, "prepare", prepare)
    monkeypatch.setattr(node.agent.parts.volumes, "teardown", teardown)
    node.client.put(POD, pod("a", **TOKEN))
    run(node, 5)
    node.client.drop(POD, ("default", "a"))
    run(node, 60)
    assert done == [outcome, "given back"]
