"""What followers of the network are told, and when."""

import pytest

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.node import NODE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from tests.node.conftest import Node


class Follower:
    """Writes down what it hears; fails as often as it is told to."""

    def __init__(self, *kinds):
        self.kinds, self.failures, self.heard, self.changes, self.zones, self.is_closed = kinds, 0, [], [], [], False

    def changed(self, plural, old, new):
        self.changes.append((plural, old and old["metadata"]["name"], new and new["metadata"]["name"]))

    def node_changed(self, node):
        self.zones.append((node["metadata"].get("labels") or {}).get("zone"))
        return len(self.zones) > 1 and self.zones[-1] != self.zones[-2]

    async def apply(self, objects):
        self.heard.append({p: [o["metadata"]["name"] for o in objects[p]] for p in (k.plural for k in self.kinds)})
        if self.failures:
            self.failures -= 1
            raise OSError("refused")

    async def close(self):
        self.is_closed = True


class Waiting(Follower):
    starts_with = SERVICE


class Followed(Node):
    def __init__(self, root, *followers):
        self.followers = followers
        super().__init__(root)

    def parts(self):
        made = super().parts()
        return type(made)(**{f: getattr(made, f) for f in made.__dataclass_fields__} | {"followers": self.followers})


@pytest.fixture
def make(tmp_path):
    made = []

    def begin(*followers):
        made.append(Followed(tmp_path, *followers))
        return made[-1]

    yield begin
    for each in made:
        each.end()
        each.loop.close()
        assert all(follower.is_closed for follower in each.followers)


def named(name, namespace="default"):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {}}


def test_changes_that_come_together_are_applied_together(make):
    """Each is told at once, with what was before; the lists are whole."""
    follower = Follower(SERVICE, ENDPOINTSLICE)
    node = make(follower)
    assert follower.heard == [{"services": [], "endpointslices": []}]
    node.client.put(SERVICE, named("a"))
    node.client.put(SERVICE, named("b"))
    node.client.put(ENDPOINTSLICE, named("a-1"))
    node.loop.advance(0.5)
    assert follower.heard[1:] == [{"services": ["a", "b"], "endpointslices": ["a-1"]}]
    node.client.drop(SERVICE, ("default", "a"))
    node.loop.advance(0.5)
    assert follower.heard[2:] == [{"services": ["b"], "endpointslices": ["a-1"]}]
    assert sorted(follower.changes, key=str) == [
        ("endpointslices", None, "a-1"),
        ("services", "a", None),
        ("services", None, "a"),
        ("services", None, "b"),
    ]


def test_one_that_fails_is_asked_again_and_holds_up_no_other(make):
    """Once a second, until it succeeds."""
    good, bad = Follower(SERVICE), Follower(SERVICE)
    node = make(good, bad)
    bad.failures = 2
    node.client.put(SERVICE, named("a"))
    node.loop.advance(0.5)
    assert (len(good.heard), len(bad.heard)) == (2, 2)
    node.loop.advance(5)
    assert (len(good.heard), len(bad.heard)) == (2, 4)


def test_one_may_wait_for_its_first_object(make):
    """Until then its other kinds are not watched; then it knows all of them at once."""
    follower = Waiting(SERVICE, NAMESPACE)
    node = make(follower)
    assert "namespaces" not in {plural for plural, _ in node.client.watchers}
    node.client.put(NAMESPACE, named("x", ""))
    node.loop.advance(0.5)
    assert follower.heard == [{"services": [], "namespaces": []}]
    node.client.put(SERVICE, named("a"))
    node.loop.advance(0.5)
    assert follower.heard[-1] == {"services": ["a"], "namespaces": ["x"]}
    assert ("namespaces", None, "x") in follower.changes


def test_the_nodes_own_object_is_told(make):
    """At the start and at each version; what the follower calls a change is applied."""
    follower = Follower(SERVICE)
    node = make(follower)
    node.loop.advance(0.5)
    before = len(follower.heard)
    found = node.client.find("nodes", "node-1", "")
    labels = {**found["metadata"].get("labels", {}), "zone": "a"}
    node.client.put(NODE, {**found, "metadata": {**found["metadata"], "labels": labels}})
    node.loop.advance(0.5)
    assert follower.zones[0] is None
    assert follower.zones[-1] == "a"
    assert len(follower.heard) == before + 1


class Attending(Follower):
    def attend(self, wake):
        self.wake = wake


def test_a_follower_may_ask_to_be_told(make):
    """It wants no objects, and has something to do all the same."""
    follower = Attending()
    node = make(follower)
    follower.wake()
    node.loop.advance(0.5)
    assert follower.heard == [{}, {}]
