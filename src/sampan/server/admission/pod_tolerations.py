"""Pods tolerate a node that is not ready or unreachable for five minutes, unless they say otherwise.

Also those that are replaced, so that a client may leave out what was added when the pod was made.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#defaulttolerationseconds
"""

from sampan.kinds.core.pod import POD
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(POD,))
TOLERATION_SECONDS = 300
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    pod = attributes.obj
    if pod is None or attributes.subresource:
        return
    tolerations = pod["spec"].get("tolerations") or []
    missing = [key for key in (NOT_READY, UNREACHABLE) if not any(_tolerates(t, key) for t in tolerations)]
    if missing:
        added = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            for key in missing
        ]
        pod["spec"]["tolerations"] = [*tolerations, *added]


def _tolerates(toleration: dict[str, object], key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")
