"""LimitRange and ResourceQuota: what a namespace's objects get unasked, and may take together."""

import asyncio
from typing import Any

from tests.server.conftest import Api, Tree, config_map, pod

BASE = "/api/v1/namespaces/default"
QUOTAS, PODS, RANGES = f"{BASE}/resourcequotas", f"{BASE}/pods", f"{BASE}/limitranges"


async def quota(api: Api, name: str, hard: Tree, used: Tree | None = None, **spec: Any) -> Tree:
    """A quota that has been counted already."""
    obj = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    made = await api.create(QUOTAS, obj)
    assert made["status"] == {}
    zero = dict.fromkeys(hard, "0")
    return await api.put(
        f"{QUOTAS}/{name}/status", {**made, "status": {"hard": hard, "used": {**zero, **(used or {})}}}
    )


def sized(name: str, requests: Tree | None = None, limits: Tree | None = None, **spec: Any) -> Tree:
    """A pod whose container says what it needs."""
    made = pod(name, **spec)
    made["spec"]["containers"][0]["resources"] = {"requests": requests or {}, "limits": limits or {}}
    return made


def limit_range(name: str, **item: Any) -> Tree:
    spec = {"limits": [{"type": "Container", **item}]}
    return {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


async def test_a_pod_gets_the_defaults_of_its_limit_range(api: Api) -> None:
    """344: requests and limits come from the range, and pods below or above it are refused in upstream's words."""
    item = {
        "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "300m", "memory": "300Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
    }  # fmt: skip
    await api.create(RANGES, limit_range("r", **item))
    made = await api.create(PODS, pod("plain"))
    resources = made["spec"]["containers"][0]["resources"]
    assert resources == {"limits": item["default"], "requests": item["defaultRequest"]}
    note = "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == note
    partly = await api.create(PODS, sized("partly", {"cpu": "150m"}))
    assert partly["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "150m", "memory": "200Mi"}
    low = await api.send("POST", PODS, sized("low", {"cpu": "10m"}))
    assert low.status == 403
    text = 'pods "low" is forbidden: minimum cpu usage per Container is 50m, but request is 10m'
    assert low.tree["message"] == text
    high = await api.send("POST", PODS, sized("high", {"cpu": "600m"}, {"cpu": "600m"}))
    assert high.tree["message"] == (
        'pods "high" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m'
    )


async def test_a_limit_range_defaults_itself_and_is_validated(api: Api) -> None:
    """345: ranges are listed, patched and deleted by collection; a wrong order of amounts is refused."""
    made = await api.create(RANGES, limit_range("r", max={"cpu": "1"}, min={"cpu": "100m"}))
    assert made["spec"]["limits"][0]["default"] == made["spec"]["limits"][0]["defaultRequest"] == {"cpu": "1"}
    wrong = limit_range("w", max={"cpu": "1"}, min={"cpu": "2"})
    wrong["spec"]["limits"][0]["defaultRequest"] = {"cpu": "2"}
    answer = await api.send("POST", RANGES, wrong)
    assert answer.status == 422
    assert "min value 2 is greater than max value 1" in answer.tree["message"]
    body = {"metadata": {"labels": {"r": "patched"}}}
    assert (await api.patch(f"{RANGES}/r", body, "strategic")).status == 200
    listed = await api.get("/api/v1/limitranges?labelSelector=r%3Dpatched".replace("%3D", "="))
    assert len(listed["items"]) == 1
    assert (await api.delete(f"{RANGES}?labelSelector=r=patched")).status == 200
    assert (await api.get(RANGES))["items"] == []


async def test_ratio_and_whole_pods_are_limited(api: Api) -> None:
    """A limit too far above its request, and pods and claims beyond their bounds, are refused."""
    spec = {
        "limits": [
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}},
        ]
    }
    await api.create(RANGES, {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "r"}, "spec": spec})
    uneven = await api.send("POST", PODS, sized("u", {"cpu": "1", "memory": "1Mi"}, {"cpu": "4", "memory": "1Mi"}))
    assert "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000" in uneven.tree["message"]
    none = await api.send("POST", PODS, sized("n", {"cpu": "1"}, {"cpu": "1"}))
    assert "maximum memory usage per Pod is 1Gi.  No limit is specified" in none.tree["message"]
    claim = {
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}},
    }  # fmt: skip
    answer = await api.send("POST", f"{BASE}/persistentvolumeclaims", claim)
    assert answer.status == 403
    text = "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    assert answer.tree["message"] == f'persistentvolumeclaims "c" is forbidden: {text}'


