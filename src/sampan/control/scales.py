"""Scales: how many replicas an object of any kind wants, as its scale subresource says.

The kind is known by what an owner reference says; discovery tells its plural, and whether it can be scaled.

https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/scale-v1/
"""

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control.plan import AskScale
from sampan.kinds.kind import Object
from sampan.meta.status import ApiError


async def read(client: Client, question: AskScale) -> Object | str | None:
    """The Scale, None when there is no such object, or an error's text."""
    try:
        return await _read(client, question)
    except (ApiError, TransportError) as error:
        return str(error)


async def _read(client: Client, question: AskScale) -> Object | str | None:
    version = question.api_version
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    resources = (await _found(client, root) or {}).get("resources") or ()
    names = [r["name"] for r in resources if r["kind"] == question.kind and "/" not in r["name"]]
    if not names:
        return f'no matches for kind "{question.kind}" in version "{version}"'
    plural = names[0]
    if not any(r["name"] == f"{plural}/scale" for r in resources):
        group = version.rpartition("/")[0]
        return f"{plural}{'.' if group else ''}{group} does not implement the scale subresource"
    namespace, name = question.key
    return await _found(client, f"{root}/namespaces/{namespace}/{plural}/{name}/scale")


async def _found(client: Client, path: str) -> Object | None:
    try:
        return await client.call("GET", path)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
