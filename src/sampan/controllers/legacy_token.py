"""Legacy tokens: a Secret of type kubernetes.io/service-account-token holds its account's token, and goes with it.

Whoever wants a token without an end makes such a Secret; the annotation names the account. The Secret of an
account that is gone, or is another one of the same name, is deleted.

https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets
"""

import base64
from collections.abc import Callable, Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Ask, Delete, Key, Plan, Update, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Object
from sampan.meta import objects

TYPE = "kubernetes.io/service-account-token"
NAME = "kubernetes.io/service-account.name"
UID = "kubernetes.io/service-account.uid"

Sign = Callable[[Object, Object], str]


def controller(ca: str, sign: Sign) -> Controller:
    """Fills Secrets with this authority (PEM) and with what `sign(account, secret)` gives."""

    def reconcile(view: View, key: Key, now: float) -> Plan:
        secret = view.get(SECRET, key)
        if secret is None or secret.get("type") != TYPE or objects.is_deleting(secret):
            return Plan()
        question = Ask(SERVICEACCOUNT, (key[0], objects.annotations(secret).get(NAME, "")))
        account = view.get(SERVICEACCOUNT, question.key)
        if account is None or _is_of_another(secret, account):  # the cache may be behind
            account = view.answer(question)
            if account is UNANSWERED:
                return Plan(ask=(question,))
        if account is None or _is_of_another(secret, account):
            return plan([Delete(SECRET, key, objects.uid(secret), secret["metadata"]["resourceVersion"])])
        return _filled(secret, account, ca, sign)

    watches = (Watch(SERVICEACCOUNT, _secrets),)
    return Controller("token-controller", SECRET, reconcile, watches=watches)


def _is_of_another(secret: Object, account: Object) -> bool:
    return objects.annotations(secret).get(UID, "") not in ("", objects.uid(account))


def _filled(secret: Object, account: Object, ca: str, sign: Sign) -> Plan:
    data = dict(secret.get("data") or {})
    wanted = {"ca.crt": _encoded(ca), "namespace": _encoded(objects.namespace(secret))}
    annotations = {**objects.annotations(secret), UID: objects.uid(account)}
    if data.get("token") and wanted.items() <= data.items() and annotations == objects.annotations(secret):
        return Plan()
    if not data.get("token"):
        wanted["token"] = _encoded(sign(account, secret))
    metadata = {**secret["metadata"], "annotations": annotations}
    return plan([Update(SECRET, {**secret, "metadata": metadata, "data": {**data, **wanted}})])


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _secrets(view: View, account: Object) -> Iterable[Key]:
    for secret in view.list(SECRET, objects.namespace(account)):
        if secret.get("type") == TYPE and objects.annotations(secret).get(NAME) == objects.name(account):
            yield objects.key(secret)
