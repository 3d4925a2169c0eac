"""Who gets in, with what, and how far: identities, rights, names, bodies, selectors, and what is never said."""

import asyncio
import base64
import gzip
import logging
import ssl
from typing import Any

import aiohttp
import jwt
import orjson
import pytest

from sampan.kinds.builtin import KINDS
from sampan.kinds.kind import Kind
from sampan.kit.clock import SystemClock
from sampan.server.app import on_error
from sampan.server.node_dialer import HttpsDialer
from sampan.server.reads import Reads
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import Address, Listener, client_context
from sampan.web.message import Peer, Request, Response
from tests.server.conftest import ADMIN, NOW, Api, Https, config_map, pod

Tree = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PODS = "/api/v1/namespaces/default/pods"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
NOBODY = Peer()

over_https = pytest.mark.parametrize("api", ["https-memory"], indirect=True)
in_process = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)
at_once = pytest.mark.timeout(100)  # what grows faster than its input takes far longer


async def bind(api: Api, role: str, subject: Tree, namespace: str = "") -> None:
    """Gives a cluster role everywhere, or in one namespace."""
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    name = f"{role}-{subject['name']}".replace(":", "-")
    body = {
        "kind": kind,
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", **subject}],
    }
    where = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
    await api.create(where, body)


async def cluster_role(api: Api, name: str, *rules: Tree) -> None:
    body = {"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    await api.create(f"{RBAC}/clusterroles", {**body, "rules": list(rules)})


def user(name: str) -> Tree:
    return {"kind": "User", "name": name}


# Who somebody is (B7)


async def token(api: Api, reference: Tree | None = None, **spec: Any) -> str:
    """A token of the default service account, which may read what `view` gives."""
    spec = {**spec, **({"boundObjectRef": reference} if reference else {})}
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    answer = await api.create(f"{ACCOUNTS}/default/token", body)
    return str(answer["status"]["token"])


async def code_with(api: Api, credential: str, path: str = MAPS) -> int:
    return (await api.send("GET", path, b"", NOBODY, authorization=f"Bearer {credential}")).status


async def test_a_token_holds_for_its_time(api: Api) -> None:
    """Not after it, and not before."""
    await bind(api, "view", user("system:serviceaccount:default:default"))
    good = await token(api, expirationSeconds=600)
    assert await code_with(api, good) == 200
    api.clock.time = NOW + 601
    assert await code_with(api, good) == 401
    api.clock.time = NOW
    forged = jwt.decode(good, options={"verify_signature": False})
    key = api.token_key
    early = jwt.encode({**forged, "nbf": int(NOW) + 60}, key, "RS256" if "RSA" in key else _algorithm(good))
    assert await code_with(api, early) == 401


def _algorithm(credential: str) -> str:
    return str(jwt.get_unverified_header(credential)["alg"])


async def test_a_token_not_ours_is_no_token(api: Api) -> None:
    """Other audience, issuer, key or algorithm, or no signature at all: 401, and not the anonymous user."""
    await bind(api, "view", user("system:serviceaccount:default:default"))
    good = await token(api)
    assert await code_with(api, good) == 200
    claims, algorithm = jwt.decode(good, options={"verify_signature": False}), _algorithm(good)
    key = api.token_key
    other_key = certificates.new_signing_key().decode()
    public = orjson.dumps((await api.get("/openid/v1/jwks"))["keys"][0])
    header, payload, signature = good.split(".")
    flipped = base64.urlsafe_b64encode(orjson.dumps({**claims, "sub": "system:serviceaccount:kube-system:x"}))
    wrong = {
        "other audience": await token(api, audiences=["vault"]),
        "other issuer": jwt.encode({**claims, "iss": "https://evil.example"}, key, algorithm),
        "no issuer": jwt.encode({k: v for k, v in claims.items() if k != "iss"}, key, algorithm),
        "other key": jwt.encode(claims, other_key, algorithm),
        "no algorithm": jwt.encode(claims, None, "none"),
        "no signature": f"{header}.{payload}.",
        "other payload": f"{header}.{flipped.decode().rstrip('=')}.{signature}",
        "public key as secret": _hs256(claims, public),
        "no end": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, key, algorithm),
        "other subject": jwt.encode({**claims, "sub": "system:admin"}, key, algorithm),
        "nonsense": "x",
        "two tokens": f"{good} {good}",
    }
    assert {name: await code_with(api, text) for name, text in wrong.items()} == dict.fromkeys(wrong, 401)
    assert (await api.send("GET", f"{MAPS}?access_token={good}&token={good}", b"", NOBODY)).status == 403


def _hs256(claims: Tree, secret: bytes) -> str:
    """A token signed with a public text as if that were a secret (a confusion of algorithms)."""
    import hashlib
    import hmac

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(orjson.dumps({"alg": "HS256", "typ": "JWT"})) + b"." + part(orjson.dumps(claims))
    return (signed + b"." + part(hmac.digest(secret, signed, hashlib.sha256))).decode()


