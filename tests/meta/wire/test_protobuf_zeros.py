"""An explicit zero survives protobuf where it says something, and only there: as in Go's JSON of the same type."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.kinds.builtin import BODIES, KINDS
from sampan.meta.wire import protobuf, protobuf_table

KUBECTL = Path(sys.executable).parent / "kubectl"
BODIES_OF_KUBECTL = json.loads((Path(__file__).parent / "kubectl_bodies.json").read_text())

# A pointer, or always written: a client that sends it means it.
SAYS_SOMETHING = """
v1 ConfigMap immutable false
v1 Secret immutable false
v1 ServiceAccount automountServiceAccountToken false
v1 Pod spec.priority 0
v1 Pod spec.terminationGracePeriodSeconds 0
v1 Pod spec.activeDeadlineSeconds 0
v1 Pod spec.enableServiceLinks false
v1 Pod spec.hostUsers false
v1 Pod spec.runtimeClassName ""
v1 Pod spec.securityContext.runAsUser 0
v1 Pod spec.securityContext.runAsNonRoot false
v1 Pod spec.containers[].name ""
v1 Pod spec.containers[].securityContext.allowPrivilegeEscalation false
v1 Pod spec.containers[].securityContext.privileged false
v1 Pod spec.containers[].ports[].containerPort 0
v1 Pod spec.containers[].livenessProbe.terminationGracePeriodSeconds 0
v1 Pod spec.containers[].livenessProbe.grpc.service ""
v1 Pod spec.ephemeralContainers[].name ""
v1 Pod spec.tolerations[].tolerationSeconds 0
v1 Pod spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[].weight 0
v1 Pod spec.volumes[].configMap.defaultMode 0
v1 Pod spec.volumes[].secret.optional false
v1 Pod spec.volumes[].csi.readOnly false
v1 Pod spec.volumes[].iscsi.initiatorName ""
v1 Pod status.containerStatuses[].restartCount 0
v1 Pod status.containerStatuses[].started false
v1 Service spec.ports[].port 0
v1 Service spec.allocateLoadBalancerNodePorts false
v1 Service status.loadBalancer.ingress[].ports[].error ""
v1 PersistentVolumeClaim spec.storageClassName ""
v1 PersistentVolumeClaim spec.dataSource.apiGroup ""
v1 Event reportingComponent ""
v1 Event reportingInstance ""
v1 Node status.runtimeHandlers[].name ""
apps/v1 Deployment spec.replicas 0
apps/v1 Deployment spec.revisionHistoryLimit 0
apps/v1 Deployment status.terminatingReplicas 0
apps/v1 StatefulSet spec.serviceName ""
apps/v1 StatefulSet spec.ordinals.start 0
apps/v1 StatefulSet spec.updateStrategy.rollingUpdate.partition 0
apps/v1 StatefulSet status.availableReplicas 0
apps/v1 StatefulSet status.replicas 0
batch/v1 Job spec.parallelism 0
batch/v1 Job spec.suspend false
batch/v1 Job spec.ttlSecondsAfterFinished 0
batch/v1 Job spec.podFailurePolicy.rules[].onPodConditions[].status ""
batch/v1 Job status.ready 0
batch/v1 CronJob spec.suspend false
batch/v1 CronJob spec.successfulJobsHistoryLimit 0
autoscaling/v1 HorizontalPodAutoscaler spec.minReplicas 0
autoscaling/v2 HorizontalPodAutoscaler spec.behavior.scaleDown.stabilizationWindowSeconds 0
autoscaling/v2 HorizontalPodAutoscaler status.observedGeneration 0
autoscaling/v2 HorizontalPodAutoscaler status.desiredReplicas 0
policy/v1 PodDisruptionBudget status.disruptionsAllowed 0
scheduling.k8s.io/v1 PriorityClass value 0
networking.k8s.io/v1 Ingress spec.ingressClassName ""
networking.k8s.io/v1 NetworkPolicy spec.ingress[].ports[].endPort 0
discovery.k8s.io/v1 EndpointSlice ports[].name ""
discovery.k8s.io/v1 EndpointSlice endpoints[].conditions.ready false
coordination.k8s.io/v1 Lease spec.holderIdentity ""
coordination.k8s.io/v1 Lease spec.leaseTransitions 0
flowcontrol.apiserver.k8s.io/v1 FlowSchema spec.matchingPrecedence 0
flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration spec.limited.nominalConcurrencyShares 0
flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration spec.limited.limitResponse.queuing.queues 0
storage.k8s.io/v1 CSIDriver spec.attachRequired false
storage.k8s.io/v1 StorageClass allowVolumeExpansion false
resource.k8s.io/v1 ResourceSlice spec.devices[].allNodes false
resource.k8s.io/v1 ResourceSlice spec.pool.generation 0
resource.k8s.io/v1 ResourceClaim spec.devices.requests[].exactly.adminAccess false
rbac.authorization.k8s.io/v1 RoleBinding roleRef.apiGroup ""
authentication.k8s.io/v1 TokenRequest spec.expirationSeconds 0
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration webhooks[].timeoutSeconds 0
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration webhooks[].rules[].scope ""
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration webhooks[].clientConfig.service.port 0
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].served false
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.minimum 0.0
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.maxLength 0
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.$ref ""
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.x-kubernetes-list-type ""
v1 Pod metadata.deletionGracePeriodSeconds 0
v1 Pod metadata.ownerReferences[].controller false
v1 PodList metadata.remainingItemCount 0
"""

# Neither a pointer nor always written: the same as nothing.
IS_NOTHING = """
v1 Pod metadata.generation 0
v1 Pod metadata.namespace ""
v1 Pod spec.hostNetwork false
v1 Pod spec.nodeName ""
v1 Pod spec.containers[].tty false
v1 Pod spec.containers[].env[].value ""
v1 Pod spec.containers[].ports[].hostPort 0
v1 Pod spec.containers[].livenessProbe.failureThreshold 0
v1 Pod spec.containers[].livenessProbe.timeoutSeconds 0
v1 Pod spec.containers[].volumeMounts[].readOnly false
v1 Pod spec.volumes[].persistentVolumeClaim.readOnly false
v1 Pod spec.volumes[].projected.sources[].podCertificate.signerName ""
v1 Pod status.containerStatuses[].state.terminated.signal 0
v1 Service spec.ports[].nodePort 0
v1 Service spec.healthCheckNodePort 0
v1 Service spec.publishNotReadyAddresses false
v1 Node spec.unschedulable false
v1 Event count 0
v1 Endpoints subsets[].ports[].name ""
apps/v1 Deployment spec.minReadySeconds 0
apps/v1 Deployment spec.paused false
apps/v1 Deployment status.replicas 0
apps/v1 ReplicaSet status.observedGeneration 0
batch/v1 Job status.active 0
autoscaling/v1 Scale spec.replicas 0
autoscaling/v2 HorizontalPodAutoscaler status.currentReplicas 0
scheduling.k8s.io/v1 PriorityClass globalDefault false
networking.k8s.io/v1 IPAddress spec.parentRef.name ""
resource.k8s.io/v1 ResourceClaim spec.devices.requests[].exactly.count 0
flowcontrol.apiserver.k8s.io/v1 FlowSchema spec.rules[].resourceRules[].clusterScope false
authorization.k8s.io/v1 SubjectAccessReview status.denied false
authentication.k8s.io/v1 TokenReview status.authenticated false
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding spec.policyName ""
admissionregistration.k8s.io/v1 MutatingAdmissionPolicy spec.reinvocationPolicy ""
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].deprecated false
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.nullable false
apiextensions.k8s.io/v1 CustomResourceDefinition spec.versions[].schema.openAPIV3Schema.externalDocs.url ""
apiregistration.k8s.io/v1 APIService spec.insecureSkipTLSVerify false
v1 Status code 0
v1 Status details.retryAfterSeconds 0
"""


def _rows(text: str) -> list[tuple[str, str, str, str]]:
    return [
        (fields[0], fields[1], fields[2], fields[3]) for line in text.strip().splitlines() for fields in [line.split()]
    ]


def _placed(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tree with the value at a path, and the same tree without it."""
    name, _, rest = path.partition(".")
    inner, bare = _placed(rest, value) if rest else (value, None)
    if name.endswith("[]"):
        return {name[:-2]: [inner]}, {name[:-2]: [bare]}
    return {name: inner}, ({name: bare} if rest else {})


