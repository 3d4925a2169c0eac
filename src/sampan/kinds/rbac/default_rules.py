"""The rules of the default roles, and who they are bound to, as data.

Rules may name kinds that this server does not serve (yet): they are those of the reference server. Four roles are
our own: system:sampan:node-network, what a node agent reads to be its pods' network (docs/decisions/0013),
system:sampan:node-dns, how its name server is configured, system:sampan:node-authority, whom it trusts, and
system:sampan:node-serving, by which a node's serving certificate needs nobody's hand (docs/decisions/0016).
"""

from sampan.kinds.parts.rbac_words import Rule, Subject, allow, group, service_account, urls, user

_RBAC = "rbac.authorization.k8s.io"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_READ_UPDATE = "get list patch update watch"
_ALL = f"{_WRITE} {_READ}"

_EVENTS = allow("create patch update", "core events.k8s.io", "events")
_AUTHN = allow("create", "authentication.k8s.io", "tokenreviews")
_AUTHZ = allow("create", "authorization.k8s.io", "subjectaccessreviews")
_LEASES = "coordination.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_STORAGE = "storage.k8s.io"
_RESOURCE = "resource.k8s.io"

_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
    "statefulsets statefulsets/scale"
)
_WORKLOAD_STATUS = "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status"
_OLD_WORKLOADS = (
    "daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale "
    "replicationcontrollers/scale"
)
_CORE_VIEW = (
    "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
    "replicationcontrollers/scale serviceaccounts services services/status"
)

