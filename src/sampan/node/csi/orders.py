"""Orders: asks the API what a pod's CSI volumes are: their objects, drivers' rules, secrets, tokens, attachments.

https://kubernetes-csi.github.io/docs/csi-driver-object.html
"""

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Kind
from sampan.kinds.parts import pod_claims
from sampan.kinds.storage.csi_driver import CSIDRIVER
from sampan.kinds.storage.volume_attachment import VOLUMEATTACHMENT
from sampan.kit.clock import Clock
from sampan.meta import objects
from sampan.node.csi import order
from sampan.node.csi.order import Order
from sampan.node.volumes.failure import VolumeFailure, Waiting

Object = dict[str, Any]
Tree = Mapping[str, Any]

ATTACH_SECONDS = 123.0
"""How long an attachment is waited for before a pod's event says so."""
_SECRETS = {
    "stage": "nodeStageSecretRef",
    "publish": "nodePublishSecretRef",
    "expand": "nodeExpandSecretRef",
}
_TOKEN_SECONDS = 3600


class Reads(Protocol):
    """Who reads objects, each once for many."""

    async def get(self, kind: Kind, namespace: str, name: str, since: float) -> Object | None: ...
    async def token_of(self, pod: Object, audience: str, seconds: int) -> tuple[str, str]: ...


class Orders:
    """Those of one node. Raises VolumeFailure for a volume that can't be had."""

    def __init__(self, node: str, reads: Reads, clock: Clock) -> None:
        self._node, self._reads, self._clock = node, reads, clock
        self._waiting: dict[str, float] = {}

    async def of(self, pod: Object, volumes: Mapping[str, Tree], since: float) -> list[Order]:
        """What the pod's CSI volumes are. `volumes` are PersistentVolumes by the claims' names."""
        found = []
        for volume in pod["spec"].get("volumes") or ():
            claim = pod_claims.name_of(pod, volume)
            if volume.get("csi") is not None:
                found.append(await self._inline(pod, volume, since))
            elif claim is not None and (volumes.get(claim) or {"spec": {}})["spec"].get("csi"):
                found.append(await self._persistent(pod, volume, volumes[claim], since))
        if all(each.obstacle is None for each in found):
            self._waiting.pop(objects.uid(pod), None)
        return found

    async def _inline(self, pod: Object, volume: Tree, since: float) -> Order:
        source, name = volume["csi"], volume["name"]
        rules = await self._rules(source["driver"], "Ephemeral", name, since)
        wanted = (source.get("nodePublishSecretRef") or {}).get("name")
        reference = {"name": wanted, "namespace": objects.namespace(pod)}
        return Order(
            name=name,
            spec_name=name,
            driver=source["driver"],
            handle=order.inline_handle(objects.uid(pod), name),
            is_inline=True,
            read_only=bool(source.get("readOnly")),
            fs_type=source.get("fsType") or "",
            attributes=source.get("volumeAttributes") or {},
            secrets={"publish": await self._secret(name, reference, since)} if wanted else {},
            **await self._of_pod(pod, rules, is_inline=True),
        )

    async def _persistent(self, pod: Object, volume: Tree, bound: Tree, since: float) -> Order:
        spec, name = bound["spec"], objects.name(bound)
        source = spec["csi"]
        rules = await self._rules(source["driver"], "Persistent", name, since)
        claim_name = pod_claims.name_of(pod, volume) or ""
        claim = await self._reads.get(PERSISTENTVOLUMECLAIM, objects.namespace(pod), claim_name, since)
        is_attachable = rules.get("attachRequired") is not False
        context = await self._attached(source) if is_attachable else {}
        secrets = {
            use: await self._secret(name, source[field], since) for use, field in _SECRETS.items() if source.get(field)
        }
        return Order(
            name=volume["name"],
            spec_name=name,
            driver=source["driver"],
            handle=source["volumeHandle"],
            is_block=spec.get("volumeMode") == "Block",
            read_only=bool(source.get("readOnly") or (volume.get("persistentVolumeClaim") or {}).get("readOnly")),
            fs_type=source.get("fsType") or "",
            attributes=source.get("volumeAttributes") or {},
            access_modes=tuple(spec.get("accessModes") or ()),
            mount_flags=tuple(spec.get("mountOptions") or ()),
            secrets=secrets,
            publish_context=context or {},
            is_attachable=is_attachable,
            obstacle=self._not_attached(pod, volume["name"]) if context is None else None,
            size_text=str((spec.get("capacity") or {}).get("storage") or "0"),
            claim=claim,
            **await self._of_pod(pod, rules, is_inline=False),
        )

    async def _of_pod(self, pod: Object, rules: Tree, *, is_inline: bool) -> dict[str, Any]:
        """What the driver wants to know of the pod, and the pod's group."""
        security = pod["spec"].get("securityContext") or {}
        tokens = {}
        for request in rules.get("tokenRequests") or ():
            audience = request.get("audience") or ""
            seconds = request.get("expirationSeconds") or _TOKEN_SECONDS
            tokens[audience] = await self._reads.token_of(pod, audience, seconds)
        return {
            "rules": rules,
            "pod_info": order.pod_info(pod, is_inline=is_inline) if rules.get("podInfoOnMount") else {},
            "tokens": order.tokens_text(tokens) if tokens else "",
            "group": security.get("fsGroup"),
            "group_on_mismatch": security.get("fsGroupChangePolicy") == "OnRootMismatch",
        }

    async def _rules(self, driver: str, mode: str, volume: str, since: float) -> Tree:
        """The CSIDriver's spec, if there is one; it has to allow volumes of this lifecycle."""
        found = await self._reads.get(CSIDRIVER, "", driver, since)
        if found is None and mode == "Persistent":
            return {}
        prefix = (
            f'MountVolume.NewMounter initialization failed for volume "{volume}" : volume mode "{mode}" not supported'
        )
        if found is None:
            raise VolumeFailure(f"{prefix} by driver {driver} (no CSIDriver object)")
        rules: Tree = found.get("spec") or {}
        modes = rules.get("volumeLifecycleModes") or ["Persistent"]
        if mode not in modes:
            supported = '" "'.join(modes)
            raise VolumeFailure(f'{prefix} by driver {driver} (only supports ["{supported}"])')
        return rules

    async def _secret(self, volume: str, reference: Tree, since: float) -> dict[str, str]:
        namespace, name = reference.get("namespace") or "", reference.get("name") or ""
        found = await self._reads.get(SECRET, namespace, name, since)
        if found is None:
            why = (
                f'failed to find the secret {name} in the namespace {namespace} with error: secrets "{name}" not found'
            )
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{volume}" : {why}')
        data = found.get("data") or {}
        return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in data.items()}

    async def _attached(self, source: Tree) -> dict[str, str] | None:
        """What the attacher says once it is done; None before."""
        name = order.attachment_name(source["volumeHandle"], source["driver"], self._node)
        found = await self._reads.get(VOLUMEATTACHMENT, "", name, self._clock.monotonic())
        status = (found or {}).get("status") or {}
        if found is not None and status.get("attached") and not objects.is_deleting(found):
            return dict(status.get("attachmentMetadata") or {})
        return None

    def _not_attached(self, pod: Object, volume: str) -> VolumeFailure:
        """Nothing to tell, until it has taken long."""
        now, uid = self._clock.monotonic(), objects.uid(pod)
        if now - self._waiting.setdefault(uid, now) < ATTACH_SECONDS:
            return Waiting(f"volume {volume} is not attached yet")
        del self._waiting[uid]
        text = f"Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[{volume}]"
        return VolumeFailure(f"{text}, failed to process volumes=[]: context deadline exceeded")
