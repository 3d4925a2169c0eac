"""Who may do what (B8): random roles and bindings, against an evaluation of them that shares no code with the server."""

import itertools
import random
from typing import Any

import pytest

from sampan.web.message import Peer
from tests.server.conftest import ADMIN, Answer, Api, config_map
from tests.server.custom import crd, establish
from tests.server.test_security import MAPS, NOBODY, RBAC, bind, cluster_role, user

Tree = dict[str, Any]

in_process = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)

SPACES = ("mine", "yours")
PEOPLE: dict[str, Peer] = {
    "system:anonymous": NOBODY,
    "jane": Peer("jane", ("devs",)),
    "joe": Peer("joe"),
    "system:serviceaccount:mine:worker": Peer(
        "system:serviceaccount:mine:worker", ("system:serviceaccounts", "system:serviceaccounts:mine")
    ),
    "system:serviceaccount:yours:worker": Peer(
        "system:serviceaccount:yours:worker", ("system:serviceaccounts", "system:serviceaccounts:yours")
    ),
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RULE_VERBS = (*VERBS, "*", "use")
NAMES = ("a", "b")
URLS = ("/metrics", "/version", "/healthz", "/healthz/*", "/openapi/*", "/apis", "/*", "*", "/metricsx", "/logs/")
PATHS = ("/metrics", "/version", "/healthz/etcd", "/openapi/v2", "/apis", "/logs/", "/logs", "/metrics/x")
NAMED = ("get", "update", "patch", "delete")


def groups_of(name: str, peer: Peer) -> tuple[str, ...]:
    if name == "system:anonymous":
        return ("system:unauthenticated",)
    return (*peer.organizations, "system:authenticated")


def is_subject(subject: Tree, name: str, groups: tuple[str, ...]) -> bool:
    if subject["kind"] == "User":
        return bool(subject["name"] == name)
    if subject["kind"] == "Group":
        return subject["name"] in groups
    return name == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"


def covers(rule: Tree, ask: Tree) -> bool:
    """A rule of a role, by the words of the documentation."""
    if "path" in ask:
        urls = rule.get("nonResourceURLs", [])
        fits = any(u in ("*", ask["path"]) or (u.endswith("*") and ask["path"].startswith(u[:-1])) for u in urls)
        return fits and bool({ask["verb"], "*"} & set(rule["verbs"]))
    resource, _, sub = ask["resource"].partition("/")
    wanted = {ask["resource"], "*"} | ({f"*/{sub}"} if sub else set())
    names = rule.get("resourceNames", [])
    return bool(
        {ask["verb"], "*"} & set(rule["verbs"])
        and {ask["group"], "*"} & set(rule.get("apiGroups", []))
        and wanted & set(rule.get("resources", []))
        and (not names or ask["name"] in names)
        and resource
    )


def may(objects: Tree, name: str, peer: Peer, ask: Tree) -> bool:
    groups = groups_of(name, peer)
    roles = {("ClusterRole", "", r["metadata"]["name"]): r for r in objects["clusterroles"]}
    roles |= {("Role", r["metadata"]["namespace"], r["metadata"]["name"]): r for r in objects["roles"]}
    for binding in (*objects["clusterrolebindings"], *objects["rolebindings"]):
        space = binding["metadata"].get("namespace", "")
        if space and (space != ask.get("namespace") or "path" in ask):
            continue
        if not any(is_subject(subject, name, groups) for subject in binding.get("subjects", [])):
            continue
        ref = binding["roleRef"]
        role = roles.get((ref["kind"], space if ref["kind"] == "Role" else "", ref["name"]))
        if role is not None and any(covers(rule, ask) for rule in role.get("rules") or []):
            return True
    return False


class Chance:
    """Random roles, bindings and questions."""

    def __init__(self, seed: int, resources: list[tuple[str, str]]) -> None:
        self.random = random.Random(seed)  # noqa: S311 (not for secrets)
        self.resources = resources

    def some(self, values: Any, most: int = 3) -> list[Any]:
        return self.random.sample(list(values), self.random.randint(1, most))

    def rule(self, *, everywhere: bool) -> Tree:
        if everywhere and self.random.random() < 0.3:
            return {"verbs": self.some(("get", "*", "post")), "nonResourceURLs": self.some(URLS)}
        picked = self.some(self.resources)
        resources = [r for _, r in picked] + self.random.choice(
            [[], [], [], ["*"], ["*/status"], ["*/log"], ["pods/*"]]
        )
        rule = {"verbs": self.some(RULE_VERBS), "apiGroups": [g for g, _ in picked], "resources": resources}
        if self.random.random() < 0.1:
            rule["apiGroups"] = ["*"]
        if self.random.random() < 0.4:
            rule["resourceNames"] = self.some(NAMES, 2)
        return rule

    def subjects(self) -> list[Tree]:
        group = {"apiGroup": "rbac.authorization.k8s.io"}
        all_of_them: list[Tree] = [
            {"kind": "User", "name": "jane", **group},
            {"kind": "User", "name": "joe", **group},
            {"kind": "User", "name": "system:serviceaccount:mine:worker", **group},
            {"kind": "Group", "name": "devs", **group},
            {"kind": "Group", "name": "system:serviceaccounts:yours", **group},
            {"kind": "Group", "name": "joe", **group},
            {"kind": "User", "name": "devs", **group},
            {"kind": "ServiceAccount", "name": "worker", "namespace": "mine"},
            {"kind": "ServiceAccount", "name": "worker", "namespace": "yours"},
        ]
        return self.some(all_of_them, 2)

    def objects(self) -> dict[str, list[Tree]]:
        made: dict[str, list[Tree]] = {p: [] for p in ("clusterroles", "roles", "clusterrolebindings", "rolebindings")}
        for n in range(10):
            rules = [self.rule(everywhere=True) for _ in range(2)]
            made["clusterroles"].append({"metadata": {"name": f"r{n}"}, "rules": rules})
            rules = [self.rule(everywhere=False) for _ in range(2)]
            space = self.random.choice(SPACES)
            made["roles"].append({"metadata": {"name": f"r{n}", "namespace": space}, "rules": rules})
        for n in range(14):
            name = self.random.choice([f"r{n}" for n in range(10)] + ["missing"])
            kind = self.random.choice(["ClusterRole", "Role", "Role"])
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
            metadata = {"name": f"b{n}", "namespace": self.random.choice(SPACES)}
            made["rolebindings"].append({"metadata": metadata, "roleRef": ref, "subjects": self.subjects()})
            if n < 4:
                ref = {**ref, "kind": "ClusterRole"}
                one = {"metadata": {"name": f"b{n}"}, "roleRef": ref, "subjects": self.subjects()}
                made["clusterrolebindings"].append(one)
        return made


async def discovered(api: Api) -> list[tuple[str, str, str, bool]]:
    """(group, version, resource, namespaced) of everything that discovery names, subresources too."""
    found = []
    places = [("", "v1", "/api/v1")]
    for group in (await api.get("/apis"))["groups"]:
        version = group["preferredVersion"]["version"]
        places.append((group["name"], version, f"/apis/{group['name']}/{version}"))
    for group, version, path in places:
        resources = (await api.get(path))["resources"]
        found += [(group, version, r["name"], r["namespaced"]) for r in resources]
    return found


def path_of(group: str, version: str, resource: str, space: str, name: str) -> str:
    root = f"/apis/{group}/{version}" if group else "/api/v1"
    plural, _, sub = resource.partition("/")
    return "/".join(part for part in (root + (f"/namespaces/{space}" if space else ""), plural, name, sub) if part)


METHOD = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
          "delete": "DELETE", "deletecollection": "DELETE"}  # fmt: skip


