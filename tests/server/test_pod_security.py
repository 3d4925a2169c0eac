"""PodSecurity over the API: labels of namespaces, pods, templates, subresources, warnings."""

from typing import Any

import pytest

from sampan.server.admission import pod_security
from tests.server.conftest import Api, deployment, pod

PREFIX = "pod-security.kubernetes.io"
Tree = dict[str, Any]
HARDENED = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


async def namespace(api: Api, **labels: str) -> str:
    """A namespace `ns` with pod security labels; returns the path below which its objects are."""
    given = {f"{PREFIX}/{mode.replace('_', '-')}": level for mode, level in labels.items()}
    body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "ns", "labels": given}}
    await api.create("/api/v1/namespaces", body)
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
    await api.create("/api/v1/namespaces/ns/serviceaccounts", account)
    return "/api/v1/namespaces/ns/pods"


def hardened(name: str) -> Tree:
    container = {"name": "c", "image": "busybox", "securityContext": HARDENED}
    return pod(name, containers=[container])


async def test_restricted_refuses_a_plain_pod(api: Api) -> None:
    """Every violation is told, in upstream's words and order; a hardened pod passes."""
    pods = await namespace(api, enforce="restricted")
    answer = await api.send("POST", pods, pod("one"))
    assert (answer.status, answer.tree["reason"]) == (403, "Forbidden")
    assert answer.tree["message"] == f'pods "one" is forbidden: violates PodSecurity "restricted:latest": {RESTRICTED}'
    answer = await api.send("POST", pods, hardened("two"))
    assert answer.status == 201
    assert "warning" not in answer.headers


async def test_baseline_refuses_the_node(api: Api) -> None:
    """Host namespaces, host paths and privileged containers do not pass; a plain pod does."""
    pods = await namespace(api, enforce="baseline", enforce_version="v1.30")
    await api.create(pods, pod("plain"))
    volumes = [{"name": "host", "hostPath": {"path": "/"}}]
    container = {"name": "c", "image": "busybox", "securityContext": {"privileged": True}}
    body = pod("bad", hostNetwork=True, hostPID=True, volumes=volumes, containers=[container])
    answer = await api.send("POST", pods, body)
    said = (
        'violates PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true, hostPID=true), '
        'hostPath volumes (volume "host"), '
        'privileged (container "c" must not set securityContext.privileged=true)'
    )
    assert answer.tree["message"] == f'pods "bad" is forbidden: {said}'


async def test_all_three_lists_of_containers_count(api: Api) -> None:
    """B10: init containers are looked at like the others."""
    pods = await namespace(api, enforce="baseline")
    bad = {"name": "i", "image": "busybox", "securityContext": {"privileged": True}}
    answer = await api.send("POST", pods, pod("bad", initContainers=[bad]))
    assert answer.tree["message"].endswith('(container "i" must not set securityContext.privileged=true)')


async def test_ephemeral_containers_are_checked(api: Api) -> None:
    """A pod that passed cannot get a privileged debug container later."""
    pods = await namespace(api, enforce="restricted")
    await api.create(pods, hardened("one"))
    body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    answer = await api.patch(f"{pods}/one/ephemeralcontainers", body, "strategic")
    assert answer.status == 403
    assert 'container "debug" must set' in answer.tree["message"]


async def test_templates_are_warned_about(api: Api) -> None:
    """A Deployment is stored with a warning: its pods would not pass."""
    await namespace(api, enforce="restricted")
    answer = await api.send("POST", "/apis/apps/v1/namespaces/ns/deployments", deployment("web"))
    assert answer.status == 201
    text = f'would violate PodSecurity "restricted:latest": {RESTRICTED}'
    assert answer.headers["warning"] == '299 - "{}"'.format(text.replace('"', '\\"'))


async def test_warn_lets_pass(api: Api) -> None:
    """warn tells, and enforces nothing."""
    pods = await namespace(api, warn="baseline", enforce="privileged")
    answer = await api.send("POST", pods, pod("one", hostNetwork=True))
    assert answer.status == 201
    assert "would violate PodSecurity" in answer.headers["warning"]
    assert "warning" not in (await api.send("POST", pods, pod("two"))).headers


