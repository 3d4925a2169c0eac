"""The kinds of rollouts and analyses, by their definitions, and the route whose weights they move."""

from pathlib import Path

from sampan.kinds.kind import Kind, Object
from sampan.platform import definitions

DEFINITIONS: tuple[Object, ...] = definitions.load(Path(__file__).parent / "definitions")
_FOUND = {kind.name: kind for kind in map(definitions.kind, DEFINITIONS)}

ROLLOUT = _FOUND["Rollout"]
ANALYSISTEMPLATE = _FOUND["AnalysisTemplate"]
CLUSTERANALYSISTEMPLATE = _FOUND["ClusterAnalysisTemplate"]
ANALYSISRUN = _FOUND["AnalysisRun"]
HTTPROUTE = Kind(group="gateway.networking.k8s.io", versions=("v1",), name="HTTPRoute", plural="httproutes")

HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
DESIRED = "rollout.argoproj.io/desired-replicas"
DEADLINE = "scale-down-deadline"
MANAGED_BY = "argo-rollouts.argoproj.io/managed-by-rollouts"
RUN_TYPE, STEP_INDEX = "rollout-type", "step-index"
