"""The conformance tests that walk one kind through its whole API, for each such kind, in JSON and in protobuf.

A number is the test's position in upstream's list of conformance tests; kinds without one have no such test.
"""

from typing import Any

import pytest

from tests.requests import request
from tests.server import lifecycle
from tests.server.conftest import Api, pod
from tests.server.lifecycle import Subject

TIME = "2026-01-01T00:00:00Z"
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
SELECTED = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}
RULES = [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]
MATCHED = {"matchConstraints": {"resourceRules": RULES}}

WHOLE = (  # of these a write to /status changes no metadata
    "flowschemas", "prioritylevelconfigurations", "resourceclaims", "servicecidrs", "validatingadmissionpolicies",
    "volumeattachments",
)  # fmt: skip

Tree = dict[str, Any]


def condition(kind: str = "StatusPatched") -> Tree:
    return {"type": kind, "status": "True", "reason": "E2E", "message": "Set by e2e test", "lastTransitionTime": TIME}


def core(plural: str, kind: str, *, status: Tree | None = None, scope: str = "/namespaces/default", **body: Any) -> Any:
    obj = {"kind": kind, "apiVersion": "v1", **body}
    return Subject(f"/api/v1{scope}/{plural}", obj, status, patch="strategic")


def grouped(group: str, plural: str, kind: str, *, status: Tree | None = None, scope: str = "", **body: Any) -> Any:
    obj = {"kind": kind, "apiVersion": group, **body}
    path = f"/apis/{group}{scope and '/namespaces/' + scope}/{plural}"
    return Subject(path, obj, status, is_annotated=plural not in WHOLE)


def admission(plural: str, kind: str, **spec: Any) -> Subject:
    status = {"conditions": [condition()]} if kind == "ValidatingAdmissionPolicy" else None
    return grouped("admissionregistration.k8s.io/v1", plural, kind, status=status, spec=spec)


def storage(plural: str, kind: str, *, status: Tree | None = None, scope: str = "", **body: Any) -> Any:
    return grouped("storage.k8s.io/v1", plural, kind, status=status, scope=scope, **body)


def apps(plural: str, kind: str, status: Tree | None, **spec: Any) -> Subject:
    return grouped("apps/v1", plural, kind, status=status, scope="default", spec={**SELECTED, **spec})


def devices(plural: str, kind: str, spec: Tree, scope: str = "", status: Tree | None = None) -> Subject:
    return grouped("resource.k8s.io/v1", plural, kind, scope=scope, spec=spec, status=status)


REQUESTS = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
FLOW = {
    "matchingPrecedence": 9999, "priorityLevelConfiguration": {"name": "global-default"},
    "rules": [{"subjects": [{"kind": "User", "user": {"name": "example-e2e"}}], "nonResourceRules": [
        {"verbs": ["*"], "nonResourceURLs": ["*"]}]}],
}  # fmt: skip
LEVEL = {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}
SIGNED = {"request": request("e2e"), "signerName": "example.com/e2e", "usages": ["client auth"]}
ABOUT = {"kind": "Pod", "namespace": "default", "name": "p"}
NEW_EVENT = {
    "eventTime": "2026-01-01T00:00:00.123456Z", "regarding": ABOUT, "reason": "r", "action": "a", "type": "Normal",
    "reportingController": "example.com/c", "reportingInstance": "c-1",
}  # fmt: skip
CAPACITY = {"storageClassName": "fast", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"a": "b"}}}
CSI = {"csi": {"driver": "e2e.example.com", "volumeHandle": "h"}}
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **CSI}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
ATTACHED = {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
BACKEND = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
ADDRESS = {"parentRef": {"group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar"}}
CRON = {"schedule": "*/1 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
    **TEMPLATE["spec"], "restartPolicy": "OnFailure"}}}}}  # fmt: skip
SLICE = {
    "driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
    "devices": [{"name": "d-0"}],
}  # fmt: skip
POINTS = {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": [{"name": "h", "port": 80}]}
SUBSETS = [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]
BALANCED = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
MUTATIONS = [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]
HANDLED = {"conditions": [{**condition(), "lastUpdateTime": TIME}], "certificate": ""}
SCALED = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}
DISRUPTED = {
    "conditions": [condition()], "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
}  # fmt: skip

