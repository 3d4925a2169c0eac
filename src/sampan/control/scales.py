"""Scales: how many replicas an object of any kind wants, as its scale subresource says.

The kind is known by what an owner reference says; discovery tells its plural, and whether it can be scaled.

https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/scale-v1/
"""

import logging
from functools import lru_cache

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control.plan import AskScale, AskTarget, Target
from sampan.kinds.kind import Kind, Object
from sampan.meta.status import ApiError, not_found

log = logging.getLogger(__name__)


async def read(client: Client, question: AskScale) -> Object | str | None:
    """The Scale, None when there is no such object, or an error's text."""
    try:
        return await _read(client, question)
    except (ApiError, TransportError) as error:
        return str(error)


async def target(client: Client, question: AskTarget) -> Target | str:
    """The Scale with what is needed to write it, or an error's text."""
    group, _, version = question.api_version.rpartition("/")
    namespace, name = question.key
    if "/" in group:
        return f"unexpected GroupVersion string: {question.api_version}"
    try:
        plural = await resource(client, question.api_version, question.kind)
        if plural is None:
            return f'no matches for kind "{question.kind}" in group "{group}"'
        kind = Kind(group=group, versions=(version,), name=question.kind, plural=plural)
        scale = await _found(client, kind.path(namespace, name, "scale"))
        if scale is None:
            return not_found(group, plural, name).message
    except (ApiError, TransportError) as error:
        return str(error)
    return Target(kind, scale)


async def resource(client: Client, api_version: str, kind: str) -> str | None:
    """The plural of a kind in a version; None when there is none. Raises ApiError, TransportError."""
    if api_version.count("/") > 1:  # it would be another path
        return None
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    listed = (await _found(client, root) or {}).get("resources") or ()
    named = (str(each.get("name") or "") for each in listed if each.get("kind") == kind)
    return next((name for name in named if name and "/" not in name), None)


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
    path = f"{root}/namespaces/{namespace}/{plural}/{name}"
    scale = await _found(client, f"{path}/scale")
    if scale is None or not question.with_deletion:
        return scale
    try:
        whole = await _found(client.metadata_only(), path)
    except ApiError as error:
        if error.code == 403:
            _tell_unread(f"{plural} in version {version}")
        return scale
    return {**scale, "metadata": {**scale["metadata"], **_deletion(whole)}} if whole is not None else None


@lru_cache(maxsize=256)
def _tell_unread(what: str) -> None:
    """Once for each kind."""
    log.warning("%s may not be read (get), only their scales: one that is being deleted counts until it is gone", what)


def _deletion(obj: Object) -> Object:
    """That it is being deleted, where it is."""
    return {name: obj["metadata"][name] for name in ("deletionTimestamp",) if name in obj["metadata"]}


async def _found(client: Client, path: str) -> Object | None:
    try:
        return await client.call("GET", path)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
