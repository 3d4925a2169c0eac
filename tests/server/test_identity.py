"""Who a request comes from: certificates, service accounts, bootstrap tokens, the front proxy; and reviews of them."""

import base64
from typing import Any

import jwt
import pytest

from sampan.controllers import legacy_token, token_cleaner
from sampan.kit.clock import SystemClock
from sampan.server import front_proxy
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.message import Peer
from tests.server.configured import configured
from tests.server.conftest import NOW, SIGNING_KEY, Api, pod

Tree = dict[str, Any]
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
SECRETS = "/api/v1/namespaces/default/secrets"
SYSTEM_SECRETS = "/api/v1/namespaces/kube-system/secrets"
PODS = "/api/v1/namespaces/default/pods"
AUTHN = "/apis/authentication.k8s.io/v1"
AUTHZ = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
NOBODY = Peer()
NAMES = "authentication.kubernetes.io/"

in_process = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)


async def request_token(api: Api, reference: Tree | None = None, account: str = "default", **spec: Any) -> Tree:
    spec = {**spec, **({"boundObjectRef": reference} if reference else {})}
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    return await api.create(f"{ACCOUNTS}/{account}/token", body)


async def review(api: Api, token: str, *audiences: str) -> Tree:
    body: Tree = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    if audiences:
        body["spec"]["audiences"] = list(audiences)
    status: Tree = (await api.create(f"{AUTHN}/tokenreviews", body))["status"]
    return status


async def whoami(api: Api, peer: Peer = NOBODY, **headers: str) -> Tree:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    answer = await api.send("POST", f"{AUTHN}/selfsubjectreviews", body, peer, **headers)
    assert answer.status == 201, answer.body
    info: Tree = answer.tree["status"]["userInfo"]
    return info


async def test_a_token_is_reviewed_with_all_that_it_is_bound_to(api: Api) -> None:
    """Conformance 163: user, groups, JTI, pod and node with their uids."""
    node = await api.create("/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}})
    made = await api.create(PODS, pod("p", nodeName="n1"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    token = (await request_token(api, reference))["status"]["token"]
    status = await review(api, token)
    assert status["authenticated"] is True
    assert status["audiences"] == [ISSUER]
    user = status["user"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["groups"] == [
        "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated",
    ]  # fmt: skip
    claims = jwt.decode(token, options={"verify_signature": False})
    assert user["extra"] == {
        f"{NAMES}credential-id": [f"JTI={claims['jti']}"],
        f"{NAMES}pod-name": ["p"],
        f"{NAMES}pod-uid": [made["metadata"]["uid"]],
        f"{NAMES}node-name": ["n1"],
        f"{NAMES}node-uid": [node["metadata"]["uid"]],
    }
    assert "authenticated" not in await review(api, token, "vault")
    assert (await review(api, token, "vault", ISSUER))["audiences"] == [ISSUER]
    refused = await api.send("POST", f"{AUTHN}/tokenreviews", {"kind": "TokenReview", "spec": {}})
    assert refused.status == 400


async def test_a_token_bound_to_a_secret_dies_with_it(api: Api) -> None:
    """Also when another of the same name comes."""
    body = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}}
    made = await api.create(SECRETS, body)
    token = (await request_token(api, {"kind": "Secret", "apiVersion": "v1", "name": "s"}))["status"]["token"]
    assert jwt.decode(token, options={"verify_signature": False})["kubernetes.io"]["secret"] == {
        "name": "s", "uid": made["metadata"]["uid"],
    }  # fmt: skip
    assert (await review(api, token))["authenticated"] is True
    await api.delete(f"{SECRETS}/s")
    await api.create(SECRETS, body)
    assert "authenticated" not in await review(api, token)


@in_process
async def test_a_legacy_token_lives_in_its_secret(api: Api) -> None:
    """It is what the controller fills in; it ends with the Secret, with the account, and with another token."""
    account = await api.get(f"{ACCOUNTS}/default")
    body = {
        "kind": "Secret", "apiVersion": "v1", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": "default"}},
    }  # fmt: skip
    secret = await api.create(SECRETS, body)
    token = api.app.legacy_token(account, secret)
    filled = legacy_token._filled(secret, account, "CA", api.app.legacy_token).writes[0].obj  # noqa: SLF001
    assert base64.b64decode(filled["data"]["namespace"]) == b"default"
    assert "authenticated" not in await review(api, token)
    await api.put(f"{SECRETS}/legacy", filled)
    token = base64.b64decode(filled["data"]["token"]).decode()
    status = await review(api, token)
    assert status["user"]["username"] == "system:serviceaccount:default:default"
    assert "exp" not in jwt.decode(token, options={"verify_signature": False})
    assert (await whoami(api, authorization=f"Bearer {token}"))["username"] == "system:serviceaccount:default:default"
    invalid = {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}}
    await api.patch(f"{SECRETS}/legacy", invalid)
    assert "authenticated" not in await review(api, token)
    await api.patch(f"{SECRETS}/legacy", {"metadata": {"labels": None}})
    assert "authenticated" in await review(api, token)
    await api.delete(f"{SECRETS}/legacy")
    assert "authenticated" not in await review(api, token)


async def test_a_retired_key_still_verifies() -> None:
    """Tokens of the key before hold until they end; their key stays published; without it they don't hold."""
    new = certificates.new_signing_key()
    async with configured(token_key=SIGNING_KEY) as api:
        await api.create(ACCOUNTS, {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}})
    from sampan.server.tokens import Grant, TokenError, Tokens

    before, after = Tokens(SIGNING_KEY), Tokens(new, retired=(SIGNING_KEY,))
    grant = Grant("default", "a", "u", (ISSUER,), 600, "j")
    assert after.verify(before.issue(grant, NOW), (), NOW).service_account == "a"
    assert after.verify(after.issue(grant, NOW), (), NOW).service_account == "a"
    assert len(after.jwks()["keys"]) == 2
    with pytest.raises(TokenError):
        Tokens(new).verify(before.issue(grant, NOW), (), NOW)


