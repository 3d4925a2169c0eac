"""The fields of a volume's source that nobody wrote: the same for pods and PersistentVolumes."""

from typing import Any

Tree = dict[str, Any]

_DEFAULTS: dict[str, Tree] = {
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_EMPTY_COUNTS = frozenset(("iscsi", "rbd", "scaleIO"))  # there, an empty text is replaced as an absent one is


def fill(holder: Tree) -> None:
    """Fills in the sources that the holder (a pod's volume, or a PersistentVolume's spec) has, in place."""
    for kind in holder.keys() & _DEFAULTS:
        source = holder[kind]
        for field, value in _DEFAULTS[kind].items() if source is not None else ():
            if source.get(field) is None or (kind in _EMPTY_COUNTS and not source[field]):
                source[field] = value
