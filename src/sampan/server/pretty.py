"""Indented answers, for people: with ?pretty=true, and for the tools and browsers that people ask with.

https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/#pretty
"""

import orjson

from sampan.server import aside
from sampan.web.message import Request, Response

_TOOLS = ("curl", "Wget", "Mozilla/5.0")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_AS_THEY_ARE = ("/openapi/", "/openid/", "/.well-known/")


def is_wanted(request: Request) -> bool:
    """Whether whoever asks will read it."""
    for key, value in request.query:
        if key == "pretty" and value:
            return value in _TRUE
    return request.headers.get("user-agent", "").startswith(_TOOLS)


async def indent(request: Request, response: Response) -> None:
    """Indents a JSON object of the API; streams and documents of other kinds stay as they are."""
    body = response.body
    if not isinstance(body, bytes) or not body or request.path.startswith(_AS_THEY_ARE):
        return
    if response.content_type.startswith("application/json"):
        response.body = await aside.run(_indented, body, size=len(body))


def _indented(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