async def test_status_and_labels_of_an_old_pod_can_be_written(api: Api) -> None:
    """A level that was raised later does not hold pods that are there, as long as their images stay."""
    pods = await namespace(api)
    await api.create(pods, pod("one"))
    await api.patch("/api/v1/namespaces/ns", {"metadata": {"labels": {f"{PREFIX}/enforce": "restricted"}}})
    assert (await api.patch(f"{pods}/one", {"metadata": {"labels": {"a": "b"}}})).status == 200
    assert (await api.patch(f"{pods}/one/status", {"status": {"message": "x"}})).status == 200
    operation = {"op": "replace", "path": "/spec/containers/0/image", "value": "busybox:2"}
    assert (await api.patch(f"{pods}/one", [operation], "json")).status == 403


async def test_a_raised_level_warns_about_pods_that_are_there(api: Api) -> None:
    """The namespace's update tells which pods would not be let in any more."""
    pods = await namespace(api)
    for name in ("a", "b", "c"):
        await api.create(pods, pod(name, hostNetwork=True) if name == "c" else pod(name))
    answer = await api.patch("/api/v1/namespaces/ns", {"metadata": {"labels": {f"{PREFIX}/enforce": "restricted"}}})
    assert answer.status == 200
    reasons = "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
    said = answer.headers["warning"].replace('\\"', '"')
    assert 'existing pods in namespace "ns" violate the new PodSecurity enforce level "restricted:latest"' in said
    assert f"a (and 1 other pod): {reasons}" in said
    assert f"c: host namespaces, {reasons}" in said


async def test_labels_that_mean_nothing_are_refused(api: Api) -> None:
    """422 in upstream's words; an old mistake may stay."""
    body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}}
    body["metadata"]["labels"] = {f"{PREFIX}/enforce": "secure", f"{PREFIX}/warn-version": "1.2"}  # type: ignore[index]
    answer = await api.send("POST", "/api/v1/namespaces", body)
    assert answer.status == 422
    assert answer.tree["message"] == (
        f'Namespace "x" is invalid: [metadata.labels[{PREFIX}/enforce]: Invalid value: "secure": '
        f"must be one of privileged, baseline, restricted, metadata.labels[{PREFIX}/warn-version]: "
        'Invalid value: "1.2": must be "latest" or "v1.x"]'
    )


async def test_the_configuration_is_read() -> None:
    """A PodSecurityConfiguration has defaults and exemptions; without one everything is privileged."""
    config = {
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"},
        "exemptions": {"usernames": ["system:x"], "namespaces": ["kube-system"], "runtimeClasses": ["kata"]},
    }
    made = pod_security.settings(config)
    shown = [str(level) for level in (made.default.enforce, made.default.audit, made.default.warn)]
    assert shown == ["baseline:v1.30", "privileged:latest", "restricted:latest"]
    assert (made.users, made.namespaces, made.runtime_classes) == ({"system:x"}, {"kube-system"}, {"kata"})
    assert pod_security.settings({}).default.is_privileged


async def test_defaults_and_exemptions_apply(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a namespace says nothing the default holds; exempt users and namespaces are not looked at."""
    config = {"defaults": {"enforce": "restricted"}, "exemptions": {"namespaces": ["kube-system"]}}
    made = pod_security.settings(config)
    original = pod_security.PodSecurity._policy

    def configured(self: Any, attributes: Any, lookup: Any) -> Any:
        self._settings = made
        return original(self, attributes, lookup)

    monkeypatch.setattr(pod_security.PodSecurity, "_policy", configured)
    assert (await api.send("POST", "/api/v1/namespaces/default/pods", pod("one"))).status == 403
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
    await api.send("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account)
    assert (await api.send("POST", "/api/v1/namespaces/kube-system/pods", pod("one"))).status == 201
