"""Metadata alone, as Go's metadata informers ask for it: in protobuf, of any kind."""

from sampan.meta.wire import protobuf
from tests.server import custom
from tests.server.conftest import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def accept(shape: str) -> str:
    return f"{PROTOBUF};as={shape};g=meta.k8s.io;v=v1"


async def test_metadata_alone_in_protobuf(api: Api) -> None:
    """Objects, lists and watch frames, of built-in and custom kinds; a Table has no such form."""
    await custom.establish(api, custom.crd())
    await api.create(MAPS, {**config_map("a"), "data": {"k": "secret"}})
    await api.create(WIDGETS, custom.widget("a"))
    for path in (MAPS, WIDGETS):
        one = await api.send("GET", f"{path}/a", accept=accept("PartialObjectMetadata"))
        assert one.status == 200
        assert one.headers["content-type"].startswith(PROTOBUF)
        tree = protobuf.decode(one.body)
        assert set(tree) == {"kind", "apiVersion", "metadata"}
        assert tree["kind"] == "PartialObjectMetadata"
        assert tree["metadata"]["name"] == "a"
        assert tree["metadata"]["uid"]
        many = await api.send("GET", f"{path}?limit=500", accept=accept("PartialObjectMetadataList"))
        listed = protobuf.decode(many.body)
        assert listed["kind"] == "PartialObjectMetadataList"
        assert listed["metadata"]["resourceVersion"]
        assert "a" in [item["metadata"]["name"] for item in listed["items"]]
        rest = "watch=true&timeoutSeconds=1&fieldSelector=metadata.name=a"
        seen = await api.send("GET", f"{path}?{rest}", accept=accept("PartialObjectMetadata"))
        assert seen.status == 200
        assert b"PartialObjectMetadata" in seen.body
        assert b"secret" not in seen.body
        refused = await api.send("GET", f"{path}/a", accept=accept("Table"))
        assert refused.status == 406
