"""What every plain kind's API must do, as the conformance tests ask of each: one walk through all verbs."""

from typing import Any

from tests.server.conftest import Api

Tree = dict[str, Any]


async def walk(api: Api, path: str, obj: Tree, change: Tree) -> None:
    """Create, get, list, watch, patch, update, delete, delete by selector. `path` is the collection's.

    `change` is merged into the object by the patch, and is what the update puts back to.
    """
    labelled = {**obj, "metadata": {**obj["metadata"], "labels": {"test": "walk"}}}
    name = obj["metadata"]["name"]
    made = await api.create(path, labelled)
    assert made["metadata"]["uid"] and made["metadata"]["managedFields"]
    assert await api.get(f"{path}/{name}") == made
    listed = await api.get(f"{path}?labelSelector=test%3Dwalk".replace("%3D", "="))
    assert [item["metadata"]["name"] for item in listed["items"]] == [name]
    if "/namespaces/" in path:
        everywhere = path.replace("/namespaces/default", "")
        assert name in [item["metadata"]["name"] for item in (await api.get(everywhere))["items"]]
    patched = await api.patch(f"{path}/{name}", {**change, "metadata": {"labels": {"patched": "true"}}})
    assert patched.status == 200, patched.body
    assert patched.tree["metadata"]["labels"] == {"test": "walk", "patched": "true"}
    assert int(patched.tree["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    tree = patched.tree
    tree["metadata"]["annotations"] = {"updated": "true"}
    updated = await api.put(f"{path}/{name}", tree)
    assert updated["metadata"]["annotations"]["updated"] == "true"
    await gone(api, path, name)
    second = {**labelled, "metadata": {**labelled["metadata"], "name": f"{name}-2"}}
    await api.create(path, second)
    assert (await api.delete(f"{path}?labelSelector=test=walk")).status == 200
    await release(api, f"{path}/{name}-2")
    assert (await api.send("GET", f"{path}/{name}-2")).status == 404


async def gone(api: Api, path: str, name: str) -> None:
    """Deletes it; what a protection finalizer keeps goes when a controller lets it go."""
    assert (await api.delete(f"{path}/{name}")).status == 200
    await release(api, f"{path}/{name}")
    assert (await api.send("GET", f"{path}/{name}")).status == 404


async def release(api: Api, path: str) -> None:
    """Takes the finalizers away, as the protection controllers do."""
    answer = await api.send("GET", path)
    if answer.status == 200:
        assert answer.tree["metadata"]["deletionTimestamp"] and answer.tree["metadata"]["finalizers"]
        assert (await api.patch(path, {"metadata": {"finalizers": None}})).status == 200