async def test_a_token_dies_with_what_it_is_bound_to(api: Api) -> None:
    """With its pod, and with its account, even when another of the same name comes."""
    await bind(api, "view", user("system:serviceaccount:default:default"))
    made = await api.create(PODS, pod("p"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    bound, free = await token(api, reference), await token(api)
    assert (await code_with(api, bound), await code_with(api, free)) == (200, 200)
    await api.delete(f"{PODS}/p?gracePeriodSeconds=0")
    await api.create(PODS, pod("p"))
    assert (await code_with(api, bound), await code_with(api, free)) == (401, 200)
    await api.delete(f"{ACCOUNTS}/default")
    assert await code_with(api, free) == 401
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
    await api.create(ACCOUNTS, account)
    assert await code_with(api, free) == 401


async def test_a_token_outlives_a_deletion_by_a_minute(api: Api) -> None:
    """An account that a finalizer holds is no account for ever."""
    await bind(api, "view", user("system:serviceaccount:default:default"))
    good = await token(api, expirationSeconds=3600)
    await api.patch(f"{ACCOUNTS}/default", {"metadata": {"finalizers": ["example.org/held"]}})
    assert (await api.delete(f"{ACCOUNTS}/default")).status == 200
    api.clock.time = NOW + 30
    assert await code_with(api, good) == 200
    api.clock.time = NOW + 61
    assert await code_with(api, good) == 401


async def test_names_that_a_caller_gives_itself_are_ignored(api: Api) -> None:
    """Front proxy headers and credentials of other schemes make nobody."""
    headers = {"x_remote_user": "system:admin", "x_remote_group": "system:masters", "x_forwarded_user": "admin"}
    answer = await api.send("GET", SECRETS, b"", NOBODY, **headers)
    assert answer.status == 403
    assert 'User "system:anonymous"' in answer.tree["message"]
    for header in ("Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer ", "Negotiate x", "x"):
        assert (await api.send("GET", SECRETS, b"", NOBODY, authorization=header)).status in (401, 403)
    mark = "base64url.bearer.authorization.k8s.io."
    for protocol in (mark, f"{mark}AAAA", f"{mark}%%%", f"{mark}éé"):
        answer = await api.send(
            "GET", SECRETS, b"", NOBODY, sec_websocket_protocol=protocol.encode("ascii", "ignore").decode()
        )
        assert answer.status in (401, 403)


async def test_impersonation_needs_the_right_to_each_part(api: Api) -> None:
    """User, groups, uid and extra each; a service account's name does not bring foreign groups along."""
    jane = Peer("jane", ("devs",))

    async def act_as(peer: Peer, **headers: str) -> int:
        given = {f"impersonate_{name}": value for name, value in headers.items()}
        return (await api.send("GET", SECRETS, b"", peer, **given)).status

    assert await act_as(NOBODY, user="kubernetes-admin", group="system:masters") == 403
    assert await act_as(jane, user="kubernetes-admin", group="system:masters") == 403
    assert await act_as(jane, group="system:masters") == 400
    impersonate = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}
    await cluster_role(api, "actor", impersonate)
    await bind(api, "actor", user("jane"))
    await bind(api, "admin", user("system:serviceaccount:default:boss"))
    boss = "system:serviceaccount:default:boss"
    assert await act_as(jane, user=boss) == 200
    assert await act_as(jane, user=boss, group="system:masters") == 403
    assert await act_as(jane, user=boss, group="system:serviceaccounts, system:masters") == 403
    assert await act_as(jane, user=boss, uid="x") == 403
    assert await act_as(jane, user=boss, extra_scopes="x") == 403
    assert await act_as(jane, user="system:admin") == 403
    assert await act_as(ADMIN, user="jane") == 403
    assert await act_as(ADMIN, user="jane", group="system:masters") == 200


@over_https
async def test_a_repeated_header_counts_whole(api: Api) -> None:
    """Several Impersonate-Group headers are several groups, as kubectl --as-group sends them; a comma divides none."""
    await bind(api, "view", {"kind": "Group", "name": "readers"})
    head = f"GET {MAPS} HTTP/1.1\r\nHost: x\r\nImpersonate-User: u\r\n"
    groups = "Impersonate-Group: readers\r\nImpersonate-Group: others\r\n"
    assert (await raw(api, f"{head}{groups}Connection: close\r\n\r\n".encode()))[0] == 200
    assert (await raw(api, f"{head}Connection: close\r\n\r\n".encode()))[0] == 403
    for one in ("readers,others", ",,,readers"):
        groups = f"Impersonate-Group: {one}\r\nImpersonate-Group: others\r\n"
        assert (await raw(api, f"{head}{groups}Connection: close\r\n\r\n".encode()))[0] == 403


@over_https
async def test_a_certificate_of_another_authority_gets_no_connection(api: Api, tmp_path: Any) -> None:
    """O=system:masters from a stranger fails in the handshake; nobody becomes anonymous by it."""
    port = await https(api).port()
    stranger = certificates.new_authority("test-ca", SystemClock().now())
    subject = Subject("kubernetes-admin", ("system:masters",))
    certificates.issue(stranger, subject, SystemClock().now()).save(tmp_path, "stranger")
    context = client_context(*(str(tmp_path / name) for name in ("ca.crt", "stranger.crt", "stranger.key")))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await session.get(f"https://127.0.0.1:{port}/version")
    plain = client_context(str(tmp_path / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plain)) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{port}/version")


# What somebody may do (B8)


def grants(objects: dict[str, list[Tree]], name: str, groups: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    """RBAC, read naively from the objects: (verb, group, resource, namespace)."""
    verb, group, resource, namespace = asked
    bindings = [(b, "") for b in objects["clusterrolebindings"]]
    bindings += [(b, b["metadata"]["namespace"]) for b in objects["rolebindings"]]
    for binding, scope in bindings:
        if scope and scope != namespace:
            continue
        for subject in binding.get("subjects") or []:
            who = subject.get("name")
            if subject["kind"] == "ServiceAccount":
                who = f"system:serviceaccount:{subject.get('namespace') or scope}:{subject['name']}"
            if who not in (groups if subject["kind"] == "Group" else (name,)):
                continue
            ref = binding["roleRef"]
            roles = objects["clusterroles" if ref["kind"] == "ClusterRole" else "roles"]
            for role in roles:
                if role["metadata"]["name"] != ref["name"] or role["metadata"].get("namespace", scope) != scope:
                    continue
                for rule in role.get("rules") or []:
                    sub = "*/" + resource.partition("/")[2] if "/" in resource else resource
                    if (
                        {verb, "*"} & set(rule["verbs"])
                        and {group, "*"} & set(rule.get("apiGroups") or [])
                        and {resource, sub, "*"} & set(rule.get("resources") or [])
                        and not rule.get("resourceNames")
                    ):
                        return True
    return False


# What the agent of node n1 may ask on objects named "missing", apart from what RBAC gives everybody.
NODE_MAY = {
    ("", "nodes"): "create update patch delete",
    ("", "nodes/status"): "update patch",
    ("", "pods"): "create delete",
    ("", "pods/status"): "update patch",
    ("", "pods/eviction"): "create",
    ("", "services"): "get list watch",
    ("", "events"): "create update patch",
    ("events.k8s.io", "events"): "create update patch",
    ("discovery.k8s.io", "endpointslices"): "get list watch",
    ("authentication.k8s.io", "tokenreviews"): "create",
    ("authorization.k8s.io", "subjectaccessreviews"): "create",
    ("authorization.k8s.io", "localsubjectaccessreviews"): "create",
    ("certificates.k8s.io", "certificatesigningrequests"): "create get list watch",
    ("node.k8s.io", "runtimeclasses"): "get list watch",
    ("storage.k8s.io", "csidrivers"): "get list watch",
    ("storage.k8s.io", "csinodes"): "create",
    ("resource.k8s.io", "resourceslices"): "create",
}
METHODS = {
    "get": ("GET", True), "list": ("GET", False), "watch": ("GET", False), "create": ("POST", False),
    "update": ("PUT", True), "patch": ("PATCH", True), "delete": ("DELETE", True), "deletecollection": ("DELETE", False),
}  # fmt: skip
IDENTITIES = {
    "anonymous": NOBODY,
    "authenticated": Peer("nobody-special"),
    "account": Peer("system:serviceaccount:mine:worker", ("system:serviceaccounts", "system:serviceaccounts:mine")),
    "node": Peer("system:node:n1", ("system:nodes",)),
    "view": Peer("viewer"),
    "edit": Peer("editor"),
    "local edit": Peer("local-editor"),
}


def questions(kind: Kind) -> list[tuple[str, str, str, str]]:
    """(verb, resource with subresource, namespace, path) for all that can be asked about a kind."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
    found = []
    for namespace in ("mine", "yours", "") if kind.namespaced else ("",):
        base = f"{root}/namespaces/{namespace}/{kind.plural}" if namespace else f"{root}/{kind.plural}"
        for verb, (_, named) in METHODS.items():
            if kind.namespaced and not namespace and (named or verb == "create"):
                continue
            found.append((verb, kind.plural, namespace, f"{base}/missing" if named else base))
        if kind.namespaced and not namespace:
            continue
        for sub in kind.subresources:
            found += [
                (verb, f"{kind.plural}/{sub.name}", namespace, f"{base}/missing/{sub.name}")
                for verb in ("get", "update", "patch", "create")
            ]
    return found


def expected(rbac: dict[str, list[Tree]], who: str, kind: Kind, question: tuple[str, str, str, str]) -> bool:
    verb, resource, namespace, _ = question
    peer = IDENTITIES[who]
    groups = (*peer.organizations, "system:authenticated") if peer.common_name else ("system:unauthenticated",)
    name = peer.common_name or "system:anonymous"
    if kind.plural == "namespaces" and resource != "namespaces":
        namespace = "missing"
    if kind.plural == "namespaces" and METHODS[verb][1]:
        namespace = "missing"
    verbs = [verb, "create"] if resource in ("pods/exec", "pods/attach") and verb == "get" else [verb]
    if who == "node" and verb in NODE_MAY.get((kind.group, resource), "").split():
        return True
    return all(grants(rbac, name, groups, (v, kind.group, resource, namespace)) for v in verbs)


@pytest.mark.parametrize("api", ["in-process-memory", "https-sqlite"], indirect=True)
async def test_everybody_may_what_rbac_says_and_nothing_else(api: Api) -> None:
    """Every resource, verb and subresource, as seven identities, against a naive reading of the rules."""
    for namespace in ("mine", "yours"):
        await api.create(
            "/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}}
        )
    await bind(api, "view", user("viewer"))
    await bind(api, "edit", user("editor"))
    await bind(api, "edit", user("local-editor"), "mine")
    await cluster_role(api, "logs", {"verbs": ["get"], "apiGroups": [""], "resources": ["*/log", "secrets"]})
    await bind(api, "logs", user("system:serviceaccount:mine:worker"), "mine")
    rbac = {
        p: (await api.get(f"{RBAC}/{p}"))["items"]
        for p in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
    }
    wrong, allowed = [], 0
    for kind in KINDS:
        for question in questions(kind):
            verb, resource, _, path = question
            query = "?watch=1&resourceVersion=99999999" if verb == "watch" else ""
            for who, peer in IDENTITIES.items():
                answer = await api.send(METHODS[verb][0], path + query, b"{", peer)
                may = expected(rbac, who, kind, question)
                allowed += may
                if (answer.status == 403) == may or (answer.status >= 500 and answer.status != 504):
                    wrong.append((who, verb, resource, path, answer.status, may))
    assert wrong == []
    assert allowed > 200


@pytest.mark.parametrize("api", ["in-process-memory", "https-memory"], indirect=True)
async def test_a_right_to_one_name_shows_one_name(api: Api) -> None:
    """resourceNames hold for lists and watches too, however the name is given."""
    rule = {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}
    await cluster_role(api, "one", rule)
    await bind(api, "one", user("jane"))
    for name in ("a", "b"):
        await api.create(MAPS, config_map(name, secret=f"of-{name}"))
    jane = Peer("jane")
    for path in (
        f"{MAPS}/a?watch=1&timeoutSeconds=1",
        f"{MAPS}?fieldSelector=metadata.name=a",
        "/api/v1/configmaps/a?watch=1&timeoutSeconds=1",
        f"{MAPS}?fieldSelector=metadata.name=a&fieldSelector=metadata.name!=a",
    ):
        answer = await api.send("GET", path, b"", jane)
        assert b"of-b" not in answer.body, path
        assert answer.status in (200, 403, 404), path
    for path in (MAPS, f"{MAPS}/b", f"{MAPS}/b?watch=1", f"{MAPS}?fieldSelector=metadata.name!=a", f"{MAPS}?watch=1"):
        assert (await api.send("GET", path, b"", jane)).status == 403, path


async def test_a_page_goes_on_only_where_it_began(api: Api) -> None:
    """B5: a continue token holds for its own list, unchanged."""
    for name in ("a", "b", "c"):
        await api.create(MAPS, config_map(name))
        await api.create(SECRETS, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}})
    going_on = (await api.get(f"{MAPS}?limit=1"))["metadata"]["continue"]
    assert (await api.get(f"{MAPS}?limit=1&continue={going_on}"))["items"]
    edited = going_on[:-3] + ("AAA" if going_on[-3:] != "AAA" else "BBB")
    for path in (SECRETS, "/api/v1/configmaps", MAPS.replace("default", "kube-system")):
        assert (await api.send("GET", f"{path}?limit=1&continue={going_on}")).status in (400, 410), path
    for text in (edited, "x", going_on * 2, "é", "AAAA"):
        assert (await api.send("GET", f"{MAPS}?limit=1&continue={text}")).status in (400, 410), text
    assert (await api.send("GET", f"{MAPS}?continue={going_on}", b"", Peer("jane"))).status == 403


# Names and paths, checklist B3


def https(api: Api) -> Https:
    door = api.door
    assert isinstance(door, Https)
    return door


async def raw(api: Api, request: bytes, peer: Peer = ADMIN) -> tuple[int, bytes]:
    """Bytes as they are, over TLS: the status code (0 when there was none) and all that came."""
    reader, writer = await https(api).connect(peer)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    parts = answer.split(b" ", 2)
    return (int(parts[1]) if len(parts) > 1 else 0), answer


@over_https
async def test_paths_lead_nowhere_else(api: Api) -> None:
    """Dots, slashes and NUL, plain and encoded, never make another path of one; nothing is a 200."""
    await api.create(SECRETS, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}})
    wrong = [
        "/api/v1/namespaces/default/configmaps/../secrets/s",
        "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/s",
        "/api/v1/namespaces/default/configmaps/..%2fsecrets%2fs",
        "/api/v1/namespaces/default/configmaps/%2e%2e%2Fsecrets%2Fs",
        "/api/v1/namespaces/default/configmaps/..%252fsecrets%252fs",
        "/api/v1/namespaces/default//secrets/s",
        "//api/v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/secrets/s%00",
        "/api/v1/namespaces/default/secrets/%2e/s",
        "/api/v1/namespaces/default%2fsecrets/s",
        "/api/v1/namespaces/default/secrets/s;x",
        "/api/v1/namespaces/default/secrets/s/status/more",
        "/api/v1/namespaces/default/pods/p/log/../../../secrets/s",
        "/API/v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/SECRETS/s",
        "/apis//v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/clusterroles",
        f"{RBAC}/namespaces/default/clusterroles/view",
        f"{RBAC}/namespaces/default/clusterrolebindings",
        "/apis/apps/v1/namespaces/default/secrets/s",
        "/api/v1/secrets/s",
        "/api/v1/namespaces/default/secrets/" + "x" * 254,
        "/api/v1/namespaces/default/secrets/\xff\xfe",
        "/api/v1/namespaces/default/secrets/%ff%fe",
        "/api/v1/namespaces/default/ѕecrets/s",
    ]
    for path in wrong:
        line = (
            b"GET "
            + path.encode("utf-8" if "ѕ" in path else "latin-1")
            + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        code, body = await raw(api, line)
        assert code in (400, 403, 404), (path, code)
        assert b'"data"' not in body
    for split in (b"GET /ver\0sion HTTP/1.1", b"GET /a b HTTP/1.1"):
        assert (await raw(api, split + b"\r\nHost: x\r\nConnection: close\r\n\r\n"))[0] in (0, 400, 404)


@pytest.mark.parametrize(
    "name",
    [".", "..", "a/b", "a%2fb", "a\0b", "x" * 254, "UPPER", "аdmin", "-a", "a_b", " a", "a\n", "", "*", "/", "a..b"],
)
@in_process
async def test_names_that_are_none_make_no_object(api: Api, name: str) -> None:
    """Nor do they as generateName, namespace or label."""
    answer = await api.send("POST", MAPS, config_map(name))
    assert answer.status in (400, 422), answer.body
    generated = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": name}}
    assert (await api.send("POST", MAPS, generated)).status in ((400, 422, 201) if name == "x" * 254 else (400, 422))
    space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
    assert (await api.send("POST", "/api/v1/namespaces", space)).status in (400, 422)


@in_process
async def test_an_object_is_where_its_path_says(api: Api) -> None:
    """Namespace, name, kind, version and uid of the body do not lead elsewhere."""
    made = await api.create(MAPS, config_map("a"))
    wrong: list[tuple[str, str, Tree]] = [
        ("POST", MAPS, {**config_map("b"), "metadata": {"name": "b", "namespace": "kube-system"}}),
        ("POST", MAPS, {**config_map("b"), "kind": "Secret"}),
        ("POST", MAPS, {**config_map("b"), "apiVersion": "apps/v1"}),
        ("POST", MAPS, {**config_map("b"), "apiVersion": 5}),
        ("POST", MAPS, {**config_map("b"), "kind": None, "apiVersion": {}}),
        ("POST", MAPS, {**config_map("b"), "metadata": {"name": "b", "resourceVersion": "1"}}),
        ("PUT", f"{MAPS}/a", config_map("b")),
        ("PUT", f"{MAPS}/a", {**made, "kind": "Secret"}),
        ("PUT", f"{MAPS}/a", {**made, "metadata": {**made["metadata"], "uid": "another"}}),
        ("PATCH", f"{MAPS}/a", {"kind": "Secret"}),
        ("PATCH", f"{MAPS}/a", {"apiVersion": "v2"}),
        ("PATCH", f"{MAPS}/a", {"metadata": {"namespace": "kube-system"}}),
        ("PATCH", f"{MAPS}/a", {"metadata": {"name": "b"}}),
    ]
    for method, path, body in wrong:
        headers = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        answer = await api.send(method, path, body, **headers)
        assert answer.status in (400, 409, 422), (method, body, answer.body)
    uid = {**config_map("b"), "metadata": {"name": "b", "uid": "mine", "generation": 7, "deletionTimestamp": "x"}}
    answer = await api.send("POST", MAPS, uid)
    assert answer.status in (400, 422) or answer.tree["metadata"]["uid"] != "mine"
    assert (await api.get(f"{MAPS}/a")) == made
    assert (
        await api.send("PATCH", f"{MAPS}/a", b'{"kind":null}', content_type="application/merge-patch+json")
    ).status == 200
    assert (await api.get(f"{MAPS}/a"))["kind"] == "ConfigMap"


# Bodies, checklist B1 and B2


@at_once
@over_https
async def test_a_body_over_three_mebibytes_is_refused(api: Api) -> None:
    """At the limit it is read; one byte more is 413, plain, chunked or packed."""
    limit = 3 * 1024 * 1024
    shell = len(orjson.dumps(config_map("a", k="")))
    at = orjson.dumps(config_map("a", k="x" * (limit - shell)))
    assert len(at) == limit
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    for body, expected in ((at, 422), (at + b" ", 413)):
        plain = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        assert (await raw(api, plain))[0] == expected
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        assert (await raw(api, chunked))[0] == expected
    packed = gzip.compress(b" " * (40 * 1024 * 1024))
    answer = await api.send("POST", MAPS, packed, content_encoding="gzip")
    assert answer.status in (400, 413, 415)
    assert (await api.send("GET", "/version")).status == 200


@over_https
async def test_bodies_that_are_none(api: Api) -> None:
    """What cannot be read is a 400 or 415 with a Status; the connection's next request is served."""
    good = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x07\n\x05\n\x03abc"
    protobuf = "application/vnd.kubernetes.protobuf"
    wrong: list[tuple[bytes, str]] = [
        *((good[:length], protobuf) for length in range(len(good))),
        (b"k8s\1" + good[4:], protobuf),
        (b"\0" * 100, protobuf),
        (b"k8s\0" + b"\xff" * 100, protobuf),
        (b"k8s\0\x0a\xff\xff\xff\xff\x0f", protobuf),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"a":NaN}', "application/json"),
        (b'{"a":"\\ud800"}', "application/json"),
        (b'{"a":"\xff"}', "application/json"),
        (b"a: [", "application/yaml"),
        (b"a: b\n---\nc: d", "application/yaml"),
        (b"{}", "text/plain"),
        (b"{}", "application/cbor"),
        (b"\x1f\x8b", "application/gzip"),
    ]
    for body, media in wrong:
        answer = await api.send("POST", MAPS, body, content_type=media)
        assert answer.status in (400, 415, 422), (body, media, answer.status)
        assert b"Status" in answer.body
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n".encode()
    broken = [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Content-Length: -1\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    ]
    for rest in broken:
        code, answered = await raw(api, head + rest)
        assert code in (0, 400, 413, 415, 431), (rest[:60], answered[:200])
    assert (await api.send("GET", "/version")).status == 200


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)


