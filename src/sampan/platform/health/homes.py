"""Home: the object whose template a pod was made from, which is where something can be changed for good."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.batch.cron_job import CRONJOB
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.meta import objects
from sampan.platform.health import words
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import subject

KINDS = {k.name: k for k in (DEPLOYMENT, REPLICASET, STATEFULSET, DAEMONSET, JOB, CRONJOB, REPLICATIONCONTROLLER)}
PATHS = {"Pod": "spec", "CronJob": "spec.jobTemplate.spec.template.spec"}
FIXED = ("Pod", "Job")
"""Of these nearly nothing can be changed: they are made anew."""


@dataclass(frozen=True, slots=True)
class Home:
    """`ref` is what kubectl takes, `path` where the pod's spec is in it."""

    ref: str
    kind: str
    namespace: str
    path: str

    def change(self, field: str, how: str) -> tuple[str, ...]:
        """The steps that change a field of the pod's spec, such as containers[web].command."""
        if self.kind in FIXED:
            again = f"{words.in_namespace(self.namespace)} replace --force -f FILE"
            return (f"in the manifest of {self.ref}, {how}: {self.path}.{field}", again)
        return (f"{how}: {self.path}.{field}", f"{words.in_namespace(self.namespace)} edit {self.ref}")

    def set_image(self, container: str) -> str:
        """The command that gives a container another image."""
        if self.kind == "Job":
            return f"{words.in_namespace(self.namespace)} replace --force -f FILE"
        return f"{words.in_namespace(self.namespace)} set image {self.ref} {container}=IMAGE"

    def set_resources(self, container: str, amounts: str) -> tuple[str, ...]:
        """The steps that give a container other resources."""
        if self.kind in FIXED:
            return self.change(f"containers[{container}].resources", f"set {amounts}")
        return (f"{words.in_namespace(self.namespace)} set resources {self.ref} -c {container} --{amounts}",)


def of(pod: Mapping[str, Any], look: Lookup) -> Home:
    """Up the owners as far as there are templates."""
    found, at = pod, pod
    for _ in range(4):
        above = _controller(at, look)
        if above is None:
            break
        at = above
        if "template" in (at.get("spec") or {}) or at.get("kind") == "CronJob":
            found = at
    kind = str(found.get("kind") or "Pod")
    return Home(subject(found), kind, objects.namespace(found), PATHS.get(kind, "spec.template.spec"))


def _controller(obj: Mapping[str, Any], look: Lookup) -> Mapping[str, Any] | None:
    reference = objects.controller_of(obj)
    if reference is None:
        return None
    group = str(reference.get("apiVersion", "")).rpartition("/")[0]
    kind = KINDS.get(str(reference.get("kind"))) if group in ("", "apps", "batch") else None
    kind = kind or look.kind(str(reference.get("kind")), group)
    return look.get(kind, str(reference.get("name")), objects.namespace(obj)) if kind is not None else None
