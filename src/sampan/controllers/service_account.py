"""The service account `default`: in each namespace that is not on its way out.

https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Key, Plan, plan
from sampan.control.view import View
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Object
from sampan.meta import objects

NAME = "default"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Creates it where it is missing."""
    namespace = view.get(NAMESPACE, key)
    if namespace is None or objects.is_deleting(namespace) or view.get(SERVICEACCOUNT, (key[1], NAME)):
        return Plan()
    metadata = {"name": NAME, "namespace": key[1]}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    return plan([Create(SERVICEACCOUNT, account, may_exist=True)])


def _keys(view: View, account: Object) -> Iterable[Key]:
    if objects.name(account) == NAME:
        yield "", objects.namespace(account)


CONTROLLER = Controller(
    name="serviceaccount-controller", parent=NAMESPACE, reconcile=reconcile, watches=(Watch(SERVICEACCOUNT, _keys),)
)
