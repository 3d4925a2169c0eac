"""The layer of rollouts: canary and blue-green updates with analyses, as Argo Rollouts defines them."""

from collections.abc import Sequence

from sampan.kinds.kind import Object
from sampan.platform.layer import Layer
from sampan.platform.rights import Rights, rule
from sampan.platform.rollouts import analysis_run, rollout
from sampan.platform.rollouts.kinds import DEFINITIONS

RESOURCES = (
    "rollouts",
    "rollouts/scale",
    "rollouts/status",
    "analysisruns",
    "analysistemplates",
    "clusteranalysistemplates",
)
READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", *READ, "patch", "update")


def _role(name: str, verbs: Sequence[str]) -> Object:
    """What the users of such a role may do with rollouts too."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": f"argo-rollouts-aggregate-to-{name}",
            "labels": {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"},
        },
        "rules": [{"apiGroups": ["argoproj.io"], "resources": list(RESOURCES), "verbs": list(verbs)}],
    }


_RIGHTS = Rights(
    everywhere=(
        rule("apps", ("replicasets",), ("create", "delete", "patch", "update")),
        rule("", ("pods",), ("delete",)),
        rule("", ("services",), ("get", "patch")),
        rule("", ("services/proxy",), ("create", "get", "update")),  # what analyses ask over HTTP
        rule("", ("secrets",), ("get",)),
        rule("batch", ("jobs",), ("create",)),
        rule("gateway.networking.k8s.io", ("httproutes",), ("get", "update")),
        rule("gateway.networking.k8s.io", ("gatewayclasses",), ("get",), ("sampan",)),
    )
)

LAYER = Layer(
    name="rollouts",
    summary="canary and blue-green updates with analyses (argoproj.io/v1alpha1 Rollout)",
    definitions=DEFINITIONS,
    objects=(_role("admin", WRITE), _role("edit", WRITE), _role("view", READ)),
    controllers=(rollout.CONTROLLER, analysis_run.CONTROLLER),
    rights=_RIGHTS,
)