def _nested(depth: int) -> bytes:
    return b'{"data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", _nested(9_999)),
        ("application/json", _nested(10_001)),
        ("application/json", b"[" * 500_000),
        ("application/json", b'{"a":' * 200_000),
        ("application/yaml", BOMB.encode()),
        ("application/yaml", b"[" * 100_000),
        ("application/yaml", b"{a: " * 100_000),
        ("application/yaml", b"- " * 100_000),
        ("application/yaml", b"a: &a\n  b: *a"),
        ("application/vnd.kubernetes.protobuf", b"k8s\0" + b"\x0a\x7f" * 50_000),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value.rpartition("/")[2],
)
@at_once
@in_process
async def test_bombs_do_not_go_off(api: Api, media: str, body: bytes) -> None:
    """Depth and aliases are refused in bounded time, on create and on apply."""
    answer = await api.send("POST", MAPS, body, content_type=media)
    assert answer.status in (400, 413, 422), answer.body[:200]
    if media == "application/yaml":
        path = f"{MAPS}/a?fieldManager=x"
        answer = await api.send("PATCH", path, body, content_type="application/apply-patch+yaml")
        assert answer.status in (400, 413, 422), answer.body[:200]
    if media == "application/json":
        await api.create(MAPS, config_map("a"))
        for kind in ("merge", "strategic", "json"):
            assert (await api.patch(f"{MAPS}/a", body, kind)).status in (400, 413, 422)
    assert len(answer.body) < 10_000


