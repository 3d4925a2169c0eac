"""The ConfigMap kube-root-ca.crt: the cluster's authority, in each namespace, repaired when changed.

https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Key, Plan, Update, plan
from sampan.control.view import View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.kind import Object
from sampan.meta import objects

NAME = "kube-root-ca.crt"
DESCRIBED = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def controller(ca: str) -> Controller:
    """The publisher of this authority (PEM)."""

    def reconcile(view: View, key: Key, now: float) -> Plan:
        namespace = view.get(NAMESPACE, key)
        if namespace is None or objects.is_deleting(namespace):
            return Plan()
        return _published(view.get(CONFIGMAP, (key[1], NAME)), key[1], ca)

    watches = (Watch(CONFIGMAP, _keys),)
    return Controller("root-ca-certificate-publisher", NAMESPACE, reconcile, watches=watches)


def _published(present: Object | None, namespace: str, ca: str) -> Plan:
    annotations = {DESCRIBED: DESCRIPTION}
    if present is None:
        metadata = {"name": NAME, "namespace": namespace, "annotations": annotations}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ca}}
        return plan([Create(CONFIGMAP, made, may_exist=True)])
    if present.get("data") == {"ca.crt": ca} and objects.annotations(present).get(DESCRIBED):
        return Plan()
    metadata = {**present["metadata"], "annotations": {**objects.annotations(present), **annotations}}
    return plan([Update(CONFIGMAP, {**present, "metadata": metadata, "data": {"ca.crt": ca}})])


def _keys(view: View, config_map: Object) -> Iterable[Key]:
    if objects.name(config_map) == NAME:
        yield "", objects.namespace(config_map)
