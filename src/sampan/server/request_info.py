"""What a request asks for: verb, resource and name, read from its method and path.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from dataclasses import dataclass

from sampan.web.message import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_FALSE = ("false", "0")
_ODD = frozenset(("", ".", "..", "proxy"))


@dataclass(slots=True)  # not frozen, which would make it three times as slow to make
class RequestInfo:
    """Never changed once it is made. `is_resource` False leaves all but `verb` (the method, lower case) and `path` empty;
    a resource's `verb` is empty where the method means nothing to it.

    `below` is the path behind a subresource that has one of its own, such as a proxy. `fields` is the
    field selector of a list or watch, as given.
    """

    path: str
    verb: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    below: str = ""
    fields: str = ""


def is_true(value: str) -> bool:
    """A boolean query parameter that is present: whatever is not false or 0 means yes."""
    return value.lower() not in _FALSE


def parse(request: Request) -> RequestInfo:
    """Never fails: a path that names no resource is a non-resource request."""
    parts = request.path[1:].split("/")
    if not _ODD.isdisjoint(parts):
        if "proxy" in parts and ".." not in parts:
            proxied = _proxied(_plain(request), parts)
            if proxied is not None:
                return proxied
        if len(parts) > 1 and not parts[-1]:
            parts.pop()  # one slash at the end says nothing
        if "" in parts or "." in parts or ".." in parts:
            return _plain(request)
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return _plain(request)
    if rest[0] == "watch" and len(rest) > 1:
        watched = _watched(request, group, version, rest[1:])
        if watched is not None:
            return watched
    namespace, rest = _placed(rest)
    if len(rest) > 3:
        return _with_path(_plain(request), group, version, namespace, rest)
    return _resource(request, (group, version, namespace), rest)


def is_proxied(request: Request) -> bool:
    """Whether it is for somebody behind this server, so that its body is none of ours."""
    return "/proxy" in request.path and parse(request).subresource == "proxy"


def _plain(request: Request) -> RequestInfo:
    return RequestInfo(request.path, request.method.lower())


def _placed(rest: list[str]) -> tuple[str, list[str]]:
    """The namespace, and what is behind it; a Namespace's own path keeps both."""
    if rest[0] != "namespaces" or len(rest) == 1:
        return "", rest
    if len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        return rest[1], rest[2:]
    return rest[1], rest


def _watched(request: Request, group: str, version: str, rest: list[str]) -> RequestInfo | None:
    """watch/[namespaces/NAMESPACE/]RESOURCE[/NAME], the older way to ask for a watch; None for anything below an object."""
    namespace, rest = _placed(rest)
    if len(rest) > 2:
        return None
    fields = request.param("fieldSelector")
    name = rest[1] if len(rest) == 2 else _named_by_selector(fields)
    return RequestInfo(request.path, "watch", True, group, version, rest[0], namespace, name, fields=fields)


def _proxied(plain: RequestInfo, parts: list[str]) -> RequestInfo | None:
    """/api/VERSION/[namespaces/NAMESPACE/]RESOURCE/NAME/proxy[/PATH], where anything may be behind `proxy`.

    `below` is "" or begins with a slash, and ends with one when the path does.
    """
    if parts[0] != "api" or len(parts) < 5:
        return None
    start = 4 if parts[2] == "namespaces" else 2
    head, behind = parts[: start + 3], parts[start + 3 :]
    if len(head) < start + 3 or head[-1] != "proxy" or "" in head or "." in head:
        return None
    below = "/" + "/".join(behind) if behind else ""
    verb = _VERBS.get(plain.verb.upper(), "")
    namespace = parts[3] if start == 4 else ""
    return RequestInfo(plain.path, verb, True, "", parts[1], head[start], namespace, head[start + 1], "proxy", below)


def _with_path(plain: RequestInfo, group: str, version: str, namespace: str, rest: list[str]) -> RequestInfo:
    """Proxy-like subresources carry a path of their own behind the name."""
    return RequestInfo(
        plain.path,
        _VERBS.get(plain.verb.upper(), ""),
        True,
        group,
        version,
        rest[0],
        namespace,
        rest[1],
        rest[2],
        "/".join(rest[3:]),
    )


def _resource(request: Request, where: tuple[str, str, str], rest: list[str]) -> RequestInfo:
    group, version, namespace = where
    resource, name, subresource = [*rest, "", ""][:3]
    verb = _VERBS.get(request.method, "")
    fields = ""
    if verb == "get" and not subresource:
        verb = _read_verb(request, name)
        if verb in {"watch", "list"}:
            fields = request.param("fieldSelector")
            name = name or _named_by_selector(fields)
    elif verb == "delete" and not name:
        verb, fields = "deletecollection", request.param("fieldSelector")
    return RequestInfo(request.path, verb, True, group, version, resource, namespace, name, subresource, fields=fields)


def _read_verb(request: Request, name: str) -> str:
    if name:
        return "get"  # ?watch= says something about collections only
    for key, value in request.query:
        if key == "watch":
            return "watch" if is_true(value) else "list"
    return "list"


def _named_by_selector(selector: str) -> str:
    """A list or watch of one object by name is authorized as that object."""
    if selector.startswith("metadata.name=") and "," not in selector:
        return selector.removeprefix("metadata.name=").removeprefix("=")
    return ""
