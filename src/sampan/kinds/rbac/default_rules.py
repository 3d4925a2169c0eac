"""The rules of the default roles, and who they are bound to, as data.

Rules may name kinds that this server does not serve (yet): they are those of the reference server.
"""

from typing import Any

Rule = dict[str, Any]
Subject = dict[str, str]

_RBAC = "rbac.authorization.k8s.io"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_CRUD = "create delete get list patch update watch"
_ALL = f"{_WRITE} {_READ}"


def allow(verbs: str, group: str, resources: str, names: str = "") -> Rule:
    """A rule from words; `group` "core" is the empty one, several stand apart by a space."""
    groups = ["" if g == "core" else g for g in group.split()]
    rule: Rule = {"verbs": sorted(verbs.split()), "apiGroups": groups, "resources": sorted(resources.split())}
    if names:
        rule["resourceNames"] = names.split()
    return rule


def urls(verbs: str, paths: str) -> Rule:
    """A rule about URLs that are no resources."""
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


def user(name: str) -> Subject:
    """A user, as a subject."""
    return {"apiGroup": _RBAC, "kind": "User", "name": name}


def group(name: str) -> Subject:
    """A group, as a subject."""
    return {"apiGroup": _RBAC, "kind": "Group", "name": name}


def service_account(namespace: str, name: str) -> Subject:
    """A service account, as a subject."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


_EVENTS = allow("create patch update", "core events.k8s.io", "events")
_AUTHN = allow("create", "authentication.k8s.io", "tokenreviews")
_AUTHZ = allow("create", "authorization.k8s.io", "subjectaccessreviews")
_LEASES = "coordination.k8s.io"

_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
    "statefulsets statefulsets/scale"
)
_WORKLOAD_STATUS = "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status"
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
    allow(_WRITE, "policy", "poddisruptionbudgets"),
    allow(_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    allow(f"{_ALL}", _LEASES, "leases"),
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
    allow(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    allow(_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
)

_SCHEDULER = (
    _EVENTS,
    allow("create", _LEASES, "leases"),
    allow("get update", _LEASES, "leases", "kube-scheduler"),
    allow(_READ, "core", "namespaces nodes persistentvolumeclaims persistentvolumes replicationcontrollers services"),
    allow("delete get list watch", "core", "pods"),
    allow("create", "core", "bindings pods/binding"),
    allow("patch update", "core", "pods/status"),
    allow(_READ, "apps", "replicasets statefulsets"),
    allow(_READ, "policy", "poddisruptionbudgets"),
    allow(_READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
    _AUTHN,
    _AUTHZ,
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
    allow("patch update", "core", "nodes nodes/status"),
    _EVENTS,
    allow(_READ, "core", "pods"),
    allow("create delete", "core", "pods"),
    allow("patch update", "core", "pods/status"),
    allow("create", "core", "pods/eviction serviceaccounts/token"),
    allow(_READ, "core", "configmaps secrets"),
    allow("get", "core", "persistentvolumeclaims persistentvolumes"),
    allow("create delete get patch update", _LEASES, "leases"),
    allow(_READ, "storage.k8s.io node.k8s.io", "csidrivers runtimeclasses"),
)
_PROXIER = (
    allow("list watch", "core", "endpoints services"),
    allow("get list watch", "core", "nodes"),
    _EVENTS,
    allow("list watch", "discovery.k8s.io", "endpointslices"),
)
_HEALTH = "/healthz /livez /readyz"
_DISCOVERY = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"

CLUSTER_ROLES: dict[str, tuple[Rule, ...]] = {
    "cluster-admin": (allow("*", "*", "*"), urls("*", "*")),
    "system:discovery": (urls("get", _DISCOVERY),),
    "system:public-info-viewer": (urls("get", f"{_HEALTH} /version /version/"),),
    "system:monitoring": (urls("get", f"{_HEALTH} /healthz/* /livez/* /metrics /metrics/slis /readyz/*"),),
    "system:basic-user": (
        allow("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        allow("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:service-account-issuer-discovery": (
        urls(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ),
    ),
    "system:auth-delegator": (_AUTHN, _AUTHZ),
    "system:kubelet-api-admin": (
        allow("get list watch", "core", "nodes"),
        allow("proxy", "core", "nodes"),
        allow("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ),
    "system:aggregate-to-admin": _TO_ADMIN,
    "system:aggregate-to-edit": _TO_EDIT,
    "system:aggregate-to-view": _TO_VIEW,
    "system:kube-scheduler": _SCHEDULER,
    "system:kube-controller-manager": _CONTROLLER_MANAGER,
    "system:node": _NODE,
    "system:node-proxier": _PROXIER,
    "system:kube-dns": (allow("list watch", "core", "endpoints services"),),
}

_PODS = allow("create delete list patch watch", "core", "pods")

CONTROLLERS: dict[str, tuple[Rule, ...]] = {
    "deployment-controller": (
        allow("get list update watch", "apps", "deployments"),
        allow("update", "apps", "deployments/finalizers deployments/status"),
        allow("create delete get list patch update watch", "apps", "replicasets"),
        allow("get list update watch", "core", "pods"),
        _EVENTS,
    ),
    "replicaset-controller": (
        allow("get list update watch", "apps", "replicasets"),
        allow("update", "apps", "replicasets/finalizers replicasets/status"),
        _PODS,
        _EVENTS,
    ),
    "job-controller": (
        allow("get list patch update watch", "batch", "jobs"),
        allow("update", "batch", "jobs/finalizers jobs/status"),
        _PODS,
        _EVENTS,
    ),
    "endpointslice-controller": (
        allow(_READ, "core", "nodes pods services"),
        allow("update", "core", "services/finalizers"),
        allow("create delete get list update", "discovery.k8s.io", "endpointslices"),
        _EVENTS,
    ),
    "service-account-controller": (allow("create", "core", "serviceaccounts"), _EVENTS),
    "root-ca-cert-publisher": (allow("create update", "core", "configmaps"), _EVENTS),
    "namespace-controller": (
        allow("delete get list watch", "core", "namespaces"),
        allow("update", "core", "namespaces/finalize namespaces/status"),
        allow("delete deletecollection get list", "*", "*"),
    ),
    "generic-garbage-collector": (allow("delete get list patch update watch", "*", "*"), _EVENTS),
    "node-controller": (
        allow("delete get list patch update", "core", "nodes"),
        allow("patch update", "core", "nodes/status pods/status"),
        allow("delete get list", "core", "pods"),
        _EVENTS,
    ),
    "pod-garbage-collector": (
        allow("delete list watch", "core", "pods"),
        allow("get list", "core", "nodes"),
        allow("patch", "core", "pods/status"),
    ),
}

ROLES: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        (allow(_READ, "core", "configmaps", "extension-apiserver-authentication"),),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        (allow("watch", "core", "configmaps"), allow("get update", "core", "configmaps", "kube-scheduler")),
    ),
    ("kube-public", "system:controller:bootstrap-signer", (allow(_READ, "core", "configmaps"), _EVENTS)),
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
    ("system:kube-controller-manager", "system:kube-controller-manager", (user("system:kube-controller-manager"),)),
    ("system:node-proxier", "system:node-proxier", (user("system:kube-proxy"),)),
    ("system:kube-dns", "system:kube-dns", (service_account("kube-system", "kube-dns"),)),
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
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        (user("system:kube-scheduler"), service_account("kube-system", "kube-scheduler")),
    ),
)