SUBJECTS = {
    "0": grouped("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", spec=FLOW,
        status={"conditions": [condition()]}),
    "1": grouped("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration",
        spec=LEVEL, status={"conditions": [condition()]}),
    "2": grouped("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    "3": grouped("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration"),
    "65": admission("mutatingadmissionpolicies", "MutatingAdmissionPolicy", **MATCHED, mutations=MUTATIONS,
        reinvocationPolicy="Never"),
    "66": admission("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", policyName="p"),
    "74-83": core("resourcequotas", "ResourceQuota", spec={"hard": {"cpu": "500m"}}, status={"hard": {"cpu": "1"}}),
    "90": admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy", **MATCHED,
        validations=[{"expression": "object.spec.replicas <= 100"}]),
    "91": admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", policyName="p",
        validationActions=["Deny"]),
    "99": grouped("apps/v1", "controllerrevisions", "ControllerRevision", scope="default", revision=3,
        data={"spec": {"a": 1}}),
    "104": grouped("batch/v1", "cronjobs", "CronJob", scope="default", spec=CRON, status={"lastScheduleTime": TIME}),
    "105": apps("daemonsets", "DaemonSet", {"conditions": [condition()]}),
    "115": apps("deployments", "Deployment", {"conditions": [{**condition(), "lastUpdateTime": TIME}]}),
    "122": grouped("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", scope="default",
        spec={"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}, status=DISRUPTED),
    "128": grouped("batch/v1", "jobs", "Job", scope="default", status={"conditions": [condition()]}, spec={
        "suspend": True, "template": CRON["jobTemplate"]["spec"]["template"]}),
    "141": apps("replicasets", "ReplicaSet", {"conditions": [condition()]}),
    "147": core("replicationcontrollers", "ReplicationController", spec={"template": TEMPLATE},
        status={"conditions": [condition()], "replicas": 0}),
    "156": apps("statefulsets", "StatefulSet", {"conditions": [condition()], "replicas": 0}, serviceName="s"),
    "160": grouped("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", spec=SIGNED,
        status={"conditions": [{**condition(), "lastUpdateTime": TIME}]}),
    "167": core("serviceaccounts", "ServiceAccount"),
    "187-188": grouped("events.k8s.io/v1", "events", "Event", scope="default", **NEW_EVENT),
    "189-190": core("events", "Event", involvedObject=ABOUT, reason="r", message="m", type="Normal"),
    "205": grouped("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", scope="default", **POINTS),
    "207": core("endpoints", "Endpoints", subsets=SUBSETS),
    "211": grouped("networking.k8s.io/v1", "ingresses", "Ingress", scope="default", spec=BACKEND, status=BALANCED),
    "212": grouped("networking.k8s.io/v1", "ingressclasses", "IngressClass", spec={"controller": "example.com/c"}),
    "221": Subject("/apis/networking.k8s.io/v1/ipaddresses", {
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1", "spec": ADDRESS},
        names=("192.0.2.1", "255.255.255.255", "fe80::42:1dff:fe84:f9e2")),
    "222": grouped("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", spec={"cidrs": ["203.0.113.0/24"]},
        status={"conditions": [condition()]}),
    "230-232": core("services", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80}]}, status=BALANCED),
    "242": core("configmaps", "ConfigMap", data={"k": "v"}, binaryData={"b": "AAH/"}),
    "276": grouped("coordination.k8s.io/v1", "leases", "Lease", scope="default", spec={
        "holderIdentity": "h", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.123456Z", "renewTime": "2026-01-01T00:00:00.123456Z"}),
    "279": core("nodes", "Node", scope="", spec={"unschedulable": True}, status={"conditions": [condition()]}),
    "286-288": core("podtemplates", "PodTemplate", template=TEMPLATE),
    "289": core("pods", "Pod", spec=pod("p")["spec"], status={"conditions": [{"type": "Ready", "status": "False"}]}),
    "318": grouped("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", handler="handler"),
    "323": core("secrets", "Secret", data={"k": "dmFsdWU="}, type="Opaque"),
    "340": devices("deviceclasses", "DeviceClass", {}),
    "341": devices("resourceclaims", "ResourceClaim", REQUESTS, "default", {"allocation": {"devices": {}}}),
    "342": devices("resourceclaimtemplates", "ResourceClaimTemplate", {"spec": REQUESTS}, "default"),
    "343": devices("resourceslices", "ResourceSlice", SLICE),
    "344-345": core("limitranges", "LimitRange", spec={"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}),
    "351": grouped("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", value=7),
    "355": storage("csidrivers", "CSIDriver", spec={"volumeLifecycleModes": ["Ephemeral"]}),
    "357": storage("csinodes", "CSINode", spec={"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["k"]}]}),
    "358": storage("csistoragecapacities", "CSIStorageCapacity", scope="default", **CAPACITY),
    "398-399 pv": core("persistentvolumes", "PersistentVolume", scope="", spec=VOLUME,
        status={"message": "StatusPatched", "reason": "E2E"}),
    "398-399 pvc": core("persistentvolumeclaims", "PersistentVolumeClaim", spec=CLAIM,
        status={"conditions": [condition()]}),
    "437": storage("storageclasses", "StorageClass", provisioner="e2e.example.com", reclaimPolicy="Retain"),
    "443-444": storage("volumeattachments", "VolumeAttachment", spec=ATTACHED, status={"attached": True}),
    "445": storage("volumeattributesclasses", "VolumeAttributesClass", driverName="e2e.example.com",
        parameters={"iops": "1"}),
    "hpa v1": grouped("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", scope="default",
        spec={**SCALED, "targetCPUUtilizationPercentage": 5}, status={"currentReplicas": 1, "desiredReplicas": 2}),
    "hpa v2": grouped("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", scope="default",
        spec=SCALED, status={"currentReplicas": 1, "desiredReplicas": 2}),
    "network policy": grouped("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", scope="default",
        spec={"podSelector": {}}),
    "role": grouped("rbac.authorization.k8s.io/v1", "roles", "Role", scope="default", rules=[]),
    "role binding": grouped("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", scope="default",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}),
    "cluster role": grouped("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", rules=[]),
    "cluster role binding": grouped("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}),
}  # fmt: skip


@pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)
@pytest.mark.parametrize("line", SUBJECTS)
async def test_a_life_in_json(api: Api, line: str) -> None:
    """0-3, 65, 66, 83, 90, 91, 99, 104, 160, 167, 187-190, 205, 207, 211, 212, 221, 222, 230-232, 242, 276 ...: JSON."""
    await lifecycle.walk(api, SUBJECTS[line])


@pytest.mark.parametrize("api", ["https-sqlite"], indirect=True)
@pytest.mark.parametrize("line", SUBJECTS)
async def test_a_life_in_protobuf(api: Api, line: str) -> None:
    """279, 286-288, 318, 323, 340-345, 351, 355-358, 398, 399, 437, 443-445 and all of the above: Go clients' default."""
    await lifecycle.walk(api, SUBJECTS[line], is_protobuf=True)