async def test_a_quota_lives(api: Api) -> None:
    """75, 83: a quota is created, changed, listed by label and deleted; its scopes never change."""
    hard = {"cpu": "1", "memory": "500Mi"}
    obj = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q", "labels": {"a": "b"}}}
    made = await api.create(QUOTAS, {**obj, "spec": {"hard": hard}})
    changed = await api.put(f"{QUOTAS}/q", {**made, "spec": {"hard": {"cpu": "2", "memory": "1Gi"}}})
    assert changed["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    assert changed["status"] == {}
    assert len((await api.get("/api/v1/resourcequotas?labelSelector=a=b"))["items"]) == 1
    scoped = await api.send("PUT", f"{QUOTAS}/q", {**changed, "spec": {"hard": hard, "scopes": ["NotBestEffort"]}})
    assert scoped.status == 422
    assert "spec.scopes: Invalid value" in scoped.tree["message"]
    assert (await api.delete(f"{QUOTAS}/q")).status == 200
    assert (await api.send("GET", f"{QUOTAS}/q")).status == 404


async def test_wrong_quotas_are_refused(api: Api) -> None:
    """Unknown names, parts of whole things, unfit and conflicting scopes are refused."""
    cases = (
        ({"hard": {"pears": "1"}}, 'spec.hard[pears]: Invalid value: "pears": must be a standard resource'),
        ({"hard": {"pods": "1.5"}}, "must be an integer"),
        ({"hard": {"example.com/one": "1.5"}}, "must be an integer"),
        ({"hard": {"services": "1"}, "scopes": ["BestEffort"]}, "unsupported scope applied to resource"),
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}, "conflicting scopes"),
        ({"hard": {"pods": "1"}, "scopes": ["Other"]}, "unsupported scope"),
    )
    for spec, text in cases:
        obj = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": spec}
        answer = await api.send("POST", QUOTAS, obj)
        assert answer.status == 422
        assert text in answer.tree["message"], answer.tree


async def test_objects_are_charged_as_they_are_created(api: Api) -> None:
    """76-81: each kind counts in the transaction of its creation, and one too many is refused."""
    hard = {"configmaps": "2", "secrets": "1", "services": "1", "count/deployments.apps": "1", "pods": "1"}
    await quota(api, "q", hard)
    await api.create(f"{BASE}/configmaps", config_map("a"))
    dry = await api.send("POST", f"{BASE}/configmaps?dryRun=All", config_map("dry"))
    assert dry.status == 201
    await api.create(f"{BASE}/configmaps", config_map("b"))
    assert (await api.get(f"{QUOTAS}/q"))["status"]["used"]["configmaps"] == "2"
    refused = await api.send("POST", f"{BASE}/configmaps", config_map("c"))
    assert refused.status == 403
    assert refused.tree["reason"] == "Forbidden"
    assert refused.tree["message"] == (
        'configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, '
        "limited: configmaps=2"
    )
    assert (await api.send("GET", f"{BASE}/configmaps/c")).status == 404


async def test_compute_is_charged_and_must_be_said(api: Api) -> None:
    """77: requests and limits add up; a pod that does not say what a quota limits is refused."""
    hard = {"pods": "5", "cpu": "1", "limits.memory": "1Gi", "requests.example.com/dongle": "3"}
    await quota(api, "q", hard)
    silent = await api.send("POST", PODS, sized("silent"))
    assert silent.status == 403
    assert silent.tree["message"] == (
        'pods "silent" is forbidden: failed quota: q: must specify cpu for: c; limits.memory for: c'
    )
    gadget = {"example.com/dongle": "2"}
    await api.create(PODS, sized("a", {"cpu": "600m", **gadget}, {"memory": "512Mi", **gadget}))
    used = (await api.get(f"{QUOTAS}/q"))["status"]["used"]
    assert used == {"pods": "1", "cpu": "600m", "limits.memory": "512Mi", "requests.example.com/dongle": "2"}
    more = await api.send("POST", PODS, sized("b", {"cpu": "600m", **gadget}, {"memory": "512Mi", **gadget}))
    assert more.tree["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: cpu=600m,requests.example.com/dongle=2, '
        "used: cpu=600m,requests.example.com/dongle=2, limited: cpu=1,requests.example.com/dongle=3"
    )


async def test_scopes_choose_pods(api: Api) -> None:
    """84, 85: best effort and terminating pods count where the scope says, and nowhere else."""
    await quota(api, "best", {"pods": "1"}, scopes=["BestEffort"])
    await quota(api, "ending", {"pods": "1"}, scopes=["Terminating"])
    await quota(api, "lasting", {"pods": "5"}, scopes=["NotTerminating"])
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    await quota(api, "high", {"pods": "0"}, scopeSelector=selector)
    small = {"cpu": "1m", "memory": "1Mi"}
    await api.create(PODS, sized("a", small, small))
    await api.create(PODS, pod("b", activeDeadlineSeconds=60))
    used = {q["metadata"]["name"]: q["status"]["used"]["pods"] for q in (await api.get(QUOTAS))["items"]}
    assert used == {"best": "1", "ending": "1", "lasting": "1", "high": "0"}
    second = await api.send("POST", PODS, pod("c"))
    assert second.status == 403
    assert "exceeded quota: best" in second.tree["message"]


async def test_a_service_is_charged_by_its_type(api: Api) -> None:
    """81: node ports count a piece, and a change of type is charged as well."""
    await quota(api, "q", {"services": "5", "services.nodeports": "1"})
    spec = {"type": "ClusterIP", "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": spec}
    made = await api.create(f"{BASE}/services", service)
    answer = await api.patch(f"{BASE}/services/s", {"spec": {"type": "NodePort"}})
    assert answer.status == 403
    assert "requested: services.nodeports=2" in answer.tree["message"], made
    assert (await api.get(f"{QUOTAS}/q"))["status"]["used"] == {"services": "1", "services.nodeports": "0"}


async def test_an_uncounted_quota_refuses_rather_than_guesses(api: Api) -> None:
    """A quota whose use of a resource is unknown lets nothing of it pass."""
    obj = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": {"secrets": "5"}}}
    made = await api.create(QUOTAS, obj)
    await api.put(f"{QUOTAS}/q/status", {**made, "status": {"hard": {"configmaps": "5"}}})
    answer = await api.send("POST", f"{BASE}/configmaps", config_map("a"))
    assert answer.status == 403
    assert "status unknown for quota: q, resources: configmaps" in answer.tree["message"]


async def test_a_quota_is_never_exceeded_by_creates_at_once(api: Api) -> None:
    """I: of a hundred creates at the same time, exactly as many pass as the quota allows, and none fails otherwise."""
    await quota(api, "q", {"configmaps": "40"})
    maps = [config_map(f"m{i}") for i in range(100)]
    answers = await asyncio.gather(*(api.send("POST", f"{BASE}/configmaps", m) for m in maps))
    assert sorted(a.status for a in answers) == [201] * 40 + [403] * 60
    assert (await api.get(f"{QUOTAS}/q"))["status"]["used"] == {"configmaps": "40"}


async def test_the_table_shows_use(api: Api) -> None:
    """kubectl get quota: requests and limits apart, used of allowed."""
    await quota(api, "q", {"pods": "5", "limits.cpu": "2"}, {"pods": "1"})
    table = await api.get(f"{QUOTAS}/q", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Request", "Limit", "Age"]
    assert table["rows"][0]["cells"][:3] == ["q", "pods: 1/5", "limits.cpu: 0/2"]
