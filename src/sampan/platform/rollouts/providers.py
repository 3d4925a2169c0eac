"""Providers: what is asked for one measurement of a metric, and what the answer means.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sampan.control.plan import AskHttp, HttpAnswer
from sampan.kinds.apiextensions import json_path
from sampan.kinds.kind import Object
from sampan.platform.rollouts import gateway_metrics

WEB_SECONDS, PROMETHEUS_SECONDS = 10.0, 30.0
MAX_SECONDS = 30.0
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FIELDS = {
    "prometheus": {"address", "query", "timeout", "insecure", "headers"},
    "web": {"method", "url", "headers", "body", "jsonBody", "timeoutSeconds", "jsonPath", "insecure"},
    "job": {"metadata", "spec"},
    "plugin": {gateway_metrics.PLUGIN},
}


class ProviderError(Exception):
    """There is no measurement; the text is for people."""


def name(metric: Object) -> str:
    """That of the metric's provider; "" when it has none, or several."""
    given = metric.get("provider") or {}
    return next(iter(given)) if len(given) == 1 else ""


def wrong(metric: Object) -> str:
    """FIELD: why the provider can't be had; "" when it can."""
    found = name(metric)
    if not found:
        return "provider: exactly one provider must be given"
    if found not in _FIELDS:
        return f"provider.{found}: is not supported; there are: {', '.join(sorted(_FIELDS))}"
    given = metric["provider"][found]
    if not isinstance(given, dict):
        return f"provider.{found}: must be an object"
    if unknown := sorted(set(given) - _FIELDS[found]):
        return f"provider.{found}.{unknown[0]}: is not supported"
    text = _wrong_plugin(given) if found == "plugin" else _wrong_job(given) if found == "job" else _wrong_http(given)
    return f"provider.{found}{text}" if text else ""


def _wrong_plugin(given: Object) -> str:
    plugin = given.get(gateway_metrics.PLUGIN)
    if not isinstance(plugin, dict):
        return f"[{gateway_metrics.PLUGIN}]: must be an object"
    text = gateway_metrics.wrong(plugin)
    return f"[{gateway_metrics.PLUGIN}].{text}" if text else ""


def _wrong_job(given: Object) -> str:
    metadata = given.get("metadata") or {}
    parts = {"metadata": metadata, "spec": given.get("spec") or {}}
    if isinstance(metadata, dict):
        parts |= {f"metadata.{field}": metadata.get(field) or {} for field in ("labels", "annotations")}
    return next((f".{field}: must be an object" for field, part in parts.items() if not isinstance(part, dict)), "")


def _wrong_http(given: Object) -> str:
    for field in ("timeout", "timeoutSeconds"):
        try:
            is_time = float(given.get(field) or 0) >= 0
        except (ValueError, TypeError, OverflowError):
            is_time = False
        if not is_time:
            return f".{field}: must be a number of seconds"
    if not _TOKEN.fullmatch(str(given.get("method") or "GET")):
        return ".method: must be a method of HTTP"
    headers = given.get("headers") or []
    if not isinstance(headers, list):
        return ".headers: must be a list"
    found = ((place, _wrong_header(header)) for place, header in enumerate(headers))
    return next((f".headers[{place}]{text}" for place, text in found if text), "")


def _wrong_header(header: Any) -> str:
    if not isinstance(header, dict):
        return ": must be an object"
    if not _TOKEN.fullmatch(str(header.get("key") or "")):
        return ".key: must be the name of a header"
    return ".value: must be one line" if _CONTROL.search(str(header.get("value") or "")) else ""


def question(metric: Object) -> AskHttp:
    """What a provider of HTTP is asked for."""
    found = name(metric)
    given = metric["provider"][found]
    return _of_prometheus(given) if found == "prometheus" else _of_web(given)


def _of_prometheus(given: Object) -> AskHttp:
    query = quote(str(given.get("query") or "").strip(), safe="")
    seconds = _seconds(given.get("timeout"), PROMETHEUS_SECONDS)
    url = f"{str(given.get('address') or '').rstrip('/')}/api/v1/query?query={query}"
    return AskHttp(
        "GET", url, _headers(given), timeout_seconds=seconds, insecure=bool(given.get("insecure")), is_users=True
    )


def _of_web(given: Object) -> AskHttp:
    headers, body = _headers(given), str(given.get("body") or "")
    if given.get("jsonBody") is not None:
        body = json.dumps(given["jsonBody"], separators=(",", ":"))
        headers = (*headers, ("content-type", "application/json"))
    seconds = _seconds(given.get("timeoutSeconds"), WEB_SECONDS)
    insecure = bool(given.get("insecure"))
    url = str(given.get("url") or "")
    return AskHttp(str(given.get("method") or "GET"), url, headers, body, seconds, insecure, is_users=True)


def _seconds(given: Any, otherwise: float) -> float:
    """Nobody keeps others from being measured for longer than MAX_SECONDS."""
    return min(float(given or 0) or otherwise, MAX_SECONDS)


def _headers(given: Object) -> tuple[tuple[str, str], ...]:
    return tuple((str(header["key"]).lower(), str(header.get("value") or "")) for header in given.get("headers") or ())


def read(metric: Object, answer: HttpAnswer | str) -> tuple[Any, str]:
    """(what `result` is in conditions, how it is shown). Raises ProviderError."""
    if isinstance(answer, str):
        raise ProviderError(answer)
    if name(metric) == "prometheus":
        return _prometheus(answer)
    if not 200 <= answer.code < 300:
        raise ProviderError(f"received non 2xx response code: {answer.code}")
    return _web(metric["provider"]["web"], answer.text)


def _prometheus(answer: HttpAnswer) -> tuple[Any, str]:
    try:
        tree = json.loads(answer.text)
        if tree.get("status") != "success":
            raise ProviderError(f"{tree.get('errorType')}: {tree.get('error')}")
        data = tree["data"]
        if data["resultType"] == "scalar":
            value = float(data["result"][1])
            return value, shown(value)
        if data["resultType"] == "vector":
            values = [float(sample["value"][1]) for sample in data["result"]]
            return values, vector(values)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if not 200 <= answer.code < 300:
            raise ProviderError(f"server_error: server error: {answer.code}") from error
        raise ProviderError(f"bad_response: {error}") from error
    raise ProviderError("Prometheus metric type not supported")


def _web(given: Object, text: str) -> tuple[Any, str]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        if given.get("jsonPath"):
            raise ProviderError(f"Could not parse JSON body: {error}") from error
        return text, text
    path = str(given.get("jsonPath") or "")
    if not path:
        return tree, _compact(tree)
    found = reached(path, tree)
    if not found:
        raise ProviderError(f"Could not find JSONPath in body: {path} is not found")
    value = found[0] if len(found) == 1 else list(found)
    return value, value if isinstance(value, str) else _compact(value)


def reached(path: str, tree: Any) -> Sequence[Any]:
    """What a path in the braces of kubectl's templates leads to. Raises ProviderError."""
    bare = path.strip().removeprefix("{").removesuffix("}").strip().removeprefix("$")
    try:
        return list(json_path.reach(json_path.parse(bare or "."), tree))
    except json_path.PathError as error:
        raise ProviderError(f"Could not find JSONPath in body: {error}") from error


def vector(values: Sequence[float]) -> str:
    """Several as they are written into a measurement."""
    return f"[{','.join(map(shown, values))}]"


def shown(value: float) -> str:
    """A number as it is written into a measurement."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _compact(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"))