async def ask(api: Api, peer: Peer, where: tuple[str, str, str, bool], question: Tree) -> Answer:
    group, version, resource, _ = where
    path = path_of(group, version, resource, question["namespace"], question["name"])
    query = "?watch=1&resourceVersion=99999999" if question["verb"] == "watch" else ""
    return await api.send(METHOD[question["verb"]], path + query, b"{", peer)


async def set_up(api: Api, chance: Chance) -> dict[str, list[Tree]]:
    for space in SPACES:
        await api.create("/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": space}})
    kinds = {"clusterroles": "ClusterRole", "roles": "Role", "clusterrolebindings": "ClusterRoleBinding",
             "rolebindings": "RoleBinding"}  # fmt: skip
    for plural, made in chance.objects().items():
        for obj in made:
            space = obj["metadata"].get("namespace")
            where = f"{RBAC}/namespaces/{space}/{plural}" if space else f"{RBAC}/{plural}"
            body = {**obj, "kind": kinds[plural], "apiVersion": "rbac.authorization.k8s.io/v1"}
            await api.create(where, body)
    return {plural: (await api.get(f"{RBAC}/{plural}"))["items"] for plural in kinds}


@in_process
@pytest.mark.parametrize("seed", range(6))
async def test_random_roles_mean_what_they_say(api: Api, seed: int) -> None:
    """Live answers and reviews, for each person, over everything that discovery names."""
    await establish(api, crd())
    resources = await discovered(api)
    assert ("example.com", "v1", "widgets", True) in resources
    chance = Chance(seed, [(group, resource) for group, _, resource, _ in resources])
    objects = await set_up(api, chance)
    wrong, allowed = [], 0
    for where in resources:
        group, _, resource, namespaced = where
        for (who, peer), verb in itertools.product(PEOPLE.items(), VERBS):
            is_sub, is_named = "/" in resource, verb in NAMED
            if is_sub and verb in ("list", "watch", "deletecollection", "delete"):
                continue
            name = chance.random.choice(NAMES) if is_named or is_sub else ""
            space = chance.random.choice(SPACES) if namespaced else ""
            if resource.partition("/")[0] == "namespaces" and name:
                space = name  # a namespace's own path is in it
                question = {"verb": verb, "group": group, "resource": resource, "namespace": "", "name": name}
            else:
                question = {"verb": verb, "group": group, "resource": resource, "namespace": space, "name": name}
            asked = {**question, "namespace": space}
            expected = may(objects, who, peer, asked)
            if resource in ("pods/exec", "pods/attach", "pods/portforward") and verb == "get":
                expected = expected and may(objects, who, peer, {**asked, "verb": "create"})
            answer = await ask(api, peer, where, question)
            allowed += expected
            if (answer.status != 403) != expected or answer.status in (401, 500):
                wrong.append((who, asked, answer.status, expected))
    for (who, peer), path in itertools.product(PEOPLE.items(), PATHS):
        answer = await api.send("GET", path, b"", peer)
        if (answer.status != 403) != may(objects, who, peer, {"verb": "get", "path": path}):
            wrong.append((who, path, answer.status))
    assert wrong == []
    assert allowed > 20


