"""Secret: data by key for few eyes, with a type that says which keys must be there.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/
"""

from collections.abc import Mapping, Sequence

import orjson

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import keyed_data
from sampan.kinds.parts.cells import AGE
from sampan.meta import fields, objects
from sampan.meta.status import Cause, invalid_value, required
from sampan.meta.wire import json


def count(obj: Object, now: float) -> int:
    """How many keys there are."""
    return len(obj.get("data") or ())


SECRET = Kind(
    group="",
    versions=("v1",),
    name="Secret",
    plural="secrets",
    schema="io.k8s.api.core.v1.Secret",
    columns=(Column("Type", "type"), Column("Data", count), AGE),
    selectable={"type": "type"},
)

TOKEN = "kubernetes.io/service-account-token"
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
_JSON_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
_KEYS = {"kubernetes.io/tls": ("tls.crt", "tls.key")}
_SSH, _SSH_KEY = "kubernetes.io/ssh-auth", "ssh-privatekey"


def default(obj: Object) -> None:
    """Type Opaque; stringData goes into data."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    texts = obj.pop("stringData", None)
    if texts:
        data = dict(obj.get("data") or {})
        data.update((key, keyed_data.encode(text)) for key, text in texts.items())
        obj["data"] = data


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """An update without a type keeps the old one, as upstream."""
    if old is not None and not new.get("type"):
        new["type"] = old.get("type")


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Keys are file names, values base64 within 1 MiB, and those the type names are there."""
    data = new.get("data") or {}
    causes = keyed_data.key_causes(data, "data")
    causes += keyed_data.size_causes(keyed_data.base64_bytes(data), "data")
    causes += _type_causes(new, data)
    if old is not None:
        if old.get("type") != new.get("type"):
            causes.append(invalid_value("type", new.get("type"), "field is immutable"))
        causes += keyed_data.immutable_causes(new, old, ("data",))
    return causes


def _type_causes(new: Object, data: Mapping[str, str]) -> list[Cause]:
    kind = new.get("type") or ""
    if kind == TOKEN and not objects.annotations(new).get(ACCOUNT_ANNOTATION):
        return [required(f"metadata.annotations[{ACCOUNT_ANNOTATION}]")]
    if kind in _JSON_KEYS:
        return _json_causes(_JSON_KEYS[kind], data)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        return [required("data[username]"), required("data[password]")]
    if kind == _SSH and not data.get(_SSH_KEY):
        return [required(f"data[{_SSH_KEY}]")]
    return [required(f"data[{key}]") for key in _KEYS.get(kind, ()) if key not in data]


def _json_causes(key: str, data: Mapping[str, str]) -> list[Cause]:
    if key not in data:
        return [required(f"data[{key}]")]
    why = _no_json_object((keyed_data.decode(data[key]) or b"").decode(errors="replace").encode())
    return [invalid_value(f"data[{key}]", "<secret contents redacted>", why)] if why else []


def _no_json_object(text: bytes) -> str:
    """Why this is not the JSON of an object, or of null; empty if it is."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return json.explain(text, error)
    if value is None or isinstance(value, dict):
        return ""
    return f"json: cannot unmarshal {fields.go_value(value)} into Go value of type map[string]interface {{}}"
