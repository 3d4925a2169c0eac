"""Tokens that live in Secrets: each use is noted, warned of where the token was made by itself, and on the record."""

import base64
import json
from typing import Any

from sampan.web.message import Peer
from tests.server.configured import Lines, configured
from tests.server.conftest import Api

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
SECRETS = "/api/v1/namespaces/default/secrets"
SYSTEM_MAPS = "/api/v1/namespaces/kube-system/configmaps"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
AUTHN = "/apis/authentication.k8s.io/v1"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
AUTO_WARNING = (
    '299 - "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated '
    'secret-based tokens."'
)
USER = "system:serviceaccount:default:default"
EVERYTHING = "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: Metadata}]\nomitStages: [RequestReceived]\n"
DAY = 24 * 3600
Tree = dict[str, Any]


async def add_token(api: Api, name: str = "legacy") -> str:
    """A Secret with the token of the default account."""
    account = await api.get(f"{ACCOUNTS}/default")
    metadata = {"name": name, "annotations": {"kubernetes.io/service-account.name": "default"}}
    kind = "kubernetes.io/service-account-token"
    body = {"kind": "Secret", "apiVersion": "v1", "type": kind, "metadata": metadata}
    token = api.app.legacy_token(account, await api.create(SECRETS, body))
    held = {"data": {"token": base64.b64encode(token.encode()).decode()}}
    assert (await api.patch(f"{SECRETS}/{name}", held)).status == 200
    return token


async def whoami(api: Api, token: str) -> Any:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    return await api.send("POST", f"{AUTHN}/selfsubjectreviews", body, Peer(), authorization=f"Bearer {token}")


async def review(api: Api, token: str) -> Any:
    body = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    return await api.send("POST", f"{AUTHN}/tokenreviews", body)


async def label(api: Api, key: str, name: str = "legacy") -> str | None:
    labels = (await api.get(f"{SECRETS}/{name}"))["metadata"].get("labels") or {}
    return labels.get(key)


async def revision(api: Api) -> str:
    return str((await api.get(f"{SECRETS}/legacy"))["metadata"]["resourceVersion"])


async def test_a_use_is_noted_once_a_day(api: Api) -> None:
    """Also by a review; a day that another server's clock has begun already stays."""
    token = await add_token(api)
    assert await label(api, LAST_USED) is None
    assert (await whoami(api, token)).status == 201
    assert await label(api, LAST_USED) == "2026-01-01"
    before = await revision(api)
    api.clock.time += DAY - 1
    assert (await whoami(api, token)).status == 201
    assert await revision(api) == before
    api.clock.time += 1
    assert (await review(api, token)).tree["status"]["authenticated"] is True
    assert await label(api, LAST_USED) == "2026-01-02"
    before = await revision(api)
    api.clock.time -= DAY
    await whoami(api, token)
    assert await revision(api) == before


async def test_a_token_that_was_made_by_itself_is_warned_of(api: Api) -> None:
    """The account names its Secret; of one that somebody made, nothing is said."""
    token = await add_token(api)
    assert "warning" not in (await whoami(api, token)).headers
    assert (await api.patch(f"{ACCOUNTS}/default", {"secrets": [{"name": "legacy"}]})).status == 200
    assert (await whoami(api, token)).headers["warning"] == AUTO_WARNING
    assert (await review(api, token)).headers["warning"] == AUTO_WARNING
    forbidden = await api.send("GET", "/api/v1/nodes", b"", Peer(), authorization=f"Bearer {token}")
    assert (forbidden.status, forbidden.headers["warning"]) == (403, AUTO_WARNING)


async def test_a_token_marked_as_invalid_is_refused(api: Api) -> None:
    """Its use is noted all the same, and the refusal says what to do."""
    token = await add_token(api)
    await api.patch(f"{SECRETS}/legacy", {"metadata": {"labels": {INVALID_SINCE: "2025-12-01"}}})
    assert (await whoami(api, token)).status == 401
    assert await label(api, LAST_USED) == "2026-01-01"
    error = (await review(api, token)).tree["status"]["error"]
    assert error == (
        "[invalid bearer token, the token in secret default/legacy for service account default/default has been marked "
        "invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
        "'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token]"
    )
    await api.patch(f"{SECRETS}/legacy", {"metadata": {"labels": {INVALID_SINCE: None}}})
    assert (await whoami(api, token)).status == 201


async def test_since_when_uses_are_noted_is_told(api: Api) -> None:
    """In a ConfigMap that comes back, and whose date is put right; a date that is one stays."""
    path = f"{SYSTEM_MAPS}/{TRACKING}"
    assert (await api.get(path))["data"] == {"since": "2026-01-01"}
    mend = api.app.keeper._mend  # noqa: SLF001
    assert mend is not None
    await api.patch(path, {"data": {"since": "2025-06-30", "more": "x"}})
    await mend()
    assert (await api.get(path))["data"] == {"since": "2025-06-30", "more": "x"}
    await api.patch(path, {"data": {"since": "long ago"}})
    await mend()
    assert (await api.get(path))["data"] == {"since": "2026-01-01", "more": "x"}
    await api.delete(path)
    await mend()
    assert (await api.get(path))["data"] == {"since": "2026-01-01"}


async def test_uses_are_on_the_record() -> None:
    """In the audit log with the Secret's name, those that are refused too; and counted."""
    lines = Lines()
    async with configured(EVERYTHING, audit=lines) as api:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        await api.create(ACCOUNTS, account)
        token = await add_token(api)

        async def noted() -> Tree:
            lines.lines.clear()
            await whoami(api, token)
            found = [json.loads(line) for line in lines.lines]
            (event,) = [event for event in found if "selfsubjectreviews" in event["requestURI"]]
            prefix = "authentication.k8s.io/"
            return {k.removeprefix(prefix): v for k, v in event["annotations"].items() if k.startswith(prefix)}

        assert await noted() == {"legacy-token": USER, "legacy-token-manual-secret": "legacy"}
        await api.patch(f"{ACCOUNTS}/default", {"secrets": [{"name": "legacy"}]})
        assert await noted() == {"legacy-token": USER, "legacy-token-autogenerated-secret": "legacy"}
        await api.patch(f"{SECRETS}/legacy", {"metadata": {"labels": {INVALID_SINCE: "2025-12-01"}}})
        assert await noted() == {"legacy-token": USER, "legacy-token-invalidated": "legacy/default"}
        text = (await api.send("GET", "/metrics")).body.decode()
        for line in (
            "serviceaccount_legacy_tokens_total 3",
            "serviceaccount_legacy_manual_token_uses_total 1",
            "serviceaccount_legacy_auto_token_uses_total 1",
            "serviceaccount_invalid_legacy_auto_token_uses_total 1",
        ):
            assert line in text
