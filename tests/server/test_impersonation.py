"""Constrained impersonation: to act as somebody else for some requests only."""

from sampan.web.message import Peer
from tests.server.configured import Lines, configured
from tests.server.conftest import Api, Tree, pod
from tests.server.test_audit import events

BOT = Peer("bot")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
PODS = "/api/v1/namespaces/default/pods"
AUTHN = "authentication.k8s.io"


async def grant(api: Api, name: str, subject: str, *rules: tuple[str, str, str]) -> None:
    """What a user may: (verb, group, resource) each."""
    made = [{"verbs": [verb], "apiGroups": [group], "resources": [resource]} for verb, group, resource in rules]
    meta: Tree = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    await api.create(f"{RBAC}/clusterroles", {**meta, "kind": "ClusterRole", "rules": made})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subjects = [{"kind": "User", "name": subject, "apiGroup": "rbac.authorization.k8s.io"}]
    binding = {**meta, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": subjects}
    await api.create(f"{RBAC}/clusterrolebindings", binding)


async def test_a_user_for_one_verb(api: Api) -> None:
    """Both rights are needed; what jane may beyond the verb is refused, and so is what she may not."""
    await api.create(PODS, pod("p"))
    await grant(api, "jane", "jane", ("list", "", "pods"), ("get", "", "pods"))
    answer = await api.send("GET", PODS, b"", BOT, impersonate_user="jane")
    text = (
        'users "jane" is forbidden: User "bot" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    assert (answer.status, answer.tree["message"]) == (403, text)
    await grant(api, "on", "bot", ("impersonate-on:user-info:list", "", "pods"))
    answer = await api.send("GET", PODS, b"", BOT, impersonate_user="jane")
    assert answer.status == 403
    await grant(api, "who", "bot", ("impersonate:user-info", AUTHN, "users"))
    answer = await api.send("GET", PODS, b"", BOT, impersonate_user="jane")
    assert [each["metadata"]["name"] for each in answer.tree["items"]] == ["p"]
    assert (await api.send("GET", f"{PODS}/p", b"", BOT, impersonate_user="jane")).status == 403
    assert (await api.send("GET", PODS, b"", BOT, impersonate_user="joe")).status == 403
    for more in ({"impersonate_group": "g"}, {"impersonate_uid": "7"}):
        assert (await api.send("GET", PODS, b"", BOT, impersonate_user="jane", **more)).status == 403


async def test_who_am_i_is_answered_with_all_that_was_said(api: Api) -> None:
    """Name, uid, groups and what else is known of the user, and when; nothing of the question's own metadata."""
    said = {"impersonate_user": "jane-doe", "impersonate_uid": "uniq-id", "impersonate_group": "developers"}
    question = {**REVIEW, "metadata": {"name": "mine", "labels": {"a": "b"}}}
    found = (await api.send("POST", WHOAMI, question, impersonate_extra_known_languages="python", **said)).tree
    groups = ["developers", "system:authenticated"]
    extra = {"known-languages": ["python"]}
    assert found["status"]["userInfo"] == {
        "username": "jane-doe", "uid": "uniq-id", "groups": groups, "extra": extra,
    }  # fmt: skip
    assert list(found["metadata"]) == ["creationTimestamp"]


async def test_service_accounts_and_nodes(api: Api) -> None:
    """Each by verbs of its own; a node comes with its group."""
    account, node = "system:serviceaccount:default:a", "system:node:n1"
    for user in (account, node):
        assert (await api.send("POST", WHOAMI, REVIEW, BOT, impersonate_user=user)).status == 403
    on = [f"impersonate-on:{mode}:create" for mode in ("serviceaccount", "arbitrary-node")]
    await grant(api, "on", "bot", *((verb, AUTHN, "selfsubjectreviews") for verb in on))
    who = (("impersonate:serviceaccount", AUTHN, "serviceaccounts"), ("impersonate:arbitrary-node", AUTHN, "nodes"))
    await grant(api, "who", "bot", *who)
    found = [(await api.send("POST", WHOAMI, REVIEW, BOT, impersonate_user=user)).tree for user in (account, node)]
    groups = [tree["status"]["userInfo"]["groups"] for tree in found]
    assert groups[0] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert groups[1] == ["system:nodes", "system:authenticated"]
    answer = await api.send("POST", WHOAMI, REVIEW, BOT, impersonate_user=node, impersonate_group="system:masters")
    assert answer.status == 403


async def test_masters_are_beyond_constraints(api: Api) -> None:
    """Only the unlimited right makes somebody a master."""
    await grant(
        api, "all", "bot", *((verb, "*", "*") for verb in ("impersonate:user-info", "impersonate-on:user-info:list"))
    )
    given = {"impersonate_user": "jane", "impersonate_group": "system:masters"}
    assert (await api.send("GET", PODS, b"", BOT, **given)).status == 403
    await grant(api, "old", "bot", ("impersonate", "", "users"), ("impersonate", "", "groups"))
    assert (await api.send("GET", PODS, b"", BOT, **given)).status == 200


async def test_the_record_says_by_which_right() -> None:
    """The audit event names the constraint."""
    lines = Lines()
    text = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: Metadata}]}"
    async with configured(text, audit=lines) as api:
        lines.lines.clear()
        await api.send("GET", PODS, impersonate_user="jane", impersonate_group="system:masters")
        await api.send("GET", PODS, impersonate_user="jane")
        found = [event.get("authenticationMetadata") for event in events(lines)]
        assert found == [None, {"impersonationConstraint": "impersonate:user-info"}]
