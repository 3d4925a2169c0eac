"""Configs: what a pod is given and can't get: ConfigMaps, Secrets, their keys, volumes that can't be mounted."""

import re
from collections.abc import Mapping
from shlex import quote
from typing import Any

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Kind
from sampan.meta import objects
from sampan.platform.health import homes, words
from sampan.platform.health.at import At, told
from sampan.platform.health.lookup import Lookup, warnings
from sampan.platform.health.verdict import FAILED, STUCK, Evidence, Verdict, about

KINDS = {"configmap": CONFIGMAP, "secret": SECRET}
NO_OBJECT = re.compile(r"\b(configmap|secret) \"([^\"]+)\" not found", re.IGNORECASE)
NO_KEY = re.compile(r"couldn't find key (\S+) in (ConfigMap|Secret) ([^/\s]+)/(\S+)")
NO_ITEM = re.compile(r"references non-existent (?:config|secret) key: (\S+)")
VOLUME = re.compile(r"for volume \"([^\"]+)\"")
AS_ROOT = re.compile(r"runAsNonRoot")
MOUNTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")


def judge(at: At, text: str) -> Verdict:
    """What CreateContainerConfigError means."""
    evidence = (*at.told("Failed"),) or (Evidence("status", text),)
    if (match := NO_KEY.search(text)) is not None:
        return at.verdict(STUCK, *_key(at.look, at.namespace, match[2].lower(), match[4], match[1]), evidence=evidence,
                          next=_key_steps(at, match[2].lower(), match[4], match[1]))  # fmt: skip
    if (match := NO_OBJECT.search(text)) is not None:
        return at.verdict(STUCK, *_absent(at.look, at.namespace, match[1].lower(), match[2]), evidence=evidence,
                          next=_absent_steps(at.look, at.pod, match[1].lower(), match[2]))  # fmt: skip
    if AS_ROOT.search(text):
        message = f"it may not run as root, and its image would: {words.clipped(text, 160)}"
        steps = at.home.change(f"{at.path}.securityContext.runAsUser", "give a number other than 0")
        return at.verdict(FAILED, "RunsAsRoot", message, evidence=evidence, next=steps)
    steps = at.home.change(at.path, "correct what the node complains about")
    return at.verdict(FAILED, "ConfigError", words.clipped(text), evidence=evidence, next=steps)


def mounts(pod: Mapping[str, Any], look: Lookup) -> Verdict | None:
    """Why a pod's volumes are not there yet, by what its node tells."""
    found = warnings(look, pod, *MOUNTS)
    if not found:
        return None
    text = str(found[0].get("message", ""))
    volume = VOLUME.search(text)
    name = volume[1] if volume else ""
    where = f"volume {name}" if name else "volumes"
    source: Mapping[str, Any] = next(
        (each for each in pod["spec"].get("volumes") or () if each.get("name") == name), {}
    )
    evidence = (told(found[0], look),)
    more: dict[str, Any] = {"namespace": objects.namespace(pod), "evidence": evidence}
    if (match := NO_OBJECT.search(text)) is not None:
        kind = match[1].lower()
        reason, message = _absent(look, objects.namespace(pod), kind, match[2])
        return Verdict(where, STUCK, reason, message, next=_absent_steps(look, pod, kind, match[2]), **more)
    if (match := NO_ITEM.search(text)) is not None:
        kind, holder = _source(source)
        reason, message = _key(look, objects.namespace(pod), kind, holder, match[1])
        steps = homes.of(pod, look).change(f"volumes[{name}].{kind}.items", f"name a key of {kind} {holder}")
        return Verdict(where, STUCK, reason, message, next=steps, **more)
    claim = (source.get("persistentVolumeClaim") or {}).get("claimName")
    steps = (f"{words.in_namespace(objects.namespace(pod))} describe pvc {claim}",) if claim else ()
    steps = steps or homes.of(pod, look).change(
        f"volumes[{name}]" if name else "volumes", "correct the volume's source"
    )
    return Verdict(where, STUCK, str(found[0].get("reason")), words.clipped(text), next=steps, **more)


