"""Where a webhook is called: a URL, or a Service in the cluster. For admission webhooks and conversion webhooks alike.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook
"""

from urllib.parse import SplitResult, urlsplit

from sampan.kinds.kind import Object
from sampan.meta import names, validation
from sampan.meta.status import Cause, invalid_value, required

DEFAULT_PORT = 443
_FORM = "; desired format: https://host[/path]"

Causes = list[Cause]


def default(config: Object) -> None:
    """A Service is called at port 443."""
    service = config.get("service")
    if service is not None and service.get("port") is None:
        service["port"] = DEFAULT_PORT


def causes(config: Object, field: str) -> Causes:
    """Exactly one of url and service, well formed."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(field, "exactly one of url or service is required")]
    if url is not None:
        return url_causes(url, f"{field}.url")
    return service_causes(service or {}, f"{field}.service")


def url_causes(url: str, field: str) -> Causes:
    """https, a host, and neither credentials nor query nor fragment."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [required(field, f"url must be a valid URL: {error}{_FORM}")]
    found: Causes = []
    if parts.scheme != "https":
        found.append(invalid_value(field, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not _host(parts):
        found.append(invalid_value(field, "", f"host must be provided{_FORM}"))
    if "@" in parts.netloc:
        user = parts.netloc.rpartition("@")[0]
        found.append(invalid_value(field, user, "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid_value(field, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid_value(field, parts.query, "query parameters are not permitted in the URL"))
    return found


def service_causes(service: Object, field: str) -> Causes:
    """A name, a namespace, a port, and a path of plain segments."""
    found: Causes = []
    if not service.get("name"):
        found.append(required(f"{field}.name", "service name is required"))
    if not service.get("namespace"):
        found.append(required(f"{field}.namespace", "service namespace is required"))
    port = service.get("port") or 0
    if errors := names.port_number(port):
        found.append(invalid_value(f"{field}.port", port, "port is not valid: " + ", ".join(errors)))
    path = service.get("path")
    return found if path in (None, "", "/") else found + _path_causes(str(path), f"{field}.path")


def _path_causes(path: str, field: str) -> Causes:
    if path == "//":
        return [invalid_value(field, path, "segment[0] may not be empty")]
    found: Causes = [] if path.startswith("/") else [invalid_value(field, path, "must start with a '/'")]
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            found.append(invalid_value(field, path, f"segment[{index}] may not be empty"))
            continue
        errors = [f"segment[{index}]: {error}" for error in names.dns1123_subdomain(step)]
        found += validation.each(field, path, errors)
    return found


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
