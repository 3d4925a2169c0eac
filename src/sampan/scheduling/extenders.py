"""Extenders: asks programs outside over HTTP what they say of a pod and its nodes.

https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/#kubescheduler-config-k8s-io-v1-Extender
"""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from sampan.client.kubeconfig import Access
from sampan.client.transport import Transport, TransportError
from sampan.scheduling.extending import Extender, ExtenderError, Question
from sampan.web.message import Request

OK = 200
LATE = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"

Door = Callable[[Extender], Transport]
FindNode = Callable[[str], Any]


class Extenders:
    """`door` leads to an extender; `node` gives a node as it was last seen."""

    def __init__(self, door: Door, node: FindNode) -> None:
        self.door, self._node = door, node
        self._transports: dict[Extender, Transport] = {}

    async def ask(self, question: Question) -> Any:
        """The answer, or the ExtenderError that came instead."""
        extender = question.extender
        url = f"{extender.url.rstrip('/')}/{question.verb}"
        try:
            request = Request("POST", f"/{question.verb}", headers=_HEADERS, body=orjson.dumps(self._body(question)))
            async with asyncio.timeout(extender.seconds):
                response = await self._transport(extender).request(request)
        except TimeoutError:
            return ExtenderError(f'Post "{url}": {LATE}')
        except (TransportError, OSError, ValueError) as error:
            return ExtenderError(f'Post "{url}": {error}')
        if response.status != OK:
            return ExtenderError(f"failed {question.verb} with extender at URL {url}, code {response.status}")
        try:
            return orjson.loads(response.body) if isinstance(response.body, bytes) else response.body
        except ValueError as error:
            return ExtenderError(str(error))

    async def close(self) -> None:
        """Closes every connection."""
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()

    def _transport(self, extender: Extender) -> Transport:
        if extender not in self._transports:
            self._transports[extender] = self.door(extender)
        return self._transports[extender]

    def _body(self, question: Question) -> Any:
        """With the nodes' objects where the extender does not know them itself."""
        if not question.is_full:
            return question.body
        found = [self._node(name) for name in question.nodes]
        return {**question.body, "Nodes": {"metadata": {}, "items": [node for node in found if node is not None]}}


_HEADERS = {"content-type": "application/json"}


def over_http(extender: Extender) -> Transport:
    """The way to an extender that listens somewhere. Raises OSError, ValueError for keys that cannot be read."""
    from sampan.client.http import HttpTransport

    return HttpTransport(access(extender))


def access(extender: Extender) -> Access:
    """How to reach it: with enableHTTPS but without an authority of its own, the server is believed."""
    tls = dict(extender.tls)
    authority = _pem(tls, "ca")
    return Access(
        server=extender.url,
        ca=authority,
        certificate=_pem(tls, "cert"),
        key=_pem(tls, "key"),
        insecure=bool(tls.get("insecure") or (tls.get("enableHTTPS") and not authority)),
        server_name=str(tls.get("serverName") or ""),
    )


def _pem(tls: dict[str, Any], what: str) -> str:
    if tls.get(f"{what}Data"):
        return base64.b64decode(tls[f"{what}Data"]).decode()
    return Path(tls[f"{what}File"]).read_text() if tls.get(f"{what}File") else ""