def bootstrap_secret(**data: str) -> Tree:
    given = {
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "expiration": "2026-01-01T00:10:00Z", "auth-extra-groups": "system:bootstrappers:workers", **data,
    }  # fmt: skip
    metadata = {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    body = {"kind": "Secret", "apiVersion": "v1", "type": "bootstrap.kubernetes.io/token", "metadata": metadata}
    return {**body, "stringData": given}


async def test_a_bootstrap_token_is_its_secret(api: Api) -> None:
    """Its groups, its end, its use; and nothing without the Secret."""
    header = {"authorization": "Bearer abcdef.0123456789abcdef"}
    await api.create(SYSTEM_SECRETS, bootstrap_secret())
    info = await whoami(api, **header)
    assert info["username"] == "system:bootstrap:abcdef"
    assert info["groups"] == ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]
    path = f"{AUTHN}/selfsubjectreviews"
    for changed in (
        {"expiration": "2025-12-31T23:59:59Z"},
        {"expiration": "soon"},
        {"usage-bootstrap-authentication": "false"},
        {"token-secret": "fedcba9876543210"},
        {"token-id": "fedcba"},
        {"auth-extra-groups": "system:masters"},
    ):
        await api.delete(f"{SYSTEM_SECRETS}/bootstrap-token-abcdef")
        await api.create(SYSTEM_SECRETS, bootstrap_secret(**changed))
        assert (await api.send("POST", path, {}, Peer(), **header)).status == 401, changed
    await api.delete(f"{SYSTEM_SECRETS}/bootstrap-token-abcdef")
    assert (await api.send("POST", path, {}, Peer(), **header)).status == 401
    await api.create(SECRETS, {**bootstrap_secret(), "metadata": {"name": "bootstrap-token-abcdef"}})
    assert (await api.send("POST", path, {}, Peer(), **header)).status == 401


def test_an_expired_bootstrap_token_is_deleted() -> None:
    """When its time has come, and not before; others are left alone."""
    ends = base64.b64encode(b"2026-01-01T00:10:00Z").decode()
    metadata = {"name": "b", "namespace": "kube-system", "uid": "u", "resourceVersion": "7"}
    secret = {"type": "bootstrap.kubernetes.io/token", "metadata": metadata, "data": {"expiration": ends}}

    class View:
        def get(self, kind: Any, key: Any) -> Any:
            return secret

    early = token_cleaner.reconcile(View(), ("kube-system", "b"), NOW)  # type: ignore[arg-type]
    assert (early.writes, early.again) == ((), 600)
    (delete,) = token_cleaner.reconcile(View(), ("kube-system", "b"), NOW + 600).writes  # type: ignore[arg-type]
    assert (delete.uid, delete.resource_version) == ("u", "7")  # type: ignore[union-attr]
    assert token_cleaner.reconcile(View(), ("default", "b"), NOW + 600).writes == ()  # type: ignore[arg-type]


def certificate(authority: certificates.Pair, name: str, *groups: str) -> Peer:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pair = certificates.issue(authority, Subject(name, groups), SystemClock().now())
    der = x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)
    return Peer(name, groups, "127.0.0.1", der)


