"""Workloads and their neighbours as API objects: lifecycle, validation, scale, conversion."""

from typing import Any

import pytest

from tests.server.conftest import Api, Tree, pod

BASE = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"
SCALING = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def template(**spec: Any) -> Tree:
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}], **spec}}


def workload(kind: str, group: str = "apps/v1", **spec: Any) -> Tree:
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template(), **spec}
    return {"kind": kind, "apiVersion": group, "metadata": {"name": "w"}, "spec": spec}


def cron_job(schedule: str = "*/1 * * * *", **spec: Any) -> Tree:
    job = {"spec": {"template": template(restartPolicy="OnFailure")}}
    return {
        "kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": "c"},
        "spec": {"schedule": schedule, "jobTemplate": job, **spec},
    }  # fmt: skip


async def test_a_stateful_set_is_complete_and_keeps_its_shape(api: Api) -> None:
    """Defaults as upstream; scale; and most of the spec is forbidden to change, in upstream's words."""
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    made = await api.create(f"{APPS}/statefulsets", workload("StatefulSet", volumeClaimTemplates=[claim]))
    spec = made["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["revisionHistoryLimit"] == 10
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["volumeClaimTemplates"][0]["status"] == {"phase": "Pending"}
    assert made["status"] == {"replicas": 0, "availableReplicas": 0}
    scale = await api.get(f"{APPS}/statefulsets/w/scale")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"]["selector"] == "app=x"
    scaled = await api.put(f"{APPS}/statefulsets/w/scale", {**scale, "spec": {"replicas": 3}})
    assert scaled["spec"]["replicas"] == 3
    answer = await api.patch(f"{APPS}/statefulsets/w", {"spec": {"serviceName": "other"}})
    assert answer.status == 422
    assert answer.tree["message"] == (
        'StatefulSet.apps "w" is invalid: spec: Forbidden: updates to statefulset spec for fields other than '
        "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )


async def test_a_daemon_set_counts_its_templates(api: Api) -> None:
    """Defaults as upstream; generation and the template's annotation count changes; the selector stays."""
    made = await api.create(f"{APPS}/daemonsets", workload("DaemonSet"))
    rolling = {"maxUnavailable": 1, "maxSurge": 0}
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    note = "deprecated.daemonset.template.generation"
    assert made["metadata"]["annotations"] == {note: "1"}
    body = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "x:2"}]
    changed = await api.patch(f"{APPS}/daemonsets/w", body, "json")
    assert changed.tree["metadata"]["annotations"][note] == "2"
    assert changed.tree["metadata"]["generation"] == 2
    for patch, text in (
        ({"spec": {"selector": {"matchLabels": {"app": "y"}}}}, "field is immutable"),
        ({"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}}, "may not be set when maxUnavailable"),
        ({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}, "cannot be 0 when maxSurge is 0"),
        ({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}, 'supported values: "Always"'),
    ):
        answer = await api.patch(f"{APPS}/daemonsets/w", patch)
        assert answer.status == 422
        assert text in answer.tree["message"], answer.tree
    names = [c["name"] for c in (await api.get(f"{APPS}/daemonsets", accept=TABLE))["columnDefinitions"]]
    assert names[1:8] == ["Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age"]


async def test_status_counts_stay_below_replicas(api: Api) -> None:
    """A status that counts more ready pods than pods is refused."""
    for plural, kind in (("deployments", "Deployment"), ("replicasets", "ReplicaSet"), ("statefulsets", "StatefulSet")):
        made = await api.create(f"{APPS}/{plural}", workload(kind))
        status = {"replicas": 1, "readyReplicas": 2}
        answer = await api.send("PUT", f"{APPS}/{plural}/w/status", {**made, "status": status})
        assert answer.status == 422, kind
        assert (
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas" in answer.tree["message"]
        )


async def test_a_replication_controller_takes_labels_from_its_template(api: Api) -> None:
    """79: selector and labels come from the template; scale and status are its doors."""
    obj = {"kind": "ReplicationController", "apiVersion": "v1", "metadata": {"name": "r"}}
    made = await api.create(f"{BASE}/replicationcontrollers", {**obj, "spec": {"template": template()}})
    assert made["spec"]["selector"] == made["metadata"]["labels"] == {"app": "x"}
    assert made["spec"]["replicas"] == 1
    assert made["status"] == {"replicas": 0}
    scale = await api.get(f"{BASE}/replicationcontrollers/r/scale")
    assert scale["status"]["selector"] == "app=x"
    wrong = {**obj, "metadata": {"name": "s"}, "spec": {"selector": {"app": "y"}, "template": template()}}
    answer = await api.send("POST", f"{BASE}/replicationcontrollers", wrong)
    assert answer.status == 422
    assert "`selector` does not match template `labels`" in answer.tree["message"]


async def test_pod_templates_live(api: Api) -> None:
    """286-288: templates are created, replaced, patched, listed and deleted by collection."""
    path = f"{BASE}/podtemplates"
    obj = {"kind": "PodTemplate", "apiVersion": "v1", "metadata": {"name": "t", "labels": {"set": "a"}}}
    made = await api.create(path, {**obj, "template": template()})
    assert made["template"]["spec"]["restartPolicy"] == "Always"
    made["metadata"]["annotations"] = {"updated": "true"}
    assert (await api.put(f"{path}/t", made))["metadata"]["annotations"] == {"updated": "true"}
    assert (await api.patch(f"{path}/t", {"metadata": {"labels": {"p": "q"}}}, "strategic")).status == 200
    assert len((await api.get("/api/v1/podtemplates?labelSelector=p=q"))["items"]) == 1
    table = await api.get(path, accept=TABLE)
    assert table["rows"][0]["cells"] == ["t", "c", "x:1", "app=x"]
    bad = await api.send("POST", path, {**obj, "template": {"spec": {"containers": []}}})
    assert bad.status == 422
    assert "template.spec.containers: Required value" in bad.tree["message"]
    assert (await api.delete(f"{path}?labelSelector=set=a")).status == 200
    assert (await api.get(path))["items"] == []


async def test_cron_jobs_live(api: Api) -> None:
    """104: create, get, list everywhere, patch, status, update, delete; defaults and columns as upstream."""
    path = f"{BATCH}/cronjobs"
    made = await api.create(path, cron_job(timeZone="Europe/Berlin"))
    spec = made["spec"]
    assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Allow", False)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 1)
    assert "parallelism" not in spec["jobTemplate"]["spec"]
    assert len((await api.get("/apis/batch/v1/cronjobs"))["items"]) == 1
    patched = await api.patch(f"{path}/c", {"metadata": {"annotations": {"patched": "true"}}})
    assert patched.tree["metadata"]["annotations"] == {"patched": "true"}
    status = {"lastScheduleTime": "2026-01-01T00:00:00Z"}
    answer = await api.patch(f"{path}/c/status", {"status": status})
    assert answer.tree["status"] == status
    table = await api.get(path, accept=TABLE)
    assert table["rows"][0]["cells"][:7] == ["c", "*/1 * * * *", "Europe/Berlin", "False", 0, "0s", "0s"]
    assert (await api.delete(f"{path}/c")).status == 200


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schedule": "error"}, 'spec.schedule: Invalid value: "error": expected exactly 5 fields, found 1: [error]'),
        ({"schedule": "60 * * * *"}, "end of range (60) above maximum (59): 60"),
        ({"schedule": "@often"}, "unrecognized descriptor: @often"),
        ({"schedule": "TZ=UTC 0 * * * *"}, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ({"timeZone": "Nowhere/City"}, 'spec.timeZone: Invalid value: "Nowhere/City": unknown time zone Nowhere/City'),
        ({"timeZone": "Local"}, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ({"concurrencyPolicy": "Sometimes"}, 'supported values: "Allow", "Forbid", "Replace"'),
        ({"startingDeadlineSeconds": -1}, "must be greater than or equal to 0"),
    ],
)
async def test_wrong_cron_jobs_are_refused(api: Api, change: Tree, text: str) -> None:
    """Schedules, zones and policies are checked in upstream's words."""
    obj = cron_job()
    obj["spec"].update(change)
    answer = await api.send("POST", f"{BATCH}/cronjobs", obj)
    assert answer.status == 422
    assert text in answer.tree["message"], answer.tree["message"]


async def test_a_cron_job_leaves_room_for_its_jobs_names(api: Api) -> None:
    """Names longer than 52 are refused."""
    obj = cron_job()
    obj["metadata"]["name"] = "c" * 53
    answer = await api.send("POST", f"{BATCH}/cronjobs", obj)
    assert answer.status == 422
    assert "must be no more than 52 characters" in answer.tree["message"]


def job(**spec: Any) -> Tree:
    given = {"template": template(restartPolicy="Never"), **spec}
    return {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "j"}, "spec": given}


async def test_a_job_may_say_what_failure_and_success_mean(api: Api) -> None:
    """Policies, limits per index and a manager of its own are accepted and kept."""
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
             {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]  # fmt: skip
    spec = {
        "completionMode": "Indexed", "completions": 4, "parallelism": 2, "backoffLimitPerIndex": 1,
        "maxFailedIndexes": 2, "podFailurePolicy": {"rules": rules}, "managedBy": "example.com/other",
        "successPolicy": {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 2}]},
    }  # fmt: skip
    made = (await api.create(f"{BATCH}/jobs", job(**spec)))["spec"]
    assert made["podReplacementPolicy"] == "Failed"
    assert made["backoffLimit"] == 2147483647
    assert made["podFailurePolicy"]["rules"][1]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxFailedIndexes": 1}, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        ({"managedBy": "me"}, "spec.managedBy: Invalid value"),
        ({"podFailurePolicy": {"rules": [{"action": "Count"}]}}, "specifying one of OnExitCodes and OnPodConditions"),
        ({"successPolicy": {"rules": []}}, "requires indexed completion mode"),
        ({"completionMode": "Indexed", "completions": 2, "successPolicy": {"rules": [{"succeededIndexes": "5"}]}},
         'error parsing succeededIndexes: too large index: "5"'),
    ],
)  # fmt: skip
async def test_wrong_job_policies_are_refused(api: Api, change: Tree, text: str) -> None:
    """Each policy is checked in upstream's words."""
    answer = await api.send("POST", f"{BATCH}/jobs", job(**change))
    assert answer.status == 422
    assert text in answer.tree["message"], answer.tree["message"]


