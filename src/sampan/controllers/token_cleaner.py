"""The token cleaner: a bootstrap token whose time is over is deleted.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format
"""

import base64
import binascii

from sampan.control.controller import Controller
from sampan.control.plan import Delete, Key, Plan, plan
from sampan.control.view import View
from sampan.kinds.core.secret import SECRET
from sampan.meta import objects, timestamps

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Deletes it when its expiration is past; one that cannot be read counts as past."""
    secret = view.get(SECRET, key)
    if key[0] != NAMESPACE or secret is None or secret.get("type") != TYPE or objects.is_deleting(secret):
        return Plan()
    ends = _expiration(secret.get("data") or {})
    if ends is None:
        return Plan()
    if ends > now:
        return plan(again=ends - now)
    return plan([Delete(SECRET, key, objects.uid(secret), secret["metadata"]["resourceVersion"])])


def _expiration(data: dict[str, str]) -> float | None:
    """Unix seconds, None for never."""
    try:
        text = base64.b64decode(data.get("expiration", "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return 0.0
    if not text:
        return None
    return timestamps.parse(text) if timestamps.is_valid(text) else 0.0


CONTROLLER = Controller("token-cleaner", SECRET, reconcile)
