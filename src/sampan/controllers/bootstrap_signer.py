"""The bootstrap signer: signs the ConfigMap cluster-info with each token that is for that.

Who joins knows only a token: by the signature he sees that what he was told about the cluster, its authority above
all, comes from somebody who knows it as well.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#configmap-signing
"""

import base64
import binascii
import re
from collections.abc import Iterable

from sampan.control import detached
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Key, Plan, Update, plan
from sampan.control.view import View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps

KEY: Key = ("kube-public", "cluster-info")
CONTENT = "kubeconfig"
PREFIX = "jws-kubeconfig-"
NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
_NAME = "bootstrap-token-"
_ID, _SECRET = re.compile("[a-z0-9]{6}"), re.compile("[a-z0-9]{16}")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """The signatures are those of the tokens in force, and no others."""
    info = view.get(CONFIGMAP, key)
    if key != KEY or info is None or objects.is_deleting(info):
        return Plan()
    data = info.get("data") or {}
    content = data.get(CONTENT)
    tokens = {id: secret for id, secret, _ in _tokens(view, now)} if content is not None else {}
    wanted = {name: value for name, value in data.items() if not name.startswith(PREFIX)}
    wanted |= {f"{PREFIX}{id}": detached.signature(content or "", id, secret) for id, secret in tokens.items()}
    ends = [end for _, _, end in _tokens(view, now) if end is not None]
    again = max(min(ends) - now, 0.0) if ends else None
    if wanted == data:
        return Plan(again=again) if again is not None else Plan()
    return plan([Update(CONFIGMAP, {**info, "data": wanted})], again=again)


def _tokens(view: View, now: float) -> list[tuple[str, str, float | None]]:
    """Id, secret and end of each that is in force and is for signing."""
    found = []
    for secret in view.indexed(SECRET, "type", TYPE):
        data = {name: _decoded(value) for name, value in (secret.get("data") or {}).items()}
        id, text, end = data.get("token-id", ""), data.get("token-secret", ""), data.get("expiration", "")
        is_ours = objects.key(secret) == (NAMESPACE, f"{_NAME}{id}") and not objects.is_deleting(secret)
        if not is_ours or data.get("usage-bootstrap-signing") != "true":
            continue
        if _ID.fullmatch(id) is None or _SECRET.fullmatch(text) is None or (end and not timestamps.is_valid(end)):
            continue
        ends = timestamps.parse(end) if end else None
        if ends is None or ends > now:
            found.append((id, text, ends))
    return found


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_info(old: Object | None, new: Object | None) -> bool:
    return objects.key(new or old or {}) == KEY


def _is_token(old: Object | None, new: Object | None) -> bool:
    return any(secret is not None and secret.get("type") == TYPE for secret in (old, new))


def _info(view: View, secret: Object) -> Iterable[Key]:
    if objects.namespace(secret) == NAMESPACE:
        yield KEY


CONTROLLER = Controller(
    "bootstrap-signer-controller",
    CONFIGMAP,
    reconcile,
    watches=(Watch(SECRET, _info, _is_token),),
    indexes=(Index(SECRET, "type"),),
    matters=_is_info,
)
