"""What the API is told of a node's storage drivers."""

import json

import pytest

from sampan.meta import status
from sampan.meta.patch import merge
from sampan.node.csi.telling import NODE_IDS, Telling


class Api:
    """Objects by plural and name; refuses the first `conflicts` updates."""

    def __init__(self):
        self.objects = {("nodes", "n"): {"metadata": {"name": "n", "uid": "u", "labels": {"zone": "a"}}}}
        self.conflicts = 0

    async def get(self, kind, name, namespace=""):
        if (kind.plural, name) not in self.objects:
            raise status.not_found(kind.group, kind.plural, name)
        return self.objects[kind.plural, name]

    async def create(self, kind, obj):
        self.objects[kind.plural, obj["metadata"]["name"]] = obj
        return obj

    async def update(self, kind, obj):
        if self.conflicts:
            self.conflicts -= 1
            raise status.conflict(kind.group, kind.plural, "n", "changed meanwhile")
        return await self.create(kind, obj)

    async def patch(self, kind, key, patch, *, type, subresource=""):
        return await self.create(kind, merge.apply(self.objects[kind.plural, key[1]], patch))


def info(node_id="id", segments=None, limit=0):
    topology = {"segments": segments} if segments else None
    return {"node_id": node_id, "max_volumes_per_node": limit, "accessible_topology": topology}


def drivers(api):
    return api.objects["csinodes", "n"]["spec"]["drivers"]


async def test_drivers_come_and_go():
    """The CSINode has them, the Node their ids and topology; labels stay behind."""
    api = Api()
    told = Telling(api, "n")
    await told.registered("one", info(segments={"zone": "a", "rack": "1"}, limit=5))
    api.conflicts = 2
    await told.registered("two", info("other"))
    one = {"name": "one", "nodeID": "id", "topologyKeys": ["rack", "zone"], "allocatable": {"count": 5}}
    assert drivers(api) == [one, {"name": "two", "nodeID": "other"}]
    [owner] = api.objects["csinodes", "n"]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", "n", "u")
    node = api.objects["nodes", "n"]["metadata"]
    assert node["labels"] == {"zone": "a", "rack": "1"}
    assert json.loads(node["annotations"][NODE_IDS]) == {"one": "id", "two": "other"}
    await told.registered("one", info("id-2", limit=5))
    assert drivers(api)[-1] == {"name": "one", "nodeID": "id-2", "allocatable": {"count": 5}}
    for name in ("one", "two", "two"):
        await told.deregistered(name)
    assert drivers(api) == []
    assert NODE_IDS not in api.objects["nodes", "n"]["metadata"]["annotations"]


async def test_topologies_that_contradict_the_node():
    """Are refused, and nothing is written."""
    api = Api()
    with pytest.raises(ValueError, match="topology value collision: driver reported 'zone':'b'"):
        await Telling(api, "n").registered("one", info(segments={"zone": "b"}))
    assert list(api.objects) == [("nodes", "n")]


async def test_a_claim_that_has_grown():
    """Has the volume's size, and only others' conditions."""
    api = Api()
    pending = [{"type": "FileSystemResizePending", "status": "True"}, {"type": "Mine", "status": "True"}]
    old = {"capacity": {"storage": "1Gi"}, "conditions": pending, "allocatedResources": {"storage": "2Gi"}}
    claim = {
        "metadata": {"name": "c", "namespace": "d"},
        "status": {**old, "allocatedResourceStatuses": {"storage": "NodeResizePending"}},
    }
    api.objects["persistentvolumeclaims", "c"] = claim
    await Telling(api, "n").grown(claim, "2Gi")
    assert api.objects["persistentvolumeclaims", "c"]["status"] == {
        "capacity": {"storage": "2Gi"},
        "conditions": [{"type": "Mine", "status": "True"}],
        "allocatedResources": {"storage": "2Gi"},
    }
