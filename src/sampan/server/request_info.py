"""What a request asks for: verb, resource and name, read from its method and path.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from dataclasses import dataclass

from sampan.web.message import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_TRUE = ("true", "1", "")


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """`is_resource` False leaves all but `verb` (the method, lower case) and `path` empty.

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
    """A boolean query parameter that is present: true, 1 and empty mean yes."""
    return value.lower() in _TRUE


def parse(request: Request) -> RequestInfo:
    """Never fails: a path that names no resource is a non-resource request."""
    path = request.path
    parts = path[1:].split("/")
    plain = RequestInfo(path, request.method.lower())
    if "" in parts or "." in parts or ".." in parts:
        return plain
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
            rest = rest[2:]
    if len(rest) > 3:
        return plain if rest[-1] == "" else _with_path(plain, group, version, namespace, rest)
    return _resource(request, (group, version, namespace), rest)


def _with_path(plain: RequestInfo, group: str, version: str, namespace: str, rest: list[str]) -> RequestInfo:
    """Proxy-like subresources carry a path of their own behind the name."""
    return RequestInfo(
        plain.path,
        _VERBS.get(plain.verb.upper(), plain.verb),
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
    verb = _VERBS.get(request.method, request.method.lower())
    fields = ""
    if verb == "get" and not subresource:
        verb = _read_verb(request, name)
        if verb in {"watch", "list"}:
            fields = request.param("fieldSelector")
            name = name or _named_by_selector(fields)
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return RequestInfo(request.path, verb, True, group, version, resource, namespace, name, subresource, fields=fields)


def _read_verb(request: Request, name: str) -> str:
    for key, value in request.query:
        if key == "watch":
            return "watch" if is_true(value) else ("get" if name else "list")
    return "get" if name else "list"


def _named_by_selector(selector: str) -> str:
    """A list or watch of one object by name is authorized as that object."""
    if selector.startswith("metadata.name=") and "," not in selector:
        return selector.removeprefix("metadata.name=").removeprefix("=")
    return ""
