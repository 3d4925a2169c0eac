"""A small API in memory behind the Transport protocol: enough for caches, the runner and their faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from sampan.meta import status
from sampan.meta.status import ApiError
from sampan.web.message import Request, Response


class FakeApi:
    """Objects by path. `refuse` may answer a request with an error; `delay_watch` holds events back."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[int, str, str, dict[str, Any]]] = []
        self.revision = 1
        self.oldest = 0
        self.requests: list[tuple[str, str]] = []
        self.refuse: Callable[[Request], ApiError | None] = lambda request: None
        self.changed = asyncio.Condition()
        self.watch_gate = asyncio.Event()
        self.watch_gate.set()

    async def request(self, request: Request) -> Response:
        self.requests.append((request.method, request.path))
        try:
            if error := self.refuse(request):
                raise error
            return await self._answer(request)
        except ApiError as error:
            return Response(error.code, error.status)

    async def close(self) -> None:
        """Nothing to let go of."""

    async def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Stores an object as of the next revision."""
        self.revision += 1
        change = "MODIFIED" if path in self.objects else "ADDED"
        stored = {**obj, "metadata": {"uid": f"uid-{path}", **obj["metadata"], "resourceVersion": str(self.revision)}}
        self.objects[path] = stored
        await self._publish(change, path, stored)
        return stored

    async def _publish(self, change: str, path: str, obj: dict[str, Any]) -> None:
        self.log.append((self.revision, change, path, obj))
        async with self.changed:
            self.changed.notify_all()

    async def _answer(self, request: Request) -> Response:
        if request.param("watch"):
            return Response(200, self._watch(request))
        path = request.path
        if request.method == "POST":
            return Response(201, await self._create(request))
        if request.method == "GET" and path not in self.objects:
            if path.rpartition("/")[2].islower() and path.endswith("s"):
                return Response(200, self._list(path))
            raise status.not_found("", "things", path)
        if path not in self.objects and not path.endswith("/status"):
            raise status.not_found("", "things", path)
        if request.method == "GET":
            return Response(200, self.objects[path])
        if request.method == "DELETE":
            return Response(200, await self._delete(path))
        return Response(200, await self._update(request))

    async def _create(self, request: Request) -> dict[str, Any]:
        obj: Any = request.body
        name = obj["metadata"].get("name") or f"{obj['metadata']['generateName']}{self.revision}"
        path = f"{request.path}/{name}"
        if path in self.objects:
            raise status.already_exists("", "things", name)
        return await self.put(path, {**obj, "metadata": {**obj["metadata"], "name": name}})

    async def _update(self, request: Request) -> dict[str, Any]:
        path = request.path.removesuffix("/status")
        obj: Any = request.body
        wanted = obj.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != self.objects[path]["metadata"]["resourceVersion"]:
            raise status.conflict("", "things", path)
        if request.method == "PATCH":
            old = self.objects[path]
            obj = {**old, **obj, "metadata": {**old["metadata"], **obj.get("metadata", {})}}
        return await self.put(path, obj)

    async def _delete(self, path: str) -> dict[str, Any]:
        obj = self.objects.pop(path)
        self.revision += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        await self._publish("DELETED", path, gone)
        return status.success()

    def _list(self, path: str) -> dict[str, Any]:
        items = [o for p, o in self.objects.items() if _within(p, path)]
        return {"metadata": {"resourceVersion": str(self.revision)}, "items": items}

    async def _watch(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        seen = int(request.param("resourceVersion"))
        if seen < self.oldest:
            yield {"type": "ERROR", "object": status.expired().status}
            return
        while True:
            await self.watch_gate.wait()
            for revision, change, path, obj in list(self.log):
                if revision > seen and _within(path, request.path):
                    seen = revision
                    yield {"type": change, "object": obj}
            async with self.changed:
                if not any(r > seen and _within(p, request.path) for r, _, p, _ in self.log):
                    await self.changed.wait()


def _within(path: str, collection: str) -> bool:
    """Whether an object's path is in a collection, with or without a namespace."""
    group, _, plural = collection.rpartition("/")
    return path.rpartition("/")[0] == collection or (path.startswith(f"{group}/namespaces/") and f"/{plural}/" in path)