async def test_only_the_front_proxy_says_who_somebody_is() -> None:
    """With its authority's certificate and an allowed name; that certificate alone makes nobody."""
    ours = certificates.new_authority("ca", SystemClock().now())
    front = certificates.new_authority("front", SystemClock().now())
    settings = front_proxy.Settings(front.certificate, ("proxy",))
    headers = {
        "x_remote_user": "jane", "x_remote_group": "devs, ops", "x_remote_uid": "7", "x_remote_extra_scopes": "a",
    }  # fmt: skip
    async with configured(front_proxy=settings) as api:
        info = await whoami(api, certificate(front, "proxy"), **headers)
        assert info == {
            "username": "jane", "uid": "7", "groups": ["devs", "ops", "system:authenticated"], "extra": {"scopes": ["a"]},
        }  # fmt: skip
        master = certificate(front, "proxy", "system:masters")
        assert (await api.send("GET", "/api/v1/namespaces", b"", master)).status == 403
        other = certificate(front, "other", "system:masters")
        assert (await api.send("GET", "/api/v1/namespaces", b"", other, **headers)).status == 403
        info = await whoami(api, certificate(ours, "joe"), **headers)
        assert info["username"] == "joe"
        assert info["extra"][f"{NAMES}credential-id"][0].startswith("X509SHA256=")


async def test_a_token_beside_a_certificate_does_not_matter(api: Api) -> None:
    """The certificate holds; without one, the same token is a 401."""
    assert (await api.send("GET", "/api/v1/namespaces", authorization="Bearer nonsense")).status == 200
    assert (await api.send("GET", "/api/v1/namespaces", b"", Peer(), authorization="Bearer nonsense")).status == 401
    assert (await api.send("GET", "/api/v1/namespaces", b"", Peer(), authorization="Basic YTpi")).status == 403


@in_process
async def test_a_websocket_may_carry_the_token(api: Api) -> None:
    """As one sub-protocol beside another, in base64url, and only in a WebSocket's handshake."""
    token = (await request_token(api))["status"]["token"]
    text = base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    mark = f"base64url.bearer.authorization.k8s.io.{text}"
    path = "/api/v1/namespaces/default/pods"

    async def code(protocols: str, **headers: str) -> int:
        answer = await api.send("GET", path, b"", Peer(), sec_websocket_protocol=protocols, **headers)
        name = 'User "system:serviceaccount:default:default"'
        return 0 if name in answer.tree.get("message", "") else answer.status

    assert await code(f"{mark}, v4.channel.k8s.io", upgrade="websocket") == 0
    assert await code(mark, upgrade="websocket") == 401
    assert await code(f"{mark}, {mark}, v4.channel.k8s.io", upgrade="websocket") == 401
    assert await code(f"{mark}%, v4.channel.k8s.io", upgrade="websocket") == 401
    assert await code(f"{mark}, v4.channel.k8s.io") == 403


async def test_a_service_account_from_its_birth_to_its_end(api: Api) -> None:
    """Conformance 162, 167 and 168: labels, patch, update of automounting, list by label, deletion as a collection."""
    body = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "mine", "labels": {"for": "test"}}}
    await api.create(ACCOUNTS, {**body, "automountServiceAccountToken": False})
    patched = await api.patch(f"{ACCOUNTS}/mine", {"automountServiceAccountToken": True}, "strategic")
    assert patched.tree["automountServiceAccountToken"] is True
    await api.put(f"{ACCOUNTS}/mine", {**patched.tree, "automountServiceAccountToken": False})
    listed = (await api.get("/api/v1/serviceaccounts?labelSelector=for=test"))["items"]
    assert [(item["metadata"]["name"], item["automountServiceAccountToken"]) for item in listed] == [("mine", False)]
    spec = {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "mine"}
    for name, wish, mounts in (("none", {}, False), ("asked", {"automountServiceAccountToken": True}, True)):
        made = await api.create(PODS, {"kind": "Pod", "metadata": {"name": name}, "spec": {**spec, **wish}})
        assert bool(made["spec"]["containers"][0].get("volumeMounts")) is mounts
    assert (await api.delete(f"{ACCOUNTS}?labelSelector=for=test")).status == 200
    assert (await api.get("/api/v1/serviceaccounts?labelSelector=for=test"))["items"] == []