async def test_endpoints_live(api: Api) -> None:
    """207: endpoints are created, listed by label, patched and deleted; 191: those of the API itself are there."""
    path = f"{BASE}/endpoints"
    subsets = [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80}]}]
    obj = {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "e", "labels": {"s": "1"}}, "subsets": subsets}
    answer = await api.send("POST", path, obj)
    assert answer.status == 201
    assert answer.tree["subsets"][0]["ports"][0]["protocol"] == "TCP"
    assert "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in answer.headers["warning"]
    listed = await api.send("GET", "/api/v1/endpoints?labelSelector=s=1")
    assert len(listed.tree["items"]) == 1
    assert "v1 Endpoints is deprecated" in listed.headers["warning"]
    assert (await api.patch(f"{path}/e", {"metadata": {"labels": {"t": "2"}}})).status == 200
    wrong = {**obj, "metadata": {"name": "w"}, "subsets": [{"addresses": [{"ip": "127.0.0.1"}]}, {}]}
    refused = await api.send("POST", path, wrong)
    assert "may not be in the loopback range" in refused.tree["message"]
    assert "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`" in refused.tree["message"]
    table = await api.get(f"{path}/e", accept=TABLE)
    assert table["rows"][0]["cells"][:2] == ["e", "10.0.0.24:80"]
    assert (await api.delete(f"{path}?labelSelector=t=2")).status == 200


