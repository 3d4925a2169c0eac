"""Reading a pod's spec as the node does: its containers, policies and graces."""

from collections.abc import Iterator
from typing import Any

from sampan.meta import objects

Pod = dict[str, Any]
Container = dict[str, Any]


def init_containers(pod: Pod) -> list[Container]:
    """spec.initContainers, sidecars among them, in order."""
    return pod["spec"].get("initContainers") or []


def app_containers(pod: Pod) -> list[Container]:
    """spec.containers."""
    return pod["spec"].get("containers") or []


def guests(pod: Pod) -> list[Container]:
    """spec.ephemeralContainers: added while the pod runs, for whoever looks into it."""
    return pod["spec"].get("ephemeralContainers") or []


def all_containers(pod: Pod) -> Iterator[tuple[str, Container]]:
    """Every container with its field path: init containers, then the others, then ephemeral ones."""
    for container in init_containers(pod):
        yield f"spec.initContainers{{{container['name']}}}", container
    for container in app_containers(pod):
        yield f"spec.containers{{{container['name']}}}", container
    for container in guests(pod):
        yield f"spec.ephemeralContainers{{{container['name']}}}", container


def container(pod: Pod, name: str) -> Container | None:
    """The container of that name."""
    for found in (*app_containers(pod), *init_containers(pod), *guests(pod)):  # names are not used twice
        if found["name"] == name:
            return found
    return None


def field_path(pod: Pod, name: str) -> str:
    """How events name the container: spec.containers{app}."""
    return next((path for path, found in all_containers(pod) if found["name"] == name), "")


def is_sidecar(container: Container) -> bool:
    """Whether an init container goes on running beside the others."""
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: Pod) -> str:
    """Always, OnFailure or Never."""
    return pod["spec"].get("restartPolicy") or "Always"


def is_host_network(pod: Pod) -> bool:
    """Whether the pod has the node's own network."""
    return bool(pod["spec"].get("hostNetwork"))


def has_own_users(pod: Pod) -> bool:
    """Whether its users are none of the host's."""
    return pod["spec"].get("hostUsers") is False


def shares_ipc(pod: Pod) -> bool:
    """Whether it is not the host's, and there is somebody to share it with."""
    return not pod["spec"].get("hostIPC") and sum(1 for _ in all_containers(pod)) > 1


def is_privileged(pod: Pod) -> bool:
    """Whether any of its containers is."""
    return any((found.get("securityContext") or {}).get("privileged") for _, found in all_containers(pod))


def full_name(pod: Pod) -> str:
    """As back-off messages name it: web-abc_default(uid)."""
    return f"{objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})"


def image(container: Container) -> str:
    """The image's name as the spec has it."""
    return str(container.get("image") or "")


def image_names(pod: Pod) -> set[str]:
    """All images that the pod asks for, as containers' or as volumes'."""
    named = {image(container) for _, container in all_containers(pod)}
    sources = (volume.get("image") or {} for volume in pod["spec"].get("volumes") or ())
    return {name for name in (*named, *(str(source.get("reference") or "") for source in sources)) if name}


def grace_seconds(pod: Pod) -> float:
    """How long its containers have to end: the deletion's grace, else the spec's."""
    asked = objects.metadata(pod).get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return float(30 if asked is None else asked)


RESTART_ALL = "RestartAllContainers"


def restart_action(container: Container, exit_code: int) -> str:
    """What the first of the container's restart rules that fits asks for; empty when its policy decides."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return str(rule.get("action") or "")
    return ""


def could_restart_all(pod: Pod) -> bool:
    """Whether a container's exit may have all containers start again."""
    for container in (*init_containers(pod), *app_containers(pod)):  # asked at each look: no generator
        for rule in container.get("restartPolicyRules") or ():
            if rule.get("action") == RESTART_ALL:
                return True
    return False