@pytest.mark.parametrize(("api_version", "kind", "path", "zero"), _rows(SAYS_SOMETHING))
def test_a_zero_that_says_something(api_version: str, kind: str, path: str, zero: str) -> None:
    """It is there after the way through protobuf."""
    tree = {"apiVersion": api_version, "kind": kind} | _placed(path, json.loads(zero))[0]
    assert protobuf.decode(protobuf.encode(tree)) == tree


@pytest.mark.parametrize(("api_version", "kind", "path", "zero"), _rows(IS_NOTHING))
def test_a_zero_that_is_nothing(api_version: str, kind: str, path: str, zero: str) -> None:
    """Go clients always write it, and mean nothing: the field is not there."""
    head = {"apiVersion": api_version, "kind": kind}
    tree, bare = _placed(path, json.loads(zero))
    assert protobuf.decode(protobuf.encode(head | tree)) == head | bare


@pytest.mark.parametrize("command", BODIES_OF_KUBECTL)
def test_kubectls_bodies_are_what_it_would_have_sent_as_json(command: str) -> None:
    """What kubectl 1.37 posted for a command, and its own JSON of the same object (--dry-run=client -o json)."""
    body = BODIES_OF_KUBECTL[command]
    assert _without_empty(protobuf.decode(bytes.fromhex(body["protobuf"]))) == _without_empty(body["json"])


