"""References: which secrets, configmaps, accounts and claims a pod makes its node entitled to read.

A mirror pod, which an agent made itself, entitles it to nothing.
"""

from typing import Any

from sampan.meta import objects

MIRROR = "kubernetes.io/config.mirror"

Tree = dict[str, Any]


def refers(pod: Tree, resource: str, name: str) -> bool:
    """Whether the pod refers to the object of that resource and name in its own namespace."""
    spec = pod.get("spec") or {}
    if MIRROR in objects.annotations(pod):
        return False
    match resource:
        case "serviceaccounts":
            return (spec.get("serviceAccountName") or "default") == name
        case "secrets":
            return name in secrets(pod)
        case "configmaps":
            return name in config_maps(pod)
        case "persistentvolumeclaims":
            return name in claims(pod)
        case "resourceclaims":
            return name in resource_claims(pod)
    return False


def secrets(pod: Tree) -> set[str]:
    """The names of all secrets that the pod mentions."""
    spec = pod.get("spec") or {}
    pulling = {reference.get("name", "") for reference in spec.get("imagePullSecrets") or ()}
    drivers = (volume.get("csi") or {} for volume in spec.get("volumes") or ())
    published = {(source.get("nodePublishSecretRef") or {}).get("name", "") for source in drivers}
    return (_names(spec, "secret", "secretName") | pulling | published) - {""}


def claims(pod: Tree) -> set[str]:
    """The names of all claims that the pod mounts, those made for its ephemeral volumes too."""
    found = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("ephemeral") is not None:
            found.add(f"{objects.name(pod)}-{volume.get('name', '')}")
        found.add((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))
    return found - {""}


def resource_claims(pod: Tree) -> set[str]:
    """The names of all resource claims that the pod uses, those made for it from templates too."""
    direct = {each.get("resourceClaimName", "") for each in (pod.get("spec") or {}).get("resourceClaims") or ()}
    status = pod.get("status") or {}
    made = {each.get("resourceClaimName") or "" for each in status.get("resourceClaimStatuses") or ()}
    made.add((status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName", ""))
    return (direct | made) - {""}


def volume_secrets(volume: Tree) -> set[tuple[str, str]]:
    """The (namespace, name) of every secret that a persistent volume needs at its node."""
    spec = volume.get("spec") or {}
    home = (spec.get("claimRef") or {}).get("namespace", "")
    found = set()
    for source in spec.values():
        if not isinstance(source, dict):
            continue
        for key, value in source.items():
            if key.lower().endswith("secretref") and isinstance(value, dict):
                found.add((value.get("namespace") or home, value.get("name", "")))
        if source.get("secretName"):
            found.add((source.get("secretNamespace") or home, source["secretName"]))
    return found


def config_maps(pod: Tree) -> set[str]:
    """The names of all configmaps that the pod mentions."""
    return _names(pod.get("spec") or {}, "configMap", "name")


def _names(spec: Tree, source: str, name_field: str) -> set[str]:
    """Names that volumes (projected ones too) and the containers' environments mention."""
    found: set[str] = set()
    for volume in spec.get("volumes") or ():
        found.add((volume.get(source) or {}).get(name_field, ""))
        projected = (volume.get("projected") or {}).get("sources") or ()
        found.update((part.get(source) or {}).get("name", "") for part in projected)
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            found |= _environment(container, source)
    return found - {""}


def _environment(container: Tree, source: str) -> set[str]:
    found = {(part.get(f"{source}Ref") or {}).get("name", "") for part in container.get("envFrom") or ()}
    for variable in container.get("env") or ():
        value = (variable.get("valueFrom") or {}).get(f"{source}KeyRef") or {}
        found.add(value.get("name", ""))
    return found