@in_process
async def test_reviews_agree_with_what_happens(api: Api) -> None:
    """SubjectAccessReview says of random questions what the independent evaluation says."""
    chance = Chance(7, [("", "pods"), ("", "secrets"), ("apps", "deployments"), ("", "pods/log"), ("x.io", "things")])
    objects = await set_up(api, chance)
    wrong = []
    for _ in range(400):
        (who, peer), (group, resource) = (
            chance.random.choice(list(PEOPLE.items())),
            chance.random.choice(chance.resources),
        )
        question = {"verb": chance.random.choice(VERBS), "group": group, "resource": resource}
        question |= {"namespace": chance.random.choice((*SPACES, "")), "name": chance.random.choice((*NAMES, ""))}
        plural, _, sub = resource.partition("/")
        spec = {"user": who, "groups": list(groups_of(who, peer))}
        spec["resourceAttributes"] = {**question, "resource": plural, "subresource": sub}
        review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        found = await api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        if found["status"]["allowed"] != may(objects, who, peer, question):
            wrong.append((who, question, found["status"]))
    assert wrong == []


@in_process
async def test_rights_end_with_their_binding_role_and_group(api: Api) -> None:
    """What is taken away holds from the next request on, also for open questions by another verb's form."""
    rule = {"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}
    await cluster_role(api, "lister", rule)
    await bind(api, "lister", user("jane"))
    jane = Peer("jane")
    await api.create(MAPS, config_map("a"))
    assert (await api.send("GET", MAPS, b"", jane)).status == 200
    assert (await api.send("GET", f"{MAPS}?watch=true", b"", jane)).status == 403
    assert (await api.send("GET", f"{MAPS}?watch=1&watch=0", b"", jane)).status == 403
    assert (await api.send("HEAD", f"{MAPS}/a", b"", jane)).status == 403
    assert (await api.send("DELETE", MAPS, b"", jane)).status == 403
    await api.patch(f"{RBAC}/clusterroles/lister", {"rules": []})
    assert (await api.send("GET", MAPS, b"", jane)).status == 403
    await api.patch(f"{RBAC}/clusterroles/lister", {"rules": [rule]})
    assert (await api.send("GET", MAPS, b"", jane)).status == 200
    await api.delete(f"{RBAC}/clusterrolebindings/lister-jane")
    assert (await api.send("GET", MAPS, b"", jane)).status == 403
    assert (await api.send("GET", MAPS, b"", ADMIN)).status == 200


@in_process
async def test_groups_that_a_header_or_certificate_brings_are_exact(api: Api) -> None:
    """Spaces, letter case, look-alikes and commas make another group, and no master."""
    for group in (
        "System:masters",
        "system:masters ",
        " system:masters",
        "system:mаsters",
        "system:masters,x",
        "masters",
    ):
        assert (await api.send("GET", "/api/v1/secrets", b"", Peer("eve", (group,)))).status == 403, group
    assert (await api.send("GET", "/api/v1/secrets", b"", Peer("", ("system:masters",)))).status == 403
