"""Order: one CSI volume of a pod, with everything that its driver is to be told about it. Pure.

https://kubernetes-csi.github.io/docs/
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import objects, quantity
from sampan.node.csi import wire
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]

ONCE = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


@dataclass(frozen=True, slots=True)
class Order:
    """A volume as a pod has it. `name` is the pod's volume's, `spec_name` the PersistentVolume's, or the same if inline."""

    name: str
    spec_name: str
    driver: str
    handle: str
    is_inline: bool = False
    is_block: bool = False
    read_only: bool = False
    fs_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    access_modes: tuple[str, ...] = ()
    mount_flags: tuple[str, ...] = ()
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Secrets' texts by what they are for: stage, publish, expand."""
    publish_context: Mapping[str, str] = field(default_factory=dict)
    """What the attacher left for the node."""
    is_attachable: bool = False
    obstacle: VolumeFailure | None = None
    """Why it can't be made ready now, if it isn't: it is not attached yet."""
    rules: Object = field(default_factory=dict)
    """The spec of the CSIDriver, empty if there is none."""
    pod_info: Mapping[str, str] = field(default_factory=dict)
    tokens: str = ""
    group: int | None = None
    group_on_mismatch: bool = False
    size_text: str = "0"
    """What the volume has by its object."""
    claim: Object | None = None

    @property
    def device(self) -> str:
        """The volume's name in a node's status."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"

    @property
    def is_republished(self) -> bool:
        """Whether the driver wants to be told again and again."""
        return bool(self.rules.get("requiresRepublish"))

    def capability(self, abilities: frozenset[int]) -> dict[str, Any]:
        """The VolumeCapability, for a driver with these abilities."""
        mode = {"access_mode": {"mode": self._mode(abilities)}}
        if self.is_block:
            return {"block": {}, **mode}
        mount: dict[str, Any] = {"fs_type": self.fs_type, "mount_flags": list(self.mount_flags)}
        if wire.MOUNT_GROUP in abilities and self.group is not None:
            mount["volume_mount_group"] = str(self.group)
        return {"mount": mount, **mode}

    def stage_request(self, staging: str, abilities: frozenset[int]) -> dict[str, Any]:
        """NodeStageVolume."""
        return {
            "volume_id": self.handle,
            "publish_context": dict(self.publish_context),
            "staging_target_path": staging,
            "volume_capability": self.capability(abilities),
            "secrets": dict(self.secrets.get("stage", {})),
            "volume_context": dict(self.attributes),
        }

    def publish_request(self, staging: str, target: str, abilities: frozenset[int]) -> dict[str, Any]:
        """NodePublishVolume; `staging` is empty for a driver that stages nothing."""
        context = {**self.attributes, **self.pod_info}
        secrets = dict(self.secrets.get("publish", {}))
        if self.tokens:
            place = secrets if self.rules.get("serviceAccountTokenInSecrets") else context
            place["csi.storage.k8s.io/serviceAccount.tokens"] = self.tokens
        return {
            "volume_id": self.handle,
            "publish_context": dict(self.publish_context),
            "staging_target_path": staging,
            "target_path": target,
            "volume_capability": self.capability(abilities),
            "readonly": self.read_only,
            "secrets": secrets,
            "volume_context": context,
        }

    def expand_request(self, path: str, staging: str, abilities: frozenset[int]) -> dict[str, Any]:
        """NodeExpandVolume, to what the volume's object says."""
        return {
            "volume_id": self.handle,
            "volume_path": path,
            "capacity_range": {"required_bytes": quantity.to_int(self.size_text)},
            "staging_target_path": staging,
            "volume_capability": self.capability(abilities),
            "secrets": dict(self.secrets.get("expand", {})),
        }

    def is_given_to_group(self, abilities: frozenset[int]) -> bool:
        """Whether the files are given to the pod's group here, and not by the driver or nobody."""
        if self.group is None or self.is_block or self.read_only or wire.MOUNT_GROUP in abilities:
            return False
        match self.rules.get("fsGroupPolicy") or "ReadWriteOnceWithFSType":
            case "None":
                return False
            case "File":
                return True
        return bool(self.fs_type) and (self.is_inline or not ONCE.isdisjoint(self.access_modes))

    def is_to_grow(self) -> bool:
        """Whether the claim has not got yet what the volume has."""
        status = (self.claim or {}).get("status") or {}
        has = (status.get("capacity") or {}).get("storage")
        return has is not None and quantity.to_int(self.size_text) > quantity.to_int(has)

    def _mode(self, abilities: frozenset[int]) -> int:
        """By the first of its access modes."""
        first = self.access_modes[0] if self.access_modes else "ReadWriteOnce"
        if wire.SINGLE_NODE_MULTI_WRITER in abilities and first in ONCE:
            return wire.ONE_WRITER if first == "ReadWriteOncePod" else wire.SEVERAL_WRITERS
        return wire.MODES[first]


def pod_info(pod: Object, *, is_inline: bool) -> dict[str, str]:
    """What a driver is told about the pod that wants to know."""
    prefix = "csi.storage.k8s.io/"
    return {
        f"{prefix}pod.name": objects.name(pod),
        f"{prefix}pod.namespace": objects.namespace(pod),
        f"{prefix}pod.uid": objects.uid(pod),
        f"{prefix}serviceAccount.name": pod["spec"].get("serviceAccountName") or "",
        f"{prefix}ephemeral": "true" if is_inline else "false",
    }


def tokens_text(tokens: Mapping[str, tuple[str, str]]) -> str:
    """Tokens with their expirations, by audience, as a driver reads them."""
    found = {audience: {"token": text, "expirationTimestamp": end} for audience, (text, end) in tokens.items()}
    return json.dumps(found, separators=(",", ":"), sort_keys=True)


def inline_handle(pod_uid: str, volume: str) -> str:
    """The id of a volume that a pod brings itself."""
    return "csi-" + hashlib.sha256(f"{pod_uid}{volume}".encode()).hexdigest()


def attachment_name(handle: str, driver: str, node: str) -> str:
    """The name of the VolumeAttachment of a volume and a node."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()
