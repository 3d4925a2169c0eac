"""Reading metrics: what the resource, custom and external metrics APIs say, whoever serves them.

https://github.com/kubernetes/metrics
"""

from urllib.parse import quote

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control import scales
from sampan.control.plan import CUSTOM_METRICS, EXTERNAL_METRICS, RESOURCE_METRICS, AskMetrics
from sampan.kinds.kind import Object
from sampan.meta.status import ApiError

_CUSTOM_VERSIONS = ("v1beta2", "v1beta1")


class _Unknown(Exception):
    """Nobody serves what would be asked; the text is for people."""


async def read(client: Client, question: AskMetrics) -> tuple[Object, ...] | str:
    """The items, or an error's text."""
    try:
        path = await _path(client, question)
        found = await client.call("GET", path, _query(question))
    except ApiError as error:
        missing = error.code == 404 and not (error.status.get("details") or {}).get("name")
        return f"the server could not find the requested resource ({_what(question)})" if missing else str(error)
    except (_Unknown, TransportError) as error:
        return str(error)
    return tuple(found.get("items") or ())


def _what(question: AskMetrics) -> str:
    """How clients name what they asked for."""
    resource = question.metric if question.api == EXTERNAL_METRICS else "pods"
    return f"get {resource}.{question.api}"


def _query(question: AskMetrics) -> tuple[tuple[str, str], ...]:
    pairs = (("labelSelector", question.selector), ("metricLabelSelector", question.metric_selector))
    return tuple(pair for pair in pairs if pair[1])


async def _path(client: Client, question: AskMetrics) -> str:
    where = f"namespaces/{question.namespace}"
    if question.api == RESOURCE_METRICS:
        return f"/apis/{RESOURCE_METRICS}/v1beta1/{where}/pods"
    metric = quote(question.metric, safe="")
    if question.api == EXTERNAL_METRICS:
        return f"/apis/{EXTERNAL_METRICS}/v1beta1/{where}/{metric}"
    root = f"/apis/{CUSTOM_METRICS}/{await _custom_version(client)}/{where}"
    if question.about is None:
        return f"{root}/pods/*/{metric}"
    api_version, kind, name = question.about
    if (api_version, kind) == ("v1", "Namespace"):
        return f"{root}/metrics/{metric}"
    plural = await scales.resource(client, api_version, kind)
    if plural is None:
        raise _Unknown(
            f'unable to map kind {kind} to resource: no matches for kind "{kind}" in version "{api_version}"'
        )
    group = api_version.rpartition("/")[0]
    return f"{root}/{plural}{'.' if group else ''}{group}/{quote(name, safe='')}/{metric}"


async def _custom_version(client: Client) -> str:
    """The version that the provider prefers, of those that are known here."""
    try:
        group = await client.call("GET", f"/apis/{CUSTOM_METRICS}")
    except ApiError as error:
        if error.code == 404:
            raise _Unknown(f"no custom metrics API ({CUSTOM_METRICS}) registered") from error
        raise
    preferred = (group.get("preferredVersion") or {}).get("version")
    served = [preferred, *(entry["version"] for entry in group.get("versions") or ())]
    known = [version for version in served if version in _CUSTOM_VERSIONS]
    if not known:
        raise _Unknown("no known available metric versions found")
    return str(known[0])