def claims(pod: Mapping[str, Any]) -> list[str]:
    """The PersistentVolumeClaims that a pod names."""
    named = [(each.get("persistentVolumeClaim") or {}).get("claimName") for each in pod["spec"].get("volumes") or ()]
    made = [f"{objects.name(pod)}-{each['name']}" for each in pod["spec"].get("volumes") or () if "ephemeral" in each]
    return [name for name in named if name] + made


def missing_claim(name: str, pod: Mapping[str, Any], look: Lookup) -> Verdict:
    """A claim that a pod names and nobody made."""
    namespace = objects.namespace(pod)
    better = words.nearest_object(name, look.list(PERSISTENTVOLUMECLAIM, namespace))
    message = f"PersistentVolumeClaim {name} does not exist{words.meant(better)}"
    home = homes.of(pod, look)
    field = "volumes[].persistentVolumeClaim.claimName"
    steps = home.change(field, f"name {better}") if better else (f"make PersistentVolumeClaim {name} in {namespace}",)
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace}}
    return about(claim, STUCK, "ClaimMissing", message, next=steps)


def _absent(look: Lookup, namespace: str, kind: str, name: str) -> tuple[str, str]:
    better = _better(look, KINDS[kind], namespace, name)
    return f"{KINDS[kind].name}Missing", f"{KINDS[kind].name} {name} does not exist in {namespace}{words.meant(better)}"


def _absent_steps(look: Lookup, pod: Mapping[str, Any], kind: str, name: str) -> tuple[str, ...]:
    namespace = objects.namespace(pod)
    better = _better(look, KINDS[kind], namespace, name)
    if better:
        return homes.of(pod, look).change(_place(pod, kind, name), f"name {better} instead of {name}")
    what = "configmap" if kind == "configmap" else "secret generic"
    return (f"{words.in_namespace(namespace)} create {what} {quote(name)} --from-literal=KEY=VALUE",)


def _key(look: Lookup, namespace: str, kind: str, name: str, key: str) -> tuple[str, str]:
    holder = look.get(KINDS[kind], name, namespace) if kind in KINDS else None
    keys = sorted({*((holder or {}).get("data") or {}), *((holder or {}).get("binaryData") or {})})
    better = words.nearest(key, keys)
    has = f"; it has {words.listed(keys)}" if keys and not better else ""
    title = KINDS[kind].name if kind in KINDS else kind
    return f"{title}KeyMissing", f"{title} {name} has no key {key}{words.meant(better) or has}"


def _key_steps(at: At, kind: str, name: str, key: str) -> tuple[str, ...]:
    variables = [
        e
        for e in at.container.get("env") or ()
        if (e.get("valueFrom") or {}).get(f"{_field(kind)}KeyRef", {}).get("key") == key
    ]
    place = (
        f"{at.path}.env[{variables[0]['name']}].valueFrom.{_field(kind)}KeyRef.key" if variables else f"{at.path}.env"
    )
    patch = f"{words.in_namespace(at.namespace)} edit {kind} {quote(name)}   # or add the key {key}"
    return (*at.home.change(place, f"name a key that {kind} {name} has"), patch)


def _field(kind: str) -> str:
    return "configMap" if kind == "configmap" else kind


def _better(look: Lookup, kind: Kind, namespace: str, name: str) -> str:
    return words.nearest_object(name, look.list(kind, namespace))


def _source(volume: Mapping[str, Any]) -> tuple[str, str]:
    if "secret" in volume:
        return "secret", str((volume["secret"] or {}).get("secretName", ""))
    return "configmap", str((volume.get("configMap") or {}).get("name", ""))


def _place(pod: Mapping[str, Any], kind: str, name: str) -> str:
    """The field of a pod's spec that names an object."""
    for volume in pod["spec"].get("volumes") or ():
        if _source(volume) == (kind, name):
            return f"volumes[{volume['name']}]"
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        for each in container.get("envFrom") or ():
            if (each.get(f"{_field(kind)}Ref") or {}).get("name") == name:
                return f"containers[{container['name']}].envFrom"
        for each in container.get("env") or ():
            if ((each.get("valueFrom") or {}).get(f"{_field(kind)}KeyRef") or {}).get("name") == name:
                return f"containers[{container['name']}].env[{each['name']}]"
    return "containers"
