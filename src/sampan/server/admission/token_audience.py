"""A node agent gets tokens for an audience that a volume of the pod names, or that it has an explicit right to.

So a node that was taken over gets no tokens for third parties that none of its pods talks to.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#node-audience-restriction-for-service-account-tokens
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Kind
from sampan.kinds.storage.csi_driver import CSIDRIVER
from sampan.meta import objects, status
from sampan.server.admission.chain import Lookup
from sampan.server.authz import decision
from sampan.server.authz.authorizer import Authorizer
from sampan.server.identity import User

VERB = "request-serviceaccounts-token-audience"
# The drivers that took the place of what volumes named by themselves.
_MIGRATED = {
    "awsElasticBlockStore": "ebs.csi.aws.com",
    "azureDisk": "disk.csi.azure.com",
    "azureFile": "file.csi.azure.com",
    "cinder": "cinder.csi.openstack.org",
    "gcePersistentDisk": "pd.csi.storage.gke.io",
    "portworxVolume": "pxd.portworx.com",
    "vsphereVolume": "csi.vsphere.vmware.com",
}

Tree = dict[str, Any]


class _Missing(Exception):
    """What a volume leads to is not there; the text says what."""


class TokenAudiences:
    """Looks at the pod first, then asks the authorizer."""

    def __init__(self, lookup: Lookup, authorizer: Authorizer) -> None:
        self._lookup = lookup
        self._authorizer = authorizer

    def refusal(self, user: User, account: tuple[str, str], audiences: Sequence[str], pod: Tree) -> str:
        """Why this agent may not have a token of the account (namespace, name) for the pod; "" when it may."""
        if len(audiences) > 1:
            return "node may only request 0 or 1 audiences"
        audience = audiences[0] if audiences else ""
        is_named, missing = self._names(pod, audience)
        if is_named:
            return ""
        if missing:
            why = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
            return f"error validating audience {status.show(audience)}: {why}"
        namespace, name = account
        asked = decision.Attributes(verb=VERB, resource=audience, namespace=namespace, name=name)
        if self._authorizer.authorize(user, asked).allowed:
            return ""
        return (
            f"audience {status.show(audience)} not found in pod spec volume, "
            f"{user.name} is not authorized to request tokens for this audience"
        )

    def _names(self, pod: Tree, audience: str) -> tuple[bool, list[str]]:
        """Whether a volume of the pod names the audience, or else what of its volumes is not there."""
        missing: list[str] = []
        for volume in pod["spec"].get("volumes") or ():
            if audience in _projected(volume):
                return True, []
            try:
                driver = self._driver(pod, volume)
                if driver and audience in self._requested(driver):
                    return True, []
            except _Missing as error:
                if str(error) not in missing:
                    missing.append(str(error))
        return False, missing

    def _driver(self, pod: Tree, volume: Tree) -> str:
        """The CSI driver that mounts the volume, "" when none does. Raises _Missing."""
        if (volume.get("ephemeral") or {}).get("volumeClaimTemplate") is not None:
            return self._driver_of_claim(pod, f"{objects.name(pod)}-{volume.get('name', '')}")
        if volume.get("persistentVolumeClaim") is not None:
            return self._driver_of_claim(pod, volume["persistentVolumeClaim"].get("claimName", ""))
        return _own_driver(volume)

    def _driver_of_claim(self, pod: Tree, name: str) -> str:
        claim = self._found(PERSISTENTVOLUMECLAIM, objects.namespace(pod), name)
        volume = self._found(PERSISTENTVOLUME, "", claim["spec"].get("volumeName", ""))
        return _own_driver(volume["spec"])

    def _requested(self, driver: str) -> set[str]:
        """The audiences of which the driver gets the pod's tokens. Raises _Missing."""
        spec = self._found(CSIDRIVER, "", driver).get("spec") or {}
        return {request.get("audience", "") for request in spec.get("tokenRequests") or ()}

    def _found(self, kind: Kind, namespace: str, name: str) -> Tree:
        item = self._lookup.get(kind, namespace, name)
        if item is None:
            group = f".{kind.group}" if kind.group else ""
            raise _Missing(f"{kind.name.lower()}{group} {status.show(name)} not found")
        return item.tree


def _projected(volume: Tree) -> set[str]:
    """The audiences of the tokens that the volume shows to the pod; "" is the API."""
    sources = (volume.get("projected") or {}).get("sources") or ()
    tokens = [source["serviceAccountToken"] for source in sources if source.get("serviceAccountToken") is not None]
    return {token.get("audience", "") for token in tokens}


def _own_driver(source: Tree) -> str:
    """The driver that a pod's volume, or a persistent one, names by itself."""
    if source.get("csi") is not None:
        return str(source["csi"].get("driver", ""))
    return next((driver for field, driver in _MIGRATED.items() if source.get(field) is not None), "")
