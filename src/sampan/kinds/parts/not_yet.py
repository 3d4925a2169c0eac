"""What this version would leave out silently, and so refuses by name: nobody shall think that it holds."""

from collections.abc import Mapping
from typing import Any

from sampan.meta.status import Cause, forbidden_field

Spec = Mapping[str, Any]

_VOLUMES = frozenset(("configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"))
_PROJECTED = frozenset(("configMap", "downwardAPI", "secret", "serviceAccountToken"))
_JOB = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy")


def cause(path: str, what: str) -> Cause:
    """`what` is a plural noun: "volumes of type nfs"."""
    return forbidden_field(path, f"{what} are not available yet in this version of Sampan")


def volume_causes(volume: Spec, source: str, path: str) -> list[Cause]:
    """`source` names the volume's type."""
    if source not in _VOLUMES:
        return [cause(f"{path}.{source}", f"volumes of type {source}")]
    found = []
    for index, part in enumerate(volume[source].get("sources") or () if source == "projected" else ()):
        others = [name for name, value in part.items() if name not in _PROJECTED and value is not None]
        found += [cause(f"{path}.projected.sources[{index}].{n}", f"projected sources of type {n}") for n in others]
    return found


def pod_causes(spec: Spec, path: str) -> list[Cause]:
    """Fields of a pod spec beside its containers and volumes."""
    found = []
    if spec.get("setHostnameAsFQDN"):
        found.append(cause(f"{path}.setHostnameAsFQDN", "host names with a domain"))
    if spec.get("resourceClaims"):
        found.append(cause(f"{path}.resourceClaims", "resource claims"))
    if spec.get("resources"):
        found.append(cause(f"{path}.resources", "resources of a whole pod"))
    return found


def container_causes(container: Spec, path: str) -> list[Cause]:
    """Fields of a container."""
    found = []
    for index, variable in enumerate(container.get("env") or ()):
        if (variable.get("valueFrom") or {}).get("fileKeyRef") is not None:
            found.append(cause(f"{path}.env[{index}].valueFrom.fileKeyRef", "variables from files"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("recursiveReadOnly") == "Enabled":
            found.append(cause(f"{path}.volumeMounts[{index}].recursiveReadOnly", "recursively read-only mounts"))
    if (container.get("securityContext") or {}).get("procMount") == "Unmasked":
        found.append(cause(f"{path}.securityContext.procMount", "unmasked /proc mounts"))
    if (container.get("resources") or {}).get("claims"):
        found.append(cause(f"{path}.resources.claims", "resource claims"))
    return found


def job_causes(spec: Spec) -> list[Cause]:
    """Fields of a new job's spec."""
    return [cause(f"spec.{name}", f"jobs with {name}") for name in _JOB if spec.get(name) is not None]