async def test_the_api_has_endpoints_and_a_slice_of_its_own(api: Api) -> None:
    """191, 192: Service, Endpoints and EndpointSlice kubernetes agree, and no controller is to mirror them."""
    service = await api.get(f"{BASE}/services/kubernetes")
    endpoints = await api.get(f"{BASE}/endpoints/kubernetes")
    slices = await api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert service["spec"]["ports"][0]["port"] == 443
    assert endpoints["metadata"]["labels"] == {"endpointslice.kubernetes.io/skip-mirror": "true"}
    assert slices["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
    (subset,) = endpoints["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == slices["endpoints"][0]["addresses"]
    assert subset["ports"][0]["port"] == slices["ports"][0]["port"]
    assert subset["ports"][0]["name"] == "https"


async def test_an_autoscaler_is_the_same_in_both_versions(api: Api) -> None:
    """v2 is stored; v1 shows the cpu target, and the rest in annotations that come back unharmed."""
    spec = {
        "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}, "maxReplicas": 5,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
    }  # fmt: skip
    obj = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"}, "spec": spec}
    made = await api.create(SCALING.format("v2"), obj)
    assert made["spec"]["minReplicas"] == 1
    assert made["spec"]["behavior"]["scaleUp"]["policies"][0] == {"type": "Pods", "value": 4, "periodSeconds": 15}
    older = await api.get(f"{SCALING.format('v1')}/h")
    assert older["apiVersion"] == "autoscaling/v1"
    assert older["spec"]["targetCPUUtilizationPercentage"] == 60
    assert "metrics" not in older["spec"]
    notes = older["metadata"]["annotations"]
    assert '"metricName":"rps"' in notes["autoscaling.alpha.kubernetes.io/metrics"]
    assert '"StabilizationWindowSeconds":30' in notes["autoscaling.alpha.kubernetes.io/behavior"]
    older["spec"]["targetCPUUtilizationPercentage"] = 70
    await api.put(f"{SCALING.format('v1')}/h", older)
    again = await api.get(f"{SCALING.format('v2')}/h")
    wanted = made["spec"]
    wanted["metrics"][0]["resource"]["target"]["averageUtilization"] = 70
    assert again["spec"] == wanted
    assert "annotations" not in again["metadata"]


@pytest.mark.parametrize("kind", ["merge", "strategic", "json", "apply"])
async def test_a_patch_is_of_the_version_that_it_is_sent_to(api: Api, kind: str) -> None:
    """It is applied to the object as that version shows it, and so is the answer; what only the other one has stays."""
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
    ]
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5, "metrics": metrics}
    more = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}}}
    obj = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"}}
    made = await api.create(SCALING.format("v2"), {**obj, "spec": {**spec, **more}})
    wish: Any = {"spec": {"targetCPUUtilizationPercentage": 70}}
    if kind == "json":
        wish = [{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}]
    if kind == "apply":
        wish = {**obj, "apiVersion": "autoscaling/v1", **wish}
    answer = await api.patch(f"{SCALING.format('v1')}/h?fieldManager=me&force=true&fieldValidation=Strict", wish, kind)
    assert answer.status == 200, answer.body
    assert answer.tree["apiVersion"] == "autoscaling/v1"
    assert answer.tree["spec"]["targetCPUUtilizationPercentage"] == 70 and "metrics" not in answer.tree["spec"]
    made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 70
    assert (await api.get(f"{SCALING.format('v2')}/h"))["spec"] == made["spec"]


