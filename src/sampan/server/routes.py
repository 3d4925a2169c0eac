"""Where a path leads that names nothing: to a Status below what the API itself serves, elsewhere to a plain page.

The reference server's parts each refuse in their own way what none of the others took; clients see which one it was.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from sampan.kinds.kind import Kind
from sampan.meta import status
from sampan.server.refusals import NoPage
from sampan.server.request_info import RequestInfo
from sampan.server.served import BUILT_IN, Served

_READ_ONLY = ("/version", "/openid/v1/jwks", "/.well-known/openid-configuration")
_ACROSS_NAMESPACES = ("list", "watch")


def astray(path: str, served: Served) -> status.ApiError:
    """The refusal for a path that leads nowhere."""
    is_ours = any(path == root or path.startswith(root + "/") for root in ("/api", *_READ_ONLY))
    return status.no_such_path() if is_ours or _is_built_in(path, served) else NoPage()


def is_read_only(path: str, served: Served) -> bool:
    """Whether a document that is there takes GET alone; the others do not look at the method."""
    path = path.rstrip("/")
    return path in (*_READ_ONLY, "/api", "/api/v1") or (path.count("/") == 3 and _is_built_in(path, served))


def _is_built_in(path: str, served: Served) -> bool:
    """Whether the path is one of a built-in group."""
    parts = path.split("/", 3)
    return (
        parts[1:2] == ["apis"] and len(parts) > 2 and any(k.group == parts[2] for k in served.of(BUILT_IN) if parts[2])
    )


def is_placed(kind: Kind, info: RequestInfo) -> bool:
    """Whether the path has a namespace where the kind needs one; all namespaces can be read at once.

    A Namespace's own path carries its name in the place of the namespace, so that rights in it apply.
    """
    if kind.namespaced:
        return bool(info.namespace) or (info.verb in _ACROSS_NAMESPACES and not info.subresource)
    return not info.namespace or (info.resource == "namespaces" and info.namespace == info.name)


def misplaced(kind: Kind | None, info: RequestInfo, served: Served) -> status.ApiError:
    """The refusal for a kind that is not there, or not at this path."""
    if kind is not None and not kind.custom and kind.namespaced and not info.name and not info.namespace:
        return status.method_not_allowed()
    return astray(info.path, served)


def check_method(kind: Kind, info: RequestInfo, method: str) -> None:
    """Raises ApiError 405 for a method that an object or a collection does not take.

    Custom resources are served by the verb alone: they take HEAD, and a POST wherever it goes.
    """
    if kind.custom:
        if info.verb in ("update", "patch") and not info.name:
            raise status.bad_request("name must be provided")
    elif method == "HEAD" or info.verb == "watch" or _is_amiss(info):
        raise status.method_not_allowed()


def _is_amiss(info: RequestInfo) -> bool:
    """Whether it creates at a name, or changes where there is none."""
    is_write = info.verb in ("create", "update", "patch")
    return is_write and not info.subresource and (info.verb == "create") is bool(info.name)