def _without_empty(value: Any) -> Any:
    """Without null and [], which JSON has and protobuf cannot say."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item is not None and item != []}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


# Every field of pods and of what holds pods, against Go's own types: kubectl reads a local object into
# them and prints it.

ZEROS: dict[str, Any] = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0, "double": 0}
LEFT_OUT = {"Time", "MicroTime", "FieldsV1", "RawExtension", "JSON", "ManagedFieldsEntry"}
NEW_AFTER_1_36 = {"NodeAllocatableResourceClaimStatus"}
TOO_DEEP = 16
# Lists are merged by these: kubectl wants them.
MERGE_KEYS = {
    "Container.name", "EphemeralContainerCommon.name", "Volume.name", "VolumeMount.mountPath", "VolumeDevice.devicePath",
    "EnvVar.name", "ContainerPort.containerPort", "HostAlias.ip", "LocalObjectReference.name", "OwnerReference.uid",
    "PodIP.ip", "HostIP.ip", "PodCondition.type", "PodResourceClaim.name", "PodSchedulingGate.name",
    "PodResourceClaimStatus.name", "TopologySpreadConstraint.topologyKey", "ResourceStatus.name",
}  # fmt: skip


def _all_zero(message: str, depth: int = 0) -> dict[str, Any]:
    """A tree with every field, each scalar zero."""
    tree: dict[str, Any] = {}
    for field in protobuf_table.message(message).fields:
        value = _zero(field.kind, depth + 1)
        if field.inline:
            tree |= _all_zero(field.kind, depth)
        elif f"{message.rpartition('.')[2]}.{field.name}" in MERGE_KEYS:
            tree[field.name] = "k" if field.kind == "string" else 1
        elif value is not None:
            tree[field.name] = {"k": value} if field.is_map else [value] if field.repeated else value
    return tree


def _zero(kind: str, depth: int) -> Any:
    name = kind.rpartition(".")[2]
    if name in ZEROS:
        return ZEROS[name]
    if name in ("Quantity", "IntOrString"):
        return "1" if name == "Quantity" else 0
    return None if name in LEFT_OUT | NEW_AFTER_1_36 or depth > TOO_DEEP else _all_zero(kind, depth)


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("v1", "Pod"), ("v1", "ReplicationController"), ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"),
     ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("batch/v1", "CronJob")],
)  # fmt: skip
def test_every_zero_of_a_workload_as_gos_types_have_it(api_version: str, kind: str) -> None:
    """What Go's types keep is what the way through protobuf keeps: for each field, one by one."""
    message = protobuf_table.message_for(api_version.rpartition("/")[0], "v1", kind)
    assert message is not None
    tree = {"apiVersion": api_version, "kind": kind} | _all_zero(message)
    tree["metadata"]["name"] = "x"
    done = subprocess.run(
        [KUBECTL, "set", "env", "--local", "-f", "-", "A=b", "-o", "json"],
        input=json.dumps(tree), capture_output=True, text=True, timeout=60, check=False,
        env={"KUBECONFIG": "/dev/null", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = _without_env(json.loads(done.stdout))
    assert _without_empty(_without_env(protobuf.decode(protobuf.encode(tree)))) == _without_empty(theirs)


def _without_env(value: Any) -> Any:
    """Without containers' variables, which the command sets."""
    if isinstance(value, dict):
        return {key: _without_env(item) for key, item in value.items() if key != "env"}
    return [_without_env(item) for item in value] if isinstance(value, list) else value


def test_every_kind_has_its_messages() -> None:
    """Each built-in kind, in each version, and the list of those that are stored."""
    for kind in (*KINDS, *BODIES):
        for version in kind.versions:
            assert protobuf.message_for(kind.group, version, kind.name), kind.name
            assert kind.not_stored or protobuf.message_for(kind.group, version, kind.list_kind), kind.list_kind