async def test_an_old_autoscaler_is_read_as_a_new_one(api: Api) -> None:
    """v1 without a target means four fifths of the cpu; columns say so."""
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5}
    obj = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": "h"}, "spec": spec}
    await api.create(SCALING.format("v1"), obj)
    made = await api.get(f"{SCALING.format('v2')}/h")
    assert made["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    for version in ("v1", "v2"):
        table = await api.get(f"{SCALING.format(version)}/h", accept=TABLE)
        assert table["rows"][0]["cells"][:6] == ["h", "Deployment/web", "cpu: <unknown>/80%", "1", 5, 0]
    wrong = {**obj, "metadata": {"name": "w"}, "spec": {**spec, "maxReplicas": 0}}
    answer = await api.send("POST", SCALING.format("v1"), wrong)
    assert "spec.maxReplicas: Invalid value: 0: must be greater than 0" in answer.tree["message"]


async def test_a_binding_of_its_own_places_a_pod(api: Api) -> None:
    """POST of bindings does what a pod's own binding does."""
    await api.create(f"{BASE}/pods", pod("a"))
    body = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await api.send("POST", f"{BASE}/bindings", body)
    assert answer.status == 201
    assert answer.tree["status"] == "Success"
    assert (await api.get(f"{BASE}/pods/a"))["spec"]["nodeName"] == "n1"
    assert (await api.send("POST", f"{BASE}/bindings", {**body, "metadata": {"name": "b"}})).status == 404
    assert (await api.send("GET", f"{BASE}/bindings")).status == 405


async def test_components_are_asked_when_read(api: Api) -> None:
    """The store is well; what nobody runs is unhealthy; all with upstream's deprecation."""
    answer = await api.send("GET", "/api/v1/componentstatuses")
    assert answer.tree["kind"] == "ComponentStatusList"
    found = {i["metadata"]["name"]: i["conditions"][0]["status"] for i in answer.tree["items"]}
    assert found == {"scheduler": "False", "controller-manager": "False", "etcd-0": "True"}
    assert "v1 ComponentStatus is deprecated in v1.19+" in answer.headers["warning"]
    one = await api.get("/api/v1/componentstatuses/etcd-0", accept=TABLE)
    assert one["rows"][0]["cells"] == ["etcd-0", "Healthy", "ok", ""]
    assert (await api.send("GET", "/api/v1/componentstatuses/other")).status == 404
    assert (await api.delete("/api/v1/componentstatuses/etcd-0")).status == 405


async def test_a_job_ends_in_one_way(api: Api) -> None:
    """A status that contradicts itself is refused, so that other managers of jobs keep the rules as well."""
    await api.create(f"{BATCH}/jobs", job())
    path = f"{BATCH}/jobs/j/status"

    def condition(kind: str) -> Tree:
        return {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}

    for status, text in (
        ({"conditions": [condition("Failed")]}, "without the FailureTarget=true condition"),
        ({"conditions": [condition("Complete"), condition("Failed")]}, "cannot set Complete=True and Failed=true"),
        ({"completionTime": "2026-01-01T00:00:00Z"}, "cannot set completionTime when there is no Complete=True"),
        ({"completedIndexes": "0"}, "cannot set non-empty completedIndexes when non-indexed completion mode"),
        ({"uncountedTerminatedPods": {"failed": ["a", "a"]}}, 'failed[1]: Duplicate value: "a"'),
    ):
        answer = await api.patch(path, {"status": status})
        assert answer.status == 422
        assert text in answer.tree["message"], answer.tree["message"]
    done = {"conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
            "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:05Z"}  # fmt: skip
    assert (await api.patch(path, {"status": done})).status == 200


BUDGET = {"rollingUpdate": {"maxUnavailable": 2}}
OPEN = pytest.mark.parametrize("gates", [frozenset({"MaxUnavailableStatefulSet"})])


async def test_the_budget_of_a_stateful_set_is_dropped(api: Api) -> None:
    """By every write, as its feature gate is closed."""
    path = f"{APPS}/statefulsets/w"
    made = await api.create(f"{APPS}/statefulsets", workload("StatefulSet", updateStrategy=BUDGET))
    made["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = 2
    await api.put(path, made)
    await api.patch(path, {"spec": {"updateStrategy": BUDGET}})
    applied = workload("StatefulSet", updateStrategy=BUDGET)
    assert (await api.patch(f"{path}?fieldManager=me&force=true", applied, "apply")).status == 200
    assert (await api.get(path))["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 0},
    }
    assert b'kubernetes_feature_enabled{name="MaxUnavailableStatefulSet",stage="BETA"} 0' in await metrics(api)


@OPEN
async def test_the_budget_of_a_stateful_set(api: Api) -> None:
    """Where the feature gate is open it is kept, has a default, and is checked."""
    path = f"{APPS}/statefulsets/w"
    made = await api.create(f"{APPS}/statefulsets", workload("StatefulSet"))
    assert made["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 0, "maxUnavailable": 1}
    changed = (await api.patch(path, {"spec": {"updateStrategy": BUDGET}})).tree
    assert changed["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 0, "maxUnavailable": 2}
    answer = await api.patch(path, {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}})
    assert answer.tree["message"] == (
        'StatefulSet.apps "w" is invalid: spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0'
    )
    assert b'kubernetes_feature_enabled{name="MaxUnavailableStatefulSet",stage="BETA"} 1' in await metrics(api)


async def metrics(api: Api) -> bytes:
    return (await api.send("GET", "/metrics")).body