async def test_reviews_answer_for_everybody(api: Api) -> None:
    """Conformance 169: for another, for oneself in a namespace, for paths; and what makes no sense is refused."""
    attributes = {"verb": "list", "resource": "configmaps", "namespace": "default"}
    head = {"apiVersion": "authorization.k8s.io/v1"}
    local = {**head, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": "default"}}
    path = f"{AUTHZ}/namespaces/default/localsubjectaccessreviews"

    async def allowed(user: str, **changes: Any) -> bool:
        spec = {"user": user, "resourceAttributes": {**attributes, **changes}}
        answers = [
            await api.create(f"{AUTHZ}/subjectaccessreviews", {**head, "kind": "SubjectAccessReview", "spec": spec}),
            await api.create(path, {**local, "spec": spec}),
        ]
        assert answers[0]["status"]["allowed"] == answers[1]["status"]["allowed"]
        return bool(answers[0]["status"]["allowed"])

    user = "system:serviceaccount:default:default"
    assert not await allowed(user)
    binding = {
        "kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "v"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }  # fmt: skip
    await api.create(f"{RBAC}/namespaces/default/rolebindings", binding)
    assert await allowed(user)
    assert not await allowed(user, resource="secrets")
    own = {**head, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    assert (await api.create(f"{AUTHZ}/selfsubjectaccessreviews", own))["status"]["allowed"] is True
    rules = {**head, "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}}
    answer = await api.send("POST", f"{AUTHZ}/selfsubjectrulesreviews", rules, Peer("nobody"))
    wanted = {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}
    assert wanted in answer.tree["status"]["resourceRules"]
    node = await api.send("POST", f"{AUTHZ}/selfsubjectrulesreviews", rules, Peer("system:node:n", ("system:nodes",)))
    assert node.tree["status"]["incomplete"] is True
    for spec, text in (
        ({"user": "u"}, "exactly one of nonResourceAttributes or resourceAttributes"),
        ({"resourceAttributes": attributes}, "at least one of user or group"),
        ({"user": "u", "resourceAttributes": attributes, "nonResourceAttributes": {}}, "in combination"),
        ({"user": "u", "resourceAttributes": {**attributes, "fieldSelector": {}}}, "rawSelector is required"),
        (
            {"user": "u", "resourceAttributes": {**attributes, "labelSelector": {"requirements": [{"key": "a"}]}}},
            "Unsupported value",
        ),
    ):
        body = {**head, "kind": "SubjectAccessReview", "spec": spec}
        refused = await api.send("POST", f"{AUTHZ}/subjectaccessreviews", body)
        assert (refused.status, text in refused.tree["message"]) == (422, True), refused.body
    wrong = {**local, "spec": {"user": "u", "resourceAttributes": {**attributes, "namespace": "other"}}}
    assert (await api.send("POST", path, wrong)).status == 422


async def test_additions_to_default_roles_outlive_a_start(api: Api) -> None:
    """What somebody added stays, what was taken away comes back, and autoupdate: "false" is left alone."""
    from sampan.server import bootstrap

    path = f"{RBAC}/clusterroles"
    basic = await api.get(f"{path}/system:basic-user")
    extra = {"verbs": ["get"], "apiGroups": ["example.org"], "resources": ["things"]}
    await api.put(f"{path}/system:basic-user", {**basic, "rules": [basic["rules"][0], extra]})
    scheduler = await api.get(f"{path}/system:kube-dns")
    annotations = {**scheduler["metadata"]["annotations"], "rbac.authorization.kubernetes.io/autoupdate": "false"}
    metadata = {**scheduler["metadata"], "annotations": annotations}
    await api.put(f"{path}/system:kube-dns", {**scheduler, "metadata": metadata, "rules": []})
    binding = await api.get(f"{RBAC}/clusterrolebindings/system:discovery")
    subjects = [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]
    await api.put(f"{RBAC}/clusterrolebindings/system:discovery", {**binding, "subjects": subjects})
    await bootstrap.ensure(api.app, bootstrap.Endpoints("10.96.0.1", "10.244.0.1", 6443))
    rules = (await api.get(f"{path}/system:basic-user"))["rules"]
    assert extra in rules
    assert all(any(set(r["resources"]) <= set(now.get("resources", ())) for now in rules) for r in basic["rules"])
    assert not (await api.get(f"{path}/system:kube-dns"))["rules"]
    names = {s["name"] for s in (await api.get(f"{RBAC}/clusterrolebindings/system:discovery"))["subjects"]}
    assert names == {"jane", "system:authenticated"}


async def test_nobody_grants_what_they_do_not_have(api: Api) -> None:
    """Roles and bindings, on create and on update; the verbs escalate and bind lift it, for the named role only."""
    jane = Peer("jane")
    roles, bindings = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
    head = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}

    async def give(name: str, *rules: Tree) -> None:
        role = {**head, "kind": "ClusterRole", "metadata": {"name": name}, "rules": list(rules)}
        await api.create(f"{RBAC}/clusterroles", role)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {**head, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": reference}
        await api.create(f"{RBAC}/clusterrolebindings", {**binding, "subjects": [subject]})

    def role(name: str, resource: str) -> Tree:
        rules = [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]
        return {**head, "kind": "Role", "metadata": {"name": name}, "rules": rules}

    def binding(name: str) -> Tree:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        return {**head, "kind": "RoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}

    writing = {"verbs": ["create", "update", "get"], "apiGroups": [head["apiVersion"].partition("/")[0]]}
    await give("writer", {**writing, "resources": ["roles", "rolebindings"]}, role("", "pods")["rules"][0])
    assert (await api.send("POST", roles, role("pods", "pods"), jane)).status == 201
    refused = await api.send("POST", roles, role("secrets", "secrets"), jane)
    assert refused.status == 403
    assert "attempting to grant RBAC permissions not currently held" in refused.tree["message"]
    assert (await api.send("PUT", f"{roles}/pods", role("pods", "secrets"), jane)).status == 403
    assert (await api.send("POST", bindings, binding("admin"), jane)).status == 403
    group = writing["apiGroups"]
    await give(
        "binder", {"verbs": ["bind"], "apiGroups": group, "resources": ["clusterroles"], "resourceNames": ["view"]}
    )
    assert (await api.send("POST", bindings, binding("view"), jane)).status == 201
    assert (await api.send("POST", bindings, binding("admin"), jane)).status == 403
    await give("escalator", {"verbs": ["escalate"], "apiGroups": group, "resources": ["roles"]})
    assert (await api.send("POST", roles, role("secrets", "secrets"), jane)).status == 201


async def test_every_default_role_is_there(api: Api) -> None:
    """Those of the reference server, each with its label; aggregated ones hold what they collect."""
    roles = {role["metadata"]["name"]: role for role in (await api.get(f"{RBAC}/clusterroles"))["items"]}
    wanted = """admin cluster-admin edit view system:aggregate-to-admin system:aggregate-to-edit system:aggregate-to-view
    system:auth-delegator system:basic-user system:certificates.k8s.io:certificatesigningrequests:nodeclient
    system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
    system:certificates.k8s.io:kube-apiserver-client-approver
    system:certificates.k8s.io:kube-apiserver-client-kubelet-approver system:certificates.k8s.io:kubelet-serving-approver
    system:certificates.k8s.io:legacy-unknown-approver system:discovery system:heapster system:kube-aggregator
    system:kube-controller-manager system:kube-dns system:kube-scheduler system:kubelet-api-admin system:monitoring
    system:node system:node-bootstrapper system:node-problem-detector system:node-proxier
    system:persistent-volume-provisioner system:public-info-viewer system:service-account-issuer-discovery
    system:volume-scheduler system:aggregated-metrics-reader"""
    controllers = """attachdetach-controller certificate-controller clusterrole-aggregation-controller cronjob-controller
    daemon-set-controller deployment-controller device-taint-eviction-controller disruption-controller
    endpoint-controller endpointslice-controller
    endpointslicemirroring-controller ephemeral-volume-controller expand-controller generic-garbage-collector
    horizontal-pod-autoscaler job-controller legacy-service-account-token-cleaner namespace-controller node-controller
    persistent-volume-binder pod-garbage-collector pv-protection-controller pvc-protection-controller
    replicaset-controller replication-controller resource-claim-controller resourcequota-controller
    root-ca-cert-publisher route-controller selinux-warning-controller service-account-controller
    service-cidrs-controller service-controller statefulset-controller ttl-after-finished-controller ttl-controller
    validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller"""
    names = {*wanted.split(), *(f"system:controller:{name}" for name in controllers.split())}
    assert names - roles.keys() == set()
    assert {roles[name]["metadata"]["labels"]["kubernetes.io/bootstrapping"] for name in names} == {"rbac-defaults"}
    groups = {group for rule in roles["view"]["rules"] for group in rule["apiGroups"]}
    assert groups >= {"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "discovery.k8s.io"}
    for name in ("admin", "edit", "view"):
        assert roles["system:aggregated-metrics-reader"]["rules"][0] in roles[name]["rules"]
    bindings = {b["metadata"]["name"]: b for b in (await api.get(f"{RBAC}/clusterrolebindings"))["items"]}
    assert bindings["system:volume-scheduler"]["subjects"][0]["name"] == "system:kube-scheduler"
    assert not bindings["system:node"].get("subjects")
    anonymous = [
        name for name, b in bindings.items() for s in b.get("subjects") or () if s["name"] == "system:unauthenticated"
    ]
    assert anonymous == ["system:public-info-viewer"]
