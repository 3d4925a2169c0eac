"""ComponentStatuses: how the parts of the control plane are, asked when somebody reads.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/
"""

from collections.abc import Awaitable, Callable
from typing import Any

from sampan.kinds.core import component_status
from sampan.meta import status
from sampan.meta.wire import table
from sampan.server import codec, reads
from sampan.server.cache import ROOT, Item
from sampan.server.call import Call
from sampan.store.protocol import Store, StoreError
from sampan.web.message import Response

Check = Callable[[], Awaitable[str]]
Tree = dict[str, Any]


class ComponentStatuses:
    """GET of componentstatuses and of one of them.

    Each check returns "" when its component is well, else what is wrong. Who runs a component adds its check;
    until then the component counts as one that does not run.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checks: dict[str, Check] = {
            "scheduler": _not_running,
            "controller-manager": _not_running,
            "etcd-0": self._check_store,
        }

    def add(self, name: str, check: Check) -> None:
        """How to ask a component."""
        self._checks[name] = check

    async def _check_store(self) -> str:
        try:
            await self._store.list(ROOT, limit=1)
        except StoreError as error:
            return str(error)
        return ""

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 404 and 400."""
        if call.info.verb == "get":
            check = self._checks.get(call.name)
            if check is None:
                raise call.not_found()
            return codec.respond_tree(call, component_status.made(call.name, await check()))
        match = reads.selection(call)
        trees = [component_status.made(name, await check()) for name, check in self._checks.items()]
        return _listed(call, [tree for tree in trees if match is None or match(Item.of(tree))])


async def _not_running() -> str:
    return "it does not run in this process"


def _listed(call: Call, trees: list[Tree]) -> Response:
    form = codec.negotiate(call.request.headers.get("accept", ""), call.kind)
    headers = codec.warning_headers(call.warnings)
    if form.shape == "Table":
        shown = table.table(call.kind.columns, trees, call.now, codec.table_options(call))
        shown = table.in_version(shown, form.shape_version)
        return Response(200, codec.encode(shown, form), headers, form.content_type)
    if form.shape:
        raise status.not_acceptable(["application/json"])
    made = {"kind": call.kind.list_kind, "apiVersion": "v1", "metadata": {}, "items": list(map(reads.untyped, trees))}
    return Response(200, codec.encode(made, form), headers, form.content_type)