@at_once
@in_process
async def test_patches_stay_small(api: Api) -> None:
    """Too many operations, or copies of copies, are refused; missing paths too."""
    await api.create(MAPS, config_map("a", a="x" * 1000))
    many = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001
    assert (await api.patch(f"{MAPS}/a", many, "json")).status == 413
    assert (await api.patch(f"{MAPS}/a", many[:10_000], "json")).status == 200
    doubling = [{"op": "add", "path": "/data/l", "value": ["x" * 100]}]
    doubling += [{"op": "copy", "from": "/data/l", "path": "/data/l/-"}] * 40
    assert (await api.patch(f"{MAPS}/a", doubling, "json")).status in (400, 413, 422)
    widening = [{"op": "copy", "from": "/data/a", "path": f"/data/a{n}"} for n in range(9_999)]
    assert (await api.patch(f"{MAPS}/a", widening, "json")).status in (413, 422)
    for operation in (
        {"op": "test", "path": "/nothing/here", "value": 1},
        {"op": "move", "from": "/nothing", "path": "/data/b"},
        {"op": "remove", "path": "/data/nothing"},
        {"op": "replace", "path": ""},
        {"op": "add", "path": "/metadata/labels/a/b", "value": "c"},
    ):
        assert (await api.patch(f"{MAPS}/a", [operation], "json")).status in (400, 422), operation


# Selectors, checklist B4


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=" + "(" * 10_000,
        "labelSelector=a in (" + "x," * 20_000,
        "labelSelector=" + "a" * 30_000 + "=b",
        "labelSelector=a=" + "b" * 64,
        "labelSelector=a=b=c",
        "labelSelector=!",
        "labelSelector=(a+)+$",
        "labelSelector=a>b",
        "labelSelector=,,",
        "fieldSelector=unknown=x",
        "fieldSelector=metadata.labels=x",
        "fieldSelector=data.k=x",
        "fieldSelector=x",
        "fieldSelector=" + "\\" * 9_999,
        "fieldSelector=" + "!" * 20_000,
        "limit=x",
        "resourceVersion=-1",
        "resourceVersion=x",
        "watch=1&resourceVersion=-1",
        "watch=1&timeoutSeconds=x",
        "resourceVersionMatch=x&resourceVersion=1",
    ],
    ids=lambda query: query[:32],
)
@at_once
@in_process
async def test_questions_that_make_no_sense(api: Api, query: str) -> None:
    """A 400 or 422, at once."""
    await api.create(MAPS, config_map("a"))
    answer = await api.send("GET", f"{MAPS}?{query}")
    assert answer.status in (400, 422), answer.body[:300]


@at_once
@in_process
async def test_a_long_selector_is_answered_in_time(api: Api) -> None:
    """Ten thousand terms over some objects."""
    for name in "abcde":
        await api.create(MAPS, config_map(name))
    terms = ",".join(f"k{n}!=v" for n in range(10_000))
    assert (await api.send("GET", f"{MAPS}?labelSelector={terms}")).status == 200


# Server-side apply, checklist B6


@in_process
async def test_apply_takes_no_forged_owners(api: Api) -> None:
    """No manager, managedFields in the body, lists with one key twice, another's uid: none is let through."""
    deployments = "/apis/apps/v1/namespaces/default/deployments/web"
    container = {"name": "c", "image": "x"}
    good = {
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}},
    }  # fmt: skip
    assert (await api.patch(deployments, good, "apply")).status in (400, 422)
    path = f"{deployments}?fieldManager=one"

    def changed(**values: Any) -> Tree:
        return {**good, **values}

    twice = orjson.loads(orjson.dumps(good))
    twice["spec"]["template"]["spec"]["containers"].append(container)
    forged = [
        {"manager": "two", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {}}
    ]
    wrong = [
        changed(metadata={"name": "web", "managedFields": forged}),
        changed(metadata={"name": "web", "managedFields": forged * 20_000}),
        changed(metadata={"name": "other"}),
        changed(metadata={}) | {"kind": "Pod"},
        changed(apiVersion="apps/v9"),
        changed(metadata="x"),
        changed(metadata={"name": "web", "uid": "another"}),
    ]
    for body in wrong:
        answer = await api.patch(path, body, "apply")
        assert answer.status in (400, 409, 422), (str(body)[:200], answer.body[:300])
    for body in (changed(spec={"bogus": 1}), twice):
        answer = await api.patch(path, body, "apply")
        assert (answer.status, answer.tree["message"].partition(" (")[0]) == (
            500,
            "failed to create typed patch object",
        )
    assert (await api.patch(f"{deployments}?fieldManager={'x' * 129}", good, "apply")).status in (400, 422)
    assert (await api.patch(path, good, "apply")).status == 201
    other = orjson.loads(orjson.dumps(good))
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "y"
    answer = await api.patch(f"{deployments}?fieldManager=two", other, "apply")
    assert (answer.status, answer.tree["reason"]) == (409, "Conflict")


