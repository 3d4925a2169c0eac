"""A pod runs as a service account: `default` unless named; its token is mounted unless declined.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller
"""

from typing import Any

from sampan.kinds.core.pod import POD
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE,), kinds=(POD,))
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
DEFAULT_WAIT_SECONDS = 2.0  # a new namespace gets its default account from a controller, a moment later
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

Tree = dict[str, Any]


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 when the account does not exist."""
    pod = attributes.obj
    if pod is None or attributes.subresource or MIRROR_ANNOTATION in objects.annotations(pod):
        return
    spec = pod["spec"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = attributes.call.namespace
    patience = DEFAULT_WAIT_SECONDS if name == "default" else 0.0
    account = await lookup.wait_for(SERVICEACCOUNT, namespace, name, patience)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden("", POD.plural, attributes.called, why)
    automount = spec.get("automountServiceAccountToken")
    if automount is None:
        automount = account.tree.get("automountServiceAccountToken")
    if automount is not False:
        _mount_token(pod, attributes.birth["uid"])
    if not spec.get("imagePullSecrets") and account.tree.get("imagePullSecrets"):
        spec["imagePullSecrets"] = objects.copy(account.tree["imagePullSecrets"])


def _mount_token(pod: Tree, uid: str) -> None:
    """Adds the projected volume, and a mount of it to each container that has nothing at that path."""
    spec = pod["spec"]
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    lacking = [c for c in containers if all(m.get("mountPath") != MOUNT_PATH for m in c.get("volumeMounts", ()))]
    if not lacking:
        return
    volume = VOLUME_PREFIX + uid.replace("-", "")[-5:]
    volumes = spec.setdefault("volumes", [])
    if all(one.get("name") != volume for one in volumes):  # a webhook may have added a container since
        volumes.append({"name": volume, "projected": _projection()})
    for container in lacking:
        mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
        container.setdefault("volumeMounts", []).append(mount)


def _projection() -> Tree:
    ca = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": ca},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }
