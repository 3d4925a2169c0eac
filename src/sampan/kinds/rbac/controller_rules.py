"""The rules of the built-in controllers' roles (system:controller:NAME), as data.

Each is bound to the service account of the same name in kube-system, as in the reference server.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles
"""

from sampan.kinds.parts.rbac_words import Rule, allow

_READ = "get list watch"
_SEE = "list watch"
_LIVE = "create delete get list update watch"
_ALL = "create delete get list patch update watch"
_SET = "patch update"
_STORAGE = "storage.k8s.io"
_RESOURCE = "resource.k8s.io"
_NETWORK = "networking.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_APPS = "apps extensions"
_EVENTS = allow("create patch update", "core events.k8s.io", "events")
_SIGNERS = (
    "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving "
    "kubernetes.io/legacy-unknown"
)

_WORKLOADS: dict[str, tuple[Rule, ...]] = {
    "cronjob-controller": (
        allow("get list update watch", "batch", "cronjobs"),
        allow(_ALL, "batch", "jobs"),
        allow("update", "batch", "cronjobs/status"),
        allow("update", "batch", "cronjobs/finalizers"),
        allow("delete list watch", "core", "pods"),
        _EVENTS,
    ),
    "daemon-set-controller": (
        allow(_READ, _APPS, "daemonsets"),
        allow("update", _APPS, "daemonsets/status"),
        allow("update", _APPS, "daemonsets/finalizers"),
        allow(_SEE, "core", "nodes"),
        allow("create delete list patch watch", "core", "pods"),
        allow("create", "core", "pods/binding"),
        allow(_ALL, "apps", "controllerrevisions"),
        _EVENTS,
    ),
    "deployment-controller": (
        allow("get list update watch", _APPS, "deployments"),
        allow("update", _APPS, "deployments/status"),
        allow("update", _APPS, "deployments/finalizers"),
        allow(_ALL, _APPS, "replicasets"),
        allow("get list update watch", "core", "pods"),
        _EVENTS,
    ),
    "disruption-controller": (
        allow(_READ, _APPS, "deployments"),
        allow(_READ, _APPS, "replicasets"),
        allow(_READ, "core", "replicationcontrollers"),
        allow(_READ, "policy", "poddisruptionbudgets"),
        allow(_READ, "apps", "statefulsets"),
        allow("update", "policy", "poddisruptionbudgets/status"),
        allow(_SET, "core", "pods/status"),
        allow("get", "*", "*/scale"),
        _EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        allow(_READ, "autoscaling", "horizontalpodautoscalers"),
        allow("update", "autoscaling", "horizontalpodautoscalers/status"),
        allow("get update", "*", "*/scale"),
        allow(_SEE, "core", "pods"),
        allow("list", "metrics.k8s.io", "pods"),
        allow("get list", "custom.metrics.k8s.io", "*"),
        allow("get list", "external.metrics.k8s.io", "*"),
        _EVENTS,
    ),
    "job-controller": (
        allow("get list patch update watch", "batch", "jobs"),
        allow("update", "batch", "jobs/status"),
        allow("update", "batch", "jobs/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "replicaset-controller": (
        allow("get list update watch", _APPS, "replicasets"),
        allow("update", _APPS, "replicasets/status"),
        allow("update", _APPS, "replicasets/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "replication-controller": (
        allow("get list update watch", "core", "replicationcontrollers"),
        allow("update", "core", "replicationcontrollers/status"),
        allow("update", "core", "replicationcontrollers/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "statefulset-controller": (
        allow(_SEE, "core", "pods"),
        allow(_READ, "apps", "statefulsets"),
        allow("update", "apps", "statefulsets/status"),
        allow("update", "apps", "statefulsets/finalizers"),
        allow("create delete get patch update", "core", "pods"),
        allow(_ALL, "apps", "controllerrevisions"),
        allow("create get list watch", "core", "persistentvolumeclaims"),
        allow("delete update", "core", "persistentvolumeclaims"),
        allow("update", "core", "pods/finalizers"),
        _EVENTS,
    ),
    "ttl-after-finished-controller": (allow("delete get list watch", "batch", "jobs"), _EVENTS),
}

_NETWORKING: dict[str, tuple[Rule, ...]] = {
    "endpoint-controller": (
        allow(_READ, "core", "pods services"),
        allow(_LIVE, "core", "endpoints"),
        allow("create", "core", "endpoints/restricted"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        allow(_READ, "core", "nodes pods services"),
        allow("update", "core", "services/finalizers"),
        allow(_LIVE, "discovery.k8s.io", "endpointslices"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        allow(_READ, "core", "endpoints services"),
        allow("update", "core", "services/finalizers"),
        allow("update", "core", "endpoints/finalizers"),
        allow(_LIVE, "discovery.k8s.io", "endpointslices"),
        _EVENTS,
    ),
    "route-controller": (allow(_SEE, "core", "nodes"), allow("patch", "core", "nodes/status"), _EVENTS),
    "service-controller": (
        allow(_READ, "core", "services"),
        allow(_SET, "core", "services/status"),
        allow(_SEE, "core", "nodes"),
        _EVENTS,
    ),
    "service-cidrs-controller": (
        allow("get list patch update watch", _NETWORK, "servicecidrs"),
        allow(_SET, _NETWORK, "servicecidrs/finalizers"),
        allow(_SET, _NETWORK, "servicecidrs/status"),
        allow(_READ, _NETWORK, "ipaddresses"),
        _EVENTS,
    ),
}

_VOLUMES: dict[str, tuple[Rule, ...]] = {
    "attachdetach-controller": (
        allow(_SEE, "core", "persistentvolumeclaims persistentvolumes"),
        allow(_READ, "core", "nodes"),
        allow(_SET, "core", "nodes/status"),
        allow(_SEE, "core", "pods"),
        _EVENTS,
        allow("create delete get list watch", _STORAGE, "volumeattachments"),
        allow(_READ, _STORAGE, "csidrivers"),
        allow(_READ, _STORAGE, "csinodes"),
    ),
    "ephemeral-volume-controller": (
        allow(_READ, "core", "pods"),
        allow("update", "core", "pods/finalizers"),
        allow("create get list watch", "core", "persistentvolumeclaims"),
        _EVENTS,
    ),
    "expand-controller": (
        allow("get list patch update watch", "core", "persistentvolumes"),
        allow(_SET, "core", "persistentvolumeclaims/status"),
        allow(_READ, "core", "persistentvolumeclaims"),
        _EVENTS,
        allow("get", "core", "services"),
    ),
    "persistent-volume-binder": (
        allow(_LIVE, "core", "persistentvolumes"),
        allow("update", "core", "persistentvolumes/status"),
        allow("get list update watch", "core", "persistentvolumeclaims"),
        allow("update", "core", "persistentvolumeclaims/status"),
        allow("create delete get list watch", "core", "pods"),
        allow(_READ, _STORAGE, "storageclasses"),
        allow(_SEE, "core", "nodes"),
        _EVENTS,
        allow("watch", "core", "events"),
        allow("get", "core", "services"),
    ),
    "pv-protection-controller": (allow("get list update watch", "core", "persistentvolumes"), _EVENTS),
    "pvc-protection-controller": (
        allow("get list update watch", "core", "persistentvolumeclaims"),
        allow(_READ, "core", "pods"),
        _EVENTS,
    ),
    "selinux-warning-controller": (
        _EVENTS,
        allow(_READ, "core", "persistentvolumes"),
        allow(_READ, "core", "persistentvolumeclaims"),
        allow(_READ, "core", "pods"),
        allow(_READ, _STORAGE, "csidrivers"),
    ),
    "volumeattributesclass-protection-controller": (
        allow(_READ, "core", "persistentvolumeclaims"),
        allow(_READ, "core", "persistentvolumes"),
        allow("get list update watch", _STORAGE, "volumeattributesclasses"),
        _EVENTS,
    ),
}

_CLUSTER: dict[str, tuple[Rule, ...]] = {
    "certificate-controller": (
        allow("delete get list watch", _CERTIFICATES, "certificatesigningrequests"),
        allow("update", _CERTIFICATES, "certificatesigningrequests/approval certificatesigningrequests/status"),
        allow("approve", _CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        allow("sign", _CERTIFICATES, "signers", _SIGNERS),
        allow("create", "authorization.k8s.io", "subjectaccessreviews"),
        _EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        allow("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles"),
    ),
    "device-taint-eviction-controller": (
        allow("delete get list watch", "core", "pods"),
        allow(_SET, "core", "pods/status"),
        allow(_READ, _RESOURCE, "resourceclaims"),
        allow(_READ, _RESOURCE, "resourceslices"),
        allow(_READ, _RESOURCE, "deviceclasses"),
        allow(_READ, _RESOURCE, "devicetaintrules"),
        _EVENTS,
    ),
    "generic-garbage-collector": (allow("delete get list patch update watch", "*", "*"), _EVENTS),
    "legacy-service-account-token-cleaner": (
        allow("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
        allow("delete patch", "core", "secrets"),
    ),
    "namespace-controller": (
        allow("delete get list watch", "core", "namespaces"),
        allow("update", "core", "namespaces/finalize namespaces/status"),
        allow("delete deletecollection get list watch", "*", "*"),
    ),
    "node-controller": (
        allow("delete get list patch update watch", "core", "nodes"),
        allow(_SET, "core", "nodes/status"),
        allow(_SET, "core", "pods/status"),
        allow("delete get list watch", "core", "pods"),
        _EVENTS,
    ),
    "pod-garbage-collector": (
        allow("delete list watch", "core", "pods"),
        allow(_READ, "core", "nodes"),
        allow("patch", "core", "pods/status"),
    ),
    "resource-claim-controller": (
        allow(_READ, "core", "pods"),
        allow("update", "core", "pods/finalizers"),
        allow("create delete get list watch", _RESOURCE, "resourceclaims"),
        allow(_SET, _RESOURCE, "resourceclaims resourceclaims/status"),
        allow(_SET, _RESOURCE, "resourceclaims/binding"),
        allow("arbitrary-node:patch arbitrary-node:update", _RESOURCE, "resourceclaims/driver"),
        allow(_SET, "core", "pods/status"),
        _EVENTS,
    ),
    "resourcequota-controller": (
        allow(_SEE, "*", "*"),
        allow("update", "core", "resourcequotas/status"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": (allow("create update", "core", "configmaps"), _EVENTS),
    "service-account-controller": (allow("create", "core", "serviceaccounts"), _EVENTS),
    "ttl-controller": (allow("list patch update watch", "core", "nodes"), _EVENTS),
    "validatingadmissionpolicy-status-controller": (
        allow(_READ, _ADMISSION, "validatingadmissionpolicies"),
        allow("get patch update", _ADMISSION, "validatingadmissionpolicies/status"),
        _EVENTS,
    ),
}

CONTROLLERS: dict[str, tuple[Rule, ...]] = dict(sorted({**_WORKLOADS, **_NETWORKING, **_VOLUMES, **_CLUSTER}.items()))