@in_process
async def test_managed_fields_in_a_plain_write_are_checked(api: Api) -> None:
    """Nonsense there is refused or dropped, never stored as somebody's, and breaks no later write."""
    made = await api.create(MAPS, config_map("a", k="v"))
    for fields in (
        [{"manager": "x", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": 5}}],
        [{"manager": "x", "operation": "Steal", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}],
        [{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "V9", "fieldsV1": {"q": {"r": 1}}}],
        [{"fieldsV1": {"k:nonsense": {}, "v:{": {}, "i:x": {}, ".": 3}}],
    ):
        body = {**made, "metadata": {**made["metadata"], "managedFields": fields, "resourceVersion": ""}}
        assert (await api.send("PUT", f"{MAPS}/a", body)).status in (200, 400, 422)
        path = f"{MAPS}/a?fieldManager=one&force=true"
        assert (await api.patch(path, config_map("a", k="w"), "apply")).status == 200
        assert (await api.patch(f"{MAPS}/a", {"data": {"z": "1"}})).status == 200


# Agents, checklist B9


async def test_an_agent_sends_us_nowhere_else() -> None:
    """A redirect, also of an upgrade, is not followed: it would carry our certificate along."""
    asked: list[str] = []

    async def redirect(request: Request) -> Response:
        asked.append(request.path)
        return Response(302, b"", {"Location": "/stolen"})

    agent = Listener(redirect, on_error, None)
    port = await agent.listen(Address("127.0.0.1", 0))
    dialer = HttpsDialer(ssl.create_default_context())
    try:
        code, _ = await dialer.get(f"http://127.0.0.1:{port}/containerLogs/a/b/c")
        assert code == 302
        with pytest.raises(OSError, match="not followed"):
            await dialer.websocket(f"http://127.0.0.1:{port}/exec/a/b/c", ("v5.channel.k8s.io",))
        assert asked == ["/containerLogs/a/b/c", "/exec/a/b/c"]
    finally:
        await dialer.close()
        await agent.close(0.1)


@in_process
@pytest.mark.parametrize("query", ["tailLines=--5", "tailLines=²", "sinceSeconds=-", "limitBytes=" + "9" * 5000])
async def test_log_questions_that_make_no_sense(api: Api, query: str) -> None:
    """Numbers that are none."""
    await api.create(PODS, pod("p"))
    assert (await api.send("GET", f"{PODS}/p/log?{query}")).status in (400, 422)


# What is never said (B19)


async def test_secrets_are_in_no_log_and_no_refusal(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries in tokens, headers and Secrets stay out of error bodies and of logs at every level."""
    caplog.set_level(logging.DEBUG)
    canary = "Canary0Bird1Sings"
    packed = base64.b64encode(canary.encode()).decode()
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"k": packed}}
    await api.create(SECRETS, secret)
    body = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": canary}}
    merge = "application/merge-patch+json"
    answers = [
        await api.send("GET", SECRETS, b"", NOBODY, authorization=f"Bearer {canary}"),
        await api.send("GET", SECRETS, b"", NOBODY, authorization=f"Basic {packed}"),
        await api.send(
            "GET", SECRETS, b"", NOBODY, sec_websocket_protocol=f"base64url.bearer.authorization.k8s.io.{packed}"
        ),
        await api.send("POST", SECRETS, {**secret, "data": {"k": f"{canary}!!"}}),
        await api.send("POST", SECRETS, {**secret, "data": {"k": [canary]}}),
        await api.send("POST", SECRETS, {**secret, "data": canary}),
        await api.send("POST", SECRETS, {**secret, "stringData": {"k": {canary: 1}}, "immutable": canary}),
        await api.send("POST", SECRETS, b'{"kind":"Secret","apiVersion":"v1","data":{"k":"' + canary.encode() + b'"'),
        await api.send("POST", SECRETS, secret),
        await api.send("PUT", f"{SECRETS}/s", {**secret, "type": "Other"}),
        await api.send("PATCH", f"{SECRETS}/s", {"data": {"k": f"{canary}!"}}, content_type=merge),
        await api.send("PATCH", f"{SECRETS}/s", {"data": {"x" * 254: packed}}, content_type=merge),
    ]
    review = await api.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
    assert canary not in str(review.tree["status"])
    immutable = {**secret, "metadata": {"name": "t"}, "immutable": True}
    await api.create(SECRETS, immutable)
    other = base64.b64encode(b"another").decode()
    answers.append(await api.send("PATCH", f"{SECRETS}/t", {"data": {"k": other}}, content_type=merge))
    for answer in answers:
        assert answer.status >= 400, answer.body
        text = answer.body.decode()
        assert canary not in text, text
        assert packed not in text, text
    assert canary not in caplog.text
    assert packed not in caplog.text


@over_https
async def test_a_refusal_is_one_line_of_headers(api: Api) -> None:
    """Warnings that quote the caller's text cannot start another header."""
    body = {**config_map("a"), 'x\r\nSet-Cookie: a="b"': 1, "ünïcode": 2}
    answer = await api.send("POST", MAPS, body)
    assert answer.status == 201
    assert "set-cookie" not in answer.headers
    assert "unknown field" in answer.headers["warning"]


@over_https
async def test_a_failure_of_ours_says_nothing_about_us(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with a Status; the story is in the log."""

    async def fail(self: Any, call: Any) -> Any:
        raise RuntimeError("inside story")

    monkeypatch.setattr(Reads, "get", fail)
    answer = await api.send("GET", f"{MAPS}/a")
    assert (answer.status, answer.tree["kind"], answer.tree["reason"]) == (500, "Status", "InternalError")
    assert b"inside story" not in answer.body
    assert "inside story" in caplog.text


@in_process
async def test_a_watch_that_nobody_reads_leaves_nothing_behind(api: Api) -> None:
    """A client that goes before its first event frees its place."""
    query = (("watch", "1"),)
    response = await api.app.handle(Request("GET", MAPS, query, {}, b"", ADMIN))
    held = api.app._watching._open  # noqa: SLF001
    assert len(held) == 1
    await response.body.aclose()  # type: ignore[union-attr]
    assert len(held) == 0


@in_process
async def test_a_form_that_nobody_makes_is_refused_before_the_write(api: Api) -> None:
    """406 leaves no object behind."""
    assert (await api.send("POST", MAPS, config_map("a"), accept="text/html")).status == 406
    assert (await api.send("GET", f"{MAPS}/a")).status == 404