_TO_ADMIN = (
    allow("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    allow(_ALL, _RBAC, "rolebindings roles"),
)
_TO_EDIT = (
    allow(_READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    allow("impersonate", "core", "serviceaccounts"),
    allow(_WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    allow("create", "core", "pods/eviction"),
    allow(
        _WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    allow("create", "core", "serviceaccounts/token"),
    allow(_WRITE, "apps", _WORKLOADS),
    allow(_WRITE, "autoscaling", "horizontalpodautoscalers"),
    allow(_WRITE, "batch", "cronjobs jobs"),
    allow(_WRITE, "extensions", f"{_OLD_WORKLOADS} deployments/rollback"),
    allow(_WRITE, "policy", "poddisruptionbudgets"),
    allow(_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    allow(_ALL, _LEASES, "leases"),
    allow(_WRITE, _RESOURCE, "resourceclaims resourceclaimtemplates"),
)
_TO_VIEW = (
    allow(_READ, "core", _CORE_VIEW),
    allow(
        _READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    allow(_READ, "core", "namespaces"),
    allow(_READ, "discovery.k8s.io", "endpointslices"),
    allow(_READ, "apps", f"{_WORKLOADS.replace('deployments/rollback ', '')} {_WORKLOAD_STATUS}"),
    allow(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    allow(_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    allow(
        _READ,
        "extensions",
        f"{_OLD_WORKLOADS} daemonsets/status deployments/status ingresses/status replicasets/status",
    ),
    allow(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    allow(_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    allow(_READ, _RESOURCE, "resourceclaims resourceclaims/status resourceclaimtemplates"),
)

_SCHEDULER = (
    _EVENTS,
    allow("create", _LEASES, "leases"),
    allow("get list update watch", _LEASES, "leases", "kube-scheduler"),
    allow(_READ, "core", "nodes"),
    allow("delete get list watch", "core", "pods"),
    allow("create", "core", "bindings pods/binding"),
    allow("patch update", "core", "pods/status"),
    allow(_READ, "core", "replicationcontrollers services"),
    allow(_READ, "apps extensions", "replicasets"),
    allow(_READ, "apps", "statefulsets"),
    allow(_READ, "policy", "poddisruptionbudgets"),
    allow(_READ, "core", "persistentvolumeclaims persistentvolumes"),
    _AUTHN,
    _AUTHZ,
    allow(_READ, _STORAGE, "csinodes"),
    allow(_READ, "core", "namespaces"),
    allow(_READ, _STORAGE, "csidrivers"),
    allow(_READ, _STORAGE, "csistoragecapacities"),
    allow(_READ, _STORAGE, "volumeattachments"),
    allow(_READ, _RESOURCE, "deviceclasses"),
    allow(_READ_UPDATE, _RESOURCE, "resourceclaims"),
    allow(_READ_UPDATE, _RESOURCE, "resourceclaims/status"),
    allow(_READ_UPDATE, "core", "pods/finalizers"),
    allow(_READ, _RESOURCE, "resourceslices"),
    allow("create delete", _RESOURCE, "resourceclaims"),
    allow("patch update", _RESOURCE, "resourceclaims/binding"),
    allow("arbitrary-node:patch arbitrary-node:update", _RESOURCE, "resourceclaims/driver"),
)
_CONTROLLER_MANAGER = (
    _EVENTS,
    allow("create", _LEASES, "leases"),
    allow("get update", _LEASES, "leases", "kube-controller-manager"),
    allow("create", "core", "secrets serviceaccounts"),
    allow("delete", "core", "secrets"),
    allow("get", "core", "configmaps namespaces secrets serviceaccounts"),
    allow("update", "core", "secrets serviceaccounts"),
    _AUTHN,
    _AUTHZ,
    allow("list watch", "*", "*"),
    allow("create", "core", "serviceaccounts/token"),
)
_NODE = (
    _AUTHN,
    allow("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    allow(_READ, "core", "services"),
    allow("create get list watch", "core", "nodes"),
    allow("patch update", "core", "nodes/status"),
    allow("patch update", "core", "nodes"),
    allow("create patch update", "core", "events"),
    allow(_READ, "core", "pods"),
    allow("create delete", "core", "pods"),
    allow("patch update", "core", "pods/status"),
    allow("create", "core", "pods/eviction"),
    allow(_READ, "core", "configmaps secrets"),
    allow("get", "core", "persistentvolumeclaims persistentvolumes"),
    allow("get", "core", "endpoints"),
    allow("create get list watch", _CERTIFICATES, "certificatesigningrequests"),
    allow("create delete get patch update", _LEASES, "leases"),
    allow("get", _STORAGE, "volumeattachments"),
    allow("create", "core", "serviceaccounts/token"),
    allow("get patch update", "core", "persistentvolumeclaims/status"),
    allow(_READ, _STORAGE, "csidrivers"),
    allow("create delete get patch update", _STORAGE, "csinodes"),
    allow(_READ, "node.k8s.io", "runtimeclasses"),
    allow("get", _RESOURCE, "resourceclaims"),
    allow(_ALL, _RESOURCE, "resourceslices"),
)
_PROXIER = (
    allow("list watch", "core", "endpoints services"),
    allow(_READ, "core", "nodes"),
    _EVENTS,
    allow("list watch", "networking.k8s.io", "servicecidrs"),
    allow("list watch", "discovery.k8s.io", "endpointslices"),
)
_NODE_NETWORK = (
    allow(_READ, "core", "namespaces nodes services"),
    allow("list watch", "core", "pods"),
    allow(_READ, "discovery.k8s.io", "endpointslices"),
    allow(_READ, "networking.k8s.io", "networkpolicies"),
)
_PROVISIONER = (
    allow("create delete get list watch", "core", "persistentvolumes"),
    allow("get list update watch", "core", "persistentvolumeclaims"),
    allow(_READ, _STORAGE, "storageclasses"),
    allow("watch", "core", "events"),
    _EVENTS,
)
_HEALTH = "/healthz /livez /readyz"
_DISCOVERY = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
_ISSUER = "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"


def _approver(signer: str) -> tuple[Rule, ...]:
    return (allow("approve", _CERTIFICATES, "signers", f"kubernetes.io/{signer}"),)


CLUSTER_ROLES: dict[str, tuple[Rule, ...]] = {
    "cluster-admin": (allow("*", "*", "*"), urls("*", "*")),
    "system:discovery": (urls("get", _DISCOVERY),),
    "system:public-info-viewer": (urls("get", f"{_HEALTH} /version /version/"),),
    "system:monitoring": (urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),),
    "system:basic-user": (
        allow("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        allow("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:service-account-issuer-discovery": (urls("get", _ISSUER),),
    "system:auth-delegator": (_AUTHN, _AUTHZ),
    "system:heapster": (
        allow(_READ, "core", "events namespaces nodes pods"),
        allow(_READ, "extensions", "deployments"),
    ),
    "system:kube-aggregator": (allow(_READ, "core", "endpoints services"),),
    "system:kubelet-api-admin": (
        allow(_READ, "core", "nodes"),
        allow("proxy", "core", "nodes"),
        allow(
            "*",
            "core",
            "nodes/checkpoint nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
        ),
    ),
    "system:aggregate-to-admin": _TO_ADMIN,
    "system:aggregate-to-edit": _TO_EDIT,
    "system:aggregate-to-view": _TO_VIEW,
    "system:aggregated-metrics-reader": (allow(_READ, "metrics.k8s.io", "pods nodes"),),
    "system:kube-scheduler": _SCHEDULER,
    "system:volume-scheduler": (
        allow(_READ_UPDATE, "core", "persistentvolumes"),
        allow(_READ, _STORAGE, "storageclasses"),
        allow(_READ_UPDATE, "core", "persistentvolumeclaims"),
    ),
    "system:kube-controller-manager": _CONTROLLER_MANAGER,
    "system:node": _NODE,
    "system:node-bootstrapper": (allow("create get list watch", _CERTIFICATES, "certificatesigningrequests"),),
    "system:node-problem-detector": (allow("get", "core", "nodes"), allow("patch", "core", "nodes/status"), _EVENTS),
    "system:node-proxier": _PROXIER,
    "system:sampan:node-network": _NODE_NETWORK,
    "system:sampan:node-serving": (allow("create", _CERTIFICATES, "certificatesigningrequests/selfnodeserving"),),
    "system:kube-dns": (allow("list watch", "core", "endpoints services"),),
    "system:persistent-volume-provisioner": _PROVISIONER,
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        allow("create", _CERTIFICATES, "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        allow("create", _CERTIFICATES, "certificatesigningrequests/selfnodeclient"),
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": _approver("kube-apiserver-client"),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": _approver("kube-apiserver-client-kubelet"),
    "system:certificates.k8s.io:kubelet-serving-approver": _approver("kubelet-serving"),
    "system:certificates.k8s.io:legacy-unknown-approver": _approver("legacy-unknown"),
}

ROLES: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        (allow(_READ, "core", "configmaps", "extension-apiserver-authentication"),),
    ),
    ("kube-system", "system:controller:bootstrap-signer", (allow(_READ, "core", "secrets"),)),
    ("kube-system", "system:controller:cloud-provider", (allow("create get list watch", "core", "configmaps"),)),
    ("kube-system", "system:controller:token-cleaner", (allow("delete get list watch", "core", "secrets"), _EVENTS)),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        (allow("watch", "core", "configmaps"), allow("get update", "core", "configmaps", "kube-controller-manager")),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        (allow("watch", "core", "configmaps"), allow("get update", "core", "configmaps", "kube-scheduler")),
    ),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        (allow(_READ, "core", "configmaps"), allow("update", "core", "configmaps", "cluster-info"), _EVENTS),
    ),
    ("kube-system", "system:sampan:node-dns", (allow(_READ, "core", "configmaps", "kube-dns"),)),
    ("kube-system", "system:sampan:node-authority", (allow("get", "core", "configmaps", "kube-root-ca.crt"),)),
)

_AUTHENTICATED = group("system:authenticated")

CLUSTER_BINDINGS: tuple[tuple[str, str, tuple[Subject, ...]], ...] = (
    ("cluster-admin", "cluster-admin", (group("system:masters"),)),
    ("system:monitoring", "system:monitoring", (group("system:monitoring"),)),
    ("system:discovery", "system:discovery", (_AUTHENTICATED,)),
    ("system:basic-user", "system:basic-user", (_AUTHENTICATED,)),
    ("system:public-info-viewer", "system:public-info-viewer", (_AUTHENTICATED, group("system:unauthenticated"))),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        (group("system:serviceaccounts"),),
    ),
    ("system:kube-scheduler", "system:kube-scheduler", (user("system:kube-scheduler"),)),
    ("system:volume-scheduler", "system:volume-scheduler", (user("system:kube-scheduler"),)),
    ("system:kube-controller-manager", "system:kube-controller-manager", (user("system:kube-controller-manager"),)),
    ("system:node", "system:node", ()),
    ("system:node-proxier", "system:node-proxier", (user("system:kube-proxy"),)),
    ("system:kube-dns", "system:kube-dns", (service_account("kube-system", "kube-dns"),)),
    ("system:sampan:node-network", "system:sampan:node-network", (group("system:nodes"),)),
    ("system:sampan:node-serving", "system:sampan:node-serving", (group("system:nodes"),)),
    (
        "system:sampan:node-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        (group("system:nodes"),),
    ),
)

BINDINGS: tuple[tuple[str, str, str, tuple[Subject, ...]], ...] = (
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        (user("system:kube-controller-manager"), user("system:kube-scheduler")),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        (user("system:kube-controller-manager"), service_account("kube-system", "kube-controller-manager")),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        (user("system:kube-scheduler"), service_account("kube-system", "kube-scheduler")),
    ),
    *(
        (
            namespace,
            f"system:controller:{name}",
            f"system:controller:{name}",
            (service_account("kube-system", name),),
        )
        for namespace, name in (
            ("kube-system", "bootstrap-signer"),
            ("kube-system", "cloud-provider"),
            ("kube-system", "token-cleaner"),
            ("kube-public", "bootstrap-signer"),
        )
    ),
    *(
        ("kube-system", f"system:sampan:{name}", f"system:sampan:{name}", (group("system:nodes"),))
        for name in ("node-dns", "node-authority")
    ),
)
