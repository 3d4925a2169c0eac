"""The audit log: what is recorded of whom, at which level, and what is never in it."""

from pathlib import Path
from typing import Any

import orjson

from sampan.server.audit.log import File
from sampan.web.message import Peer
from tests.server.configured import Lines, configured
from tests.server.conftest import NOW, config_map

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:apiserver]
- level: None
  nonResourceURLs: [/healthz*, /version]
- level: Metadata
  resources: [{group: "", resources: [secrets, serviceaccounts/token]}]
- level: Request
  verbs: [create]
  resources: [{group: "", resources: [configmaps], resourceNames: []}]
  namespaces: [default]
- level: RequestResponse
  users: [jane]
  omitManagedFields: true
- level: Metadata
  omitStages: [ResponseStarted]
"""
MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
JANE = Peer("jane", ("devs",), "10.0.0.9")
VIEW = {
    "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "view"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
}  # fmt: skip


def events(lines: Lines) -> list[dict[str, Any]]:
    found = [orjson.loads(line) for line in lines.lines]
    lines.lines.clear()
    return found


async def test_the_first_rule_decides_how_much_is_recorded() -> None:
    """Metadata without bodies, Request with the request's, RequestResponse with both; None leaves no trace."""
    lines = Lines()
    async with configured(POLICY, audit=lines) as api:
        await api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", VIEW)
        assert events(lines)[0]["level"] == "Metadata"
        await api.get("/version")
        assert events(lines) == []
        await api.create(MAPS, config_map("a", key="value"))
        (event,) = events(lines)
        assert (event["level"], event["verb"], event["stage"]) == ("Request", "create", "ResponseComplete")
        assert event["requestObject"]["data"] == {"key": "value"}
        assert "responseObject" not in event
        answer = await api.send(
            "GET", f"{MAPS}/a?pretty=1", b"", JANE, user_agent="curl/8", x_forwarded_for="192.0.2.7, x"
        )
        (event,) = events(lines)
        assert event["responseObject"]["data"] == {"key": "value"}
        assert "managedFields" not in event["responseObject"]["metadata"]
        assert event["auditID"] == answer.headers["audit-id"]
        assert event["requestURI"] == f"{MAPS}/a?pretty=1"
        assert event["sourceIPs"] == ["192.0.2.7", "10.0.0.9"]
        assert event["userAgent"] == "curl/8"
        assert event["user"] == {"username": "jane", "groups": ["devs", "system:authenticated"]}
        assert event["objectRef"] == {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"}
        assert event["responseStatus"] == {"metadata": {}, "code": 200}
        assert event["annotations"]["authorization.k8s.io/decision"] == "allow"
        assert event["annotations"]["authorization.k8s.io/reason"].startswith("RBAC: allowed by ClusterRoleBinding")
        assert event["requestReceivedTimestamp"] == "2026-01-01T00:00:00.000000Z"


async def test_secrets_leave_no_value_at_metadata() -> None:
    """Neither a Secret's data nor a token is in any line."""
    lines = Lines()
    async with configured(POLICY, audit=lines) as api:
        canary = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"p": "CANARY"}}
        await api.create(SECRETS, canary)
        await api.get(f"{SECRETS}/s")
        await api.patch(f"{SECRETS}/s", {"stringData": {"p": "CANARY-2"}})
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}}
        await api.create("/api/v1/namespaces/default/serviceaccounts", account)
        asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        made = await api.create("/api/v1/namespaces/default/serviceaccounts/a/token", asked)
        whole = b"".join(lines.lines)
        assert b"CANARY" not in whole
        assert b"Q0FOQVJZ" not in whole
        assert made["status"]["token"].encode() not in whole


async def test_tokens_are_never_recorded() -> None:
    """Not even at RequestResponse: what is issued, and what is reviewed."""
    lines = Lines()
    text = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}"
    async with configured(text, audit=lines) as api:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}}
        await api.create("/api/v1/namespaces/default/serviceaccounts", account)
        asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        made = await api.create("/api/v1/namespaces/default/serviceaccounts/a/token", asked)
        token = made["status"]["token"]
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
        await api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)
        await api.send("GET", f"/api?access_token={token}")
        assert token.encode() not in b"".join(lines.lines)


async def test_refusals_are_recorded_with_their_reason() -> None:
    """401 without a user, 403 as forbidden, 404 as a Status; an impersonated user beside the real one."""
    lines = Lines()
    async with configured(POLICY, audit=lines) as api:
        lines.lines.clear()
        await api.send("GET", MAPS, b"", Peer(), authorization="Bearer nonsense")
        (event,) = events(lines)
        assert (event["user"], event["responseStatus"]["code"]) == ({}, 401)
        await api.send("GET", SECRETS, b"", JANE)
        (event,) = events(lines)
        assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert event["responseStatus"]["reason"] == "Forbidden"
        await api.send("GET", f"{SECRETS}/missing", impersonate_user="u", impersonate_group="system:masters")
        (event,) = events(lines)
        assert event["user"]["username"] == "kubernetes-admin"
        assert event["impersonatedUser"] == {"username": "u", "groups": ["system:masters", "system:authenticated"]}
        assert event["responseStatus"]["code"] == 404
        assert event["responseStatus"]["details"] == {"name": "missing", "kind": "secrets"}
        await api.send("GET", f"{SECRETS}/missing", accept="application/vnd.kubernetes.protobuf")
        (event,) = events(lines)
        assert event["responseStatus"]["reason"] == "NotFound"


async def test_a_watch_is_recorded_when_it_begins_and_when_it_ends() -> None:
    """ResponseStarted, then ResponseComplete with the same id."""
    lines = Lines()
    text = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: Metadata}]}"
    async with configured(text, audit=lines) as api:
        lines.lines.clear()
        await api.send("GET", f"{MAPS}?watch=1&timeoutSeconds=1", audit_id="given")
        found = events(lines)
        assert [(e["stage"], e["auditID"]) for e in found] == [
            ("ResponseStarted", "given"),
            ("ResponseComplete", "given"),
        ]


async def test_a_huge_event_is_recorded_without_its_bodies() -> None:
    """And says that it was cut."""
    lines = Lines()
    text = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: Request}]}"
    async with configured(text, audit=lines) as api:
        lines.lines.clear()
        await api.create(MAPS, config_map("big", key="x" * 900_000, other="\x01" * 30_000))
        (event,) = events(lines)
        assert "requestObject" not in event
        assert event["annotations"]["audit.k8s.io/truncated"] == "true"


async def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    """The newest ten stay, each under its bound and readable by its owner only; nothing is lost between them."""
    times = iter(range(100))
    file = File(tmp_path / "audit.log", lambda: NOW + next(times), max_bytes=100)
    for number in range(40):
        file.write(b"%030d\n" % number)
        file.flush()
    file.close()
    check_files(tmp_path)


def check_files(tmp_path: Path) -> None:
    files = sorted(tmp_path.glob("audit-*.log"))
    assert len(files) == 10
    kept = b"".join(path.read_bytes() for path in [*files, tmp_path / "audit.log"])
    numbers = [int(line) for line in kept.split()]
    assert numbers == list(range(numbers[0], 40))
    assert all(path.stat().st_size <= 100 for path in files)
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600
