"""References: which secrets, configmaps, accounts and claims a pod makes its node entitled to read."""

from typing import Any

Tree = dict[str, Any]


def refers(pod: Tree, resource: str, name: str) -> bool:
    """Whether the pod refers to the object of that resource and name in its own namespace."""
    spec = pod.get("spec") or {}
    match resource:
        case "serviceaccounts":
            return (spec.get("serviceAccountName") or "default") == name
        case "secrets":
            return name in secrets(pod)
        case "configmaps":
            return name in config_maps(pod)
        case "persistentvolumeclaims":
            return any(
                (volume.get("persistentVolumeClaim") or {}).get("claimName") == name
                for volume in spec.get("volumes") or ()
            )
    return False


def secrets(pod: Tree) -> set[str]:
    """The names of all secrets that the pod mentions."""
    spec = pod.get("spec") or {}
    pulling = {reference.get("name", "") for reference in spec.get("imagePullSecrets") or ()}
    return (_names(spec, "secret", "secretName") | pulling) - {""}


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
