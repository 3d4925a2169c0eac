"""One object's life as upstream's conformance tests walk it for nearly every kind, in JSON or in protobuf.

Discovery; create three; get; list by label, in one namespace and in all; patch; update; /status; delete;
deletecollection; and a watch from the first list on that has seen every change in its order.
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.meta.wire import protobuf
from sampan.web.message import Request
from tests.server.conftest import ADMIN, Api

PROTOBUF = "application/vnd.kubernetes.protobuf"
VERBS = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
LABEL = "labelSelector=special-label=life"

Tree = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is walked: the collection's path, an object, and a status that may be patched into it.

    `is_annotated` says whether a write to /status may annotate it.
    """

    path: str
    obj: Tree
    status: Tree | None = None
    names: tuple[str, str, str] = ("life-a", "life-b", "life-c")
    patch: str = "merge"
    is_annotated: bool = True

    @property
    def group_version(self) -> str:
        """/api/v1 or /apis/GROUP/VERSION."""
        parts = self.path.split("/")
        return "/".join(parts[: 3 if parts[1] == "api" else 4])

    @property
    def plural(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def everywhere(self) -> str:
        """The collection in all namespaces."""
        return f"{self.group_version}/{self.plural}"

    def called(self, index: int) -> Tree:
        """The object under one of its names."""
        metadata = {**self.obj.get("metadata", {}), "name": self.names[index]}
        metadata["labels"] = {**metadata.get("labels", {}), "special-label": "life"}
        return {**self.obj, "metadata": metadata}


class Wire:
    """Requests in one of the two formats of built-in kinds."""

    def __init__(self, api: Api, *, is_protobuf: bool) -> None:
        self.api, self.is_protobuf = api, is_protobuf

    async def __call__(self, method: str, path: str, body: Tree | None = None, status: int = 200) -> Tree:
        """The decoded answer, whose code must be `status`."""
        if not self.is_protobuf:
            answer = await self.api.send(method, path, b"" if body is None else body)
            found = answer.tree
        else:
            data = b"" if body is None else protobuf.encode(body)
            answer = await self.api.send(method, path, data, content_type=PROTOBUF, accept=PROTOBUF)
            assert answer.headers["content-type"] == PROTOBUF
            found = protobuf.decode(answer.body)
        assert answer.status == status, (method, path, found)
        return found

    async def patch(self, path: str, patch: Tree, kind: str = "merge") -> Tree:
        media = {"merge": "application/merge-patch+json", "strategic": "application/strategic-merge-patch+json"}[kind]
        accept = PROTOBUF if self.is_protobuf else "application/json"
        answer = await self.api.send("PATCH", path, patch, content_type=media, accept=accept)
        found = protobuf.decode(answer.body) if self.is_protobuf else answer.tree
        assert answer.status == 200, found
        return found

    async def events(self, path: str, count: int) -> list[tuple[str, Tree]]:
        """The first events of a watch, off the server's own stream."""
        path, _, query = path.partition("?")
        pairs = tuple(tuple(part.partition("=")[::2]) for part in query.split("&"))
        headers = {"accept": f"{PROTOBUF};stream=watch"} if self.is_protobuf else {}
        request = Request("GET", path, (("watch", "true"), *pairs), headers, b"", ADMIN)
        response = await self.api.app.handle(request)
        assert response.status == 200, response.body
        assert not isinstance(response.body, bytes | dict)
        data = b""
        async for chunk in response.body:
            data += chunk
            found = frames(data) if self.is_protobuf else lines(data)
            if len(found) >= count:
                break
        await response.body.aclose()
        return found


def lines(data: bytes) -> list[tuple[str, Tree]]:
    """The events of a watch in JSON."""
    events = [orjson.loads(line) for line in data.splitlines()]
    return [(event["type"], event["object"]) for event in events]


def frames(data: bytes) -> list[tuple[str, Tree]]:
    """The events of a watch in protobuf: four bytes of length, then WatchEvent {type = 1, object = 2 {raw = 1}}."""
    found: list[tuple[str, Tree]] = []
    while len(data) >= 4 + int.from_bytes(data[:4], "big") > 4:
        size = int.from_bytes(data[:4], "big")
        event = _fields(data[4 : 4 + size])
        found.append((event[1].decode(), protobuf.decode(_fields(event[2])[1])))
        data = data[4 + size :]
    return found


def _fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a message."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(message):
        number, at = message[at] >> 3, at + 1
        length = shift = 0
        while True:
            byte, at = message[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found[number], at = message[at : at + length], at + length
    return found


def revision(obj: Tree) -> int:
    """The resourceVersion as a number, which it must be: decimal, no leading zero."""
    text = obj["metadata"]["resourceVersion"]
    assert re.fullmatch("[1-9][0-9]*", text), text
    return int(text)


async def walk(api: Api, subject: Subject, *, is_protobuf: bool = False) -> None:
    """The whole life."""
    wire = Wire(api, is_protobuf=is_protobuf)
    await discovered(api, subject)
    start = (await wire("GET", f"{subject.path}?{LABEL}"))["metadata"]["resourceVersion"]
    await created(wire, subject)
    patched = await changed(wire, subject)
    if subject.status is not None:
        patched = await status_written(wire, subject, patched)
    events = await wire.events(f"{subject.path}?resourceVersion={start}&{LABEL}", 5)
    assert [kind for kind, _ in events[:5]] == ["ADDED"] * 3 + ["MODIFIED"] * 2
    assert [event["metadata"]["name"] for _, event in events[:5]] == [*subject.names, *subject.names[:1] * 2]
    assert "updated" not in events[3][1]["metadata"]["annotations"]
    assert "updated" in events[4][1]["metadata"]["annotations"]
    last = await deleted(wire, subject)
    events = await wire.events(f"{subject.path}?resourceVersion={revision(patched)}&{LABEL}", last)
    assert sorted(event["metadata"]["name"] for kind, event in events if kind == "DELETED") == list(subject.names)


async def discovered(api: Api, subject: Subject) -> None:
    """The group, its version and the resource with its verbs and its status are in the documents."""
    if subject.group_version != "/api/v1":
        _, _, group, version = subject.group_version.split("/")
        listed = {entry["name"]: entry for entry in (await api.get("/apis"))["groups"]}[group]
        assert version in [entry["version"] for entry in listed["versions"]]
        assert (await api.get(f"/apis/{group}"))["versions"] == listed["versions"]
    resources = {entry["name"]: entry for entry in (await api.get(subject.group_version))["resources"]}
    assert set(resources[subject.plural]["verbs"]) == VERBS
    assert resources[subject.plural]["kind"] == subject.obj["kind"]
    if subject.status is not None:
        assert set(resources[f"{subject.plural}/status"]["verbs"]) == {"get", "patch", "update"}


async def created(wire: Wire, subject: Subject) -> None:
    """Three of them, read one by one and together."""
    made = [await wire("POST", subject.path, subject.called(index), 201) for index in range(3)]
    assert all(obj["metadata"]["uid"] and obj["metadata"]["managedFields"] for obj in made)
    assert sorted(map(revision, made)) == list(map(revision, made))
    assert await wire("GET", f"{subject.path}/{subject.names[0]}") == made[0]
    for path in {subject.path, subject.everywhere}:
        listed = await wire("GET", f"{path}?{LABEL}")
        assert listed["kind"] == f"{subject.obj['kind']}List"
        assert [item["metadata"]["uid"] for item in listed["items"]] == [obj["metadata"]["uid"] for obj in made]
    taken = await wire("POST", subject.path, subject.called(0), 409)
    assert taken["reason"] == "AlreadyExists"


async def changed(wire: Wire, subject: Subject) -> Tree:
    """Patched and updated; each is a larger revision, and an old one conflicts."""
    path = f"{subject.path}/{subject.names[0]}"
    before = await wire("GET", path)
    patched = await wire.patch(path, {"metadata": {"annotations": {"patched": "true"}}}, subject.patch)
    assert patched["metadata"]["annotations"]["patched"] == "true"
    assert revision(patched) > revision(before)
    patched["metadata"]["annotations"]["updated"] = "true"
    updated = await wire("PUT", path, patched)
    assert updated["metadata"]["annotations"]["updated"] == "true"
    assert revision(updated) > revision(patched)
    counted = 2 if subject.plural == "deployments" else 0  # whose annotations count
    assert updated["metadata"].get("generation", 0) == before["metadata"].get("generation", 0) + counted
    refused = await wire("PUT", path, before, 409)
    assert refused["reason"] == "Conflict"
    return updated


async def status_written(wire: Wire, subject: Subject, before: Tree) -> Tree:
    """/status is the same object; it takes the status, of many kinds annotations, and leaves the spec alone."""
    path = f"{subject.path}/{subject.names[0]}/status"
    read = await wire("GET", path)
    assert (read["kind"], read["metadata"]["uid"]) == (subject.obj["kind"], before["metadata"]["uid"])
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": subject.status}
    patched = await wire.patch(path, patch)
    assert ("patchedstatus" in patched["metadata"]["annotations"]) == subject.is_annotated
    assert contains(patched["status"], subject.status), patched["status"]
    patched["metadata"]["annotations"]["updatedstatus"] = "true"
    updated = await wire("PUT", path, patched)
    assert ("updatedstatus" in updated["metadata"]["annotations"]) == subject.is_annotated
    assert contains(updated["status"], subject.status)
    assert revision(updated) > revision(patched) - 1 > revision(before) - 1
    assert updated.get("spec") == before.get("spec")
    assert await wire("GET", path.removesuffix("/status")) == updated
    return updated


async def deleted(wire: Wire, subject: Subject) -> int:
    """One by its name, the others together; returns how many events that makes."""
    count = 3
    path = f"{subject.path}/{subject.names[0]}"
    wish = {"kind": "DeleteOptions", "apiVersion": subject.obj["apiVersion"], "propagationPolicy": "Background"}
    await wire("DELETE", path, wish)
    count += await released(wire, path)
    await wire("GET", path, status=404)
    assert len((await wire("GET", f"{subject.path}?{LABEL}"))["items"]) == 2
    chosen = await wire("DELETE", f"{subject.path}?{LABEL}", wish)
    assert chosen["kind"] == f"{subject.obj['kind']}List"
    for name in subject.names[1:]:
        count += await released(wire, f"{subject.path}/{name}")
    assert (await wire("GET", f"{subject.path}?{LABEL}")).get("items", []) == []
    return count


async def released(wire: Wire, path: str) -> int:
    """Lets go what a protection finalizer holds, as its controller would; returns how many events that made."""
    answer = await wire.api.send("GET", path)
    if answer.status == 404:
        return 0
    assert answer.tree["metadata"].keys() >= {"deletionTimestamp", "finalizers"}
    await wire.patch(path, {"metadata": {"finalizers": None}})
    return 1


def contains(found: Any, wanted: Any) -> bool:
    """Whether everything wanted is there, beside whatever the server adds."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(contains, found, wanted))
    return bool(found == wanted)
