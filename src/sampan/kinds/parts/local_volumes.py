"""Local volumes: what provisioner, nodes and the default class agree on about folders of nodes that become volumes. Pure.

A node says in an annotation where its folders are. A folder whose volume is over is named in an annotation of the
node; the node empties it and takes the name away.
"""

from collections.abc import Mapping
from typing import Any

from sampan.meta import objects

Tree = Mapping[str, Any]

PROVISIONER = "sampan.dev/local"
CLASS = "standard"
FOLDER = "sampan.dev/local-volumes"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
HOSTNAME = "kubernetes.io/hostname"
_OVER = "over.local.sampan.dev/"


def default_class() -> dict[str, Any]:
    """The StorageClass that claims get where nobody says otherwise."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def root(node: Tree) -> str:
    """Where the node's folders are, "" if it has none."""
    return objects.annotations(node).get(FOLDER, "")


def over(node: Tree) -> list[str]:
    """The volumes whose folders are to be taken away."""
    return [name.removeprefix(_OVER) for name in objects.annotations(node) if name.startswith(_OVER)]


def mark(volume: str, *, is_over: bool) -> dict[str, Any]:
    """A merge patch of a node: the volume's folder is to go, or has gone."""
    return {"metadata": {"annotations": {f"{_OVER}{volume}": "" if is_over else None}}}


def node_name(volume: Tree) -> str:
    """The hostname of the node that has the volume's folder, "" for none."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for expression in term.get("matchExpressions") or ():
            if expression.get("key") == HOSTNAME and expression.get("values"):
                return str(expression["values"][0])
    return ""


def affinity(hostname: str) -> dict[str, Any]:
    """To that node alone."""
    expression = {"key": HOSTNAME, "operator": "In", "values": [hostname]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
