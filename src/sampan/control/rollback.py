"""Rollback: a Deployment takes up an earlier template when an annotation of old days names its revision.

`kubectl rollout undo` needs none of it: it patches the template itself.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-back-a-deployment
"""

from collections.abc import Sequence

from sampan.control import rollout
from sampan.control.plan import Event, Plan, Update, normal, plan, warning
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects

ANNOTATION = "deprecated.deployment.rollback.to"


def wanted(deployment: Object) -> int | None:
    """The revision that is asked for, 0 for the last one; None where none is."""
    return intstr.whole(objects.annotations(deployment).get(ANNOTATION, ""))


def rolled_back(deployment: Object, replica_sets: Sequence[Object]) -> Plan:
    """The deployment with the template of that revision; in any case the wish is answered."""
    known = sorted({rollout.revision(r) for r in replica_sets})
    number = wanted(deployment) or (known[-2] if len(known) > 1 else 0)
    if not number:
        return _answered(deployment, warning("DeploymentRollbackRevisionNotFound", "Unable to find last revision."))
    found = next((r for r in rollout.by_age(replica_sets) if rollout.revision(r) == number), None)
    if found is None:
        text = "Unable to find the revision to rollback to."
        return _answered(deployment, warning("DeploymentRollbackRevisionNotFound", text))
    name = objects.name(deployment)
    if rollout.same_template(deployment["spec"]["template"], found["spec"]["template"]):
        text = f'The rollback revision contains the same template as current deployment "{name}"'
        return _answered(deployment, warning("DeploymentRollbackTemplateUnchanged", text))
    told = normal("DeploymentRollback", f'Rolled back deployment "{name}" to revision {number}')
    template = rollout.without_hash(found["spec"]["template"])
    return _answered({**deployment, "spec": {**deployment["spec"], "template": template}}, told, found)


def _answered(deployment: Object, told: Event, source: Object | None = None) -> Plan:
    """The deployment without the wish; `source` gives it its own annotations."""
    annotations = {name: text for name, text in objects.annotations(deployment).items() if name != ANNOTATION}
    if source is not None:
        kept = {name: text for name, text in annotations.items() if name in rollout.NOT_COPIED}
        taken = {name: text for name, text in objects.annotations(source).items() if name not in rollout.NOT_COPIED}
        annotations = kept | taken
    metadata = {**deployment["metadata"], "annotations": annotations}
    return plan([Update(DEPLOYMENT, {**deployment, "metadata": metadata}, done=told)])
